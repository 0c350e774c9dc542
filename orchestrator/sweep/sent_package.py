"""What goes along with a sweep that is sent to a cluster: this package and the resolved spec.

A zip that is unpacked as the job's working directory, on the head and on every node: the nodes need
the dependencies alone, and a version that is installed there is passed over.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from orchestrator.base.our_code import PACKAGES, ROOT
from orchestrator.base.provenance import VERSION_FILE, code_version

SPEC_FILE = "sweep.yaml"

# The oldest that a zip can hold: equal content makes an equal file, which is sent once.
_DATE = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o644 << 16


def write_package(path: Path, spec_yaml: str, root: Path = ROOT) -> None:
    """Write the zip; the same content gives the same bytes.

    Args:
        path: The file.
        spec_yaml: The resolved spec.
        root: Folder that holds the packages, a checkout or `site-packages`.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for source in _sources(root):
            _add(package, source.relative_to(root).as_posix(), source.read_bytes())
        _add(package, VERSION_FILE, code_version().encode())
        _add(package, SPEC_FILE, spec_yaml.encode())


def _sources(root: Path) -> Iterator[Path]:
    for name in PACKAGES:
        for path in sorted((root / name).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def _add(package: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = _READABLE
    package.writestr(entry, content)
