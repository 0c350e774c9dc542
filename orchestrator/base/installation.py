"""This installation: the version of the code and of the packages that it runs with."""

import functools
import importlib.metadata
import platform
import tomllib
from pathlib import Path

from orchestrator.base.machine import output
from orchestrator.base.our_code import ROOT

VERSION_FILE = "code_version.txt"
_PACKAGES = (
    "prvr-sweep",
    "torch",
    "ray",
    "optuna",
    "mlflow",
    "pyarrow",
    "numpy",
    "pydantic",
    "safetensors",
    "transformers",
)


@functools.cache
def code_version() -> str:
    """Version of the package and, in a checkout, the commit, e.g. `0.1.0+g1a2b3c4d5e6f.dirty`."""
    if (ROOT / VERSION_FILE).exists():
        return (ROOT / VERSION_FILE).read_text(encoding="utf-8")
    version = _installed_version("prvr-sweep") or _project_version(ROOT / "pyproject.toml")
    if not (ROOT / ".git").exists():
        return version
    commit = output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    if not commit:
        return version
    changed = output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    return f"{version}{'.' if '+' in version else '+'}g{commit}{'.dirty' if changed else ''}"


@functools.cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of each installed package that can change a number."""
    found = {name: _installed_version(name) for name in _PACKAGES}
    return {
        "python": platform.python_version(),
        **{name: version for name, version in found.items() if version is not None},
    }


def _project_version(project: Path) -> str:
    # The code can run from a checkout that was never installed.
    if not project.exists():
        return "unknown"
    return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
