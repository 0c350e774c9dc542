"""Says what a file is that is not what its place promises, from its first bytes."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

HEAD_BYTES = 512
"""How much of a file's beginning tells what it is."""

# No caption file begins so: each has bytes that text has not, or is too long for chance.
_UNPACK = {
    "gzip": (b"\x1f\x8b", "gunzip"),
    "bzip2": (b"BZh91AY&SY", "bunzip2"),
    "xz": (b"\xfd7zXZ\0", "unxz"),
    "zstd": (b"\x28\xb5\x2f\xfd", "unzstd"),
}
_OTHERS: Mapping[str, bytes | tuple[bytes, ...]] = {
    "an HDF5 file": b"\x89HDF\r\n\x1a\n",
    "a NumPy array (.npy)": b"\x93NUMPY",
    "a zip archive, as .npz files and torch's are": b"PK\x03\x04",
    "an Arrow file": b"ARROW1\0",
    "a pickle": (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"),
}
_LFS_POINTER = b"version https://git-lfs"
_HTML = re.compile(
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype\s+html|html|head)", re.I | re.S
)


def foreign_kind(path: Path, head: bytes) -> str | None:
    """What a file is and what to do about it; None: its beginning tells nothing.

    Args:
        path: The file; commands that the text gives name it.
        head: Its first `HEAD_BYTES`.
    """
    if not head:
        return "it is empty: copy or download it again"
    if head.startswith(_LFS_POINTER):
        folder = shlex.quote(str(path.parent))
        return f"it is a pointer of git-lfs, not the file itself: git -C {folder} lfs pull"
    if _HTML.match(head):
        return (
            "it is a web page (HTML), e.g. of a log-in or a download limit: download the file again"
        )
    for name, (magic, command) in _UNPACK.items():
        if head.startswith(magic):
            return f"it is packed with {name}: {rewritten_by(command, path)}"
    kinds = (kind for kind, magic in _OTHERS.items() if head.startswith(magic))
    return next((f"it is {kind}" for kind in kinds), None)


def rewritten_by(command: str, path: Path) -> str:
    """A shell command that puts a filter's output in the place of a file."""
    old, new = (shlex.quote(str(name)) for name in (path, path.with_name(f"{path.name}.new")))
    return f"{command} < {old} > {new} && mv {new} {old}"
