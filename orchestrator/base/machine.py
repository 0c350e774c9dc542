"""This machine and this installation: code version, packages, hardware, file systems.

`network_file_system` tells a disk of this machine from one that other machines mount too.
"""

import functools
import getpass
import importlib.metadata
import os
import platform
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import psutil

from orchestrator.base.our_code import ROOT

_OF_SERVERS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "virtiofs")
_OF_CLUSTERS = ("lustre", "ceph", "gpfs", "beegfs", "glusterfs", "pvfs2", "wekafs")
# Object stores, sshfs and the like; these two are disks of the machine.
_FUSE, _FUSE_ON_DISKS = "fuse.", ("fuse.fuse-overlayfs", "fuse.ntfs-3g")


def network_file_system(path: Path) -> str | None:
    """Kind of the network file system that holds a path; None: none that is known as one."""
    kind = _kind(path.resolve())
    if kind in _OF_SERVERS + _OF_CLUSTERS or (
        kind.startswith(_FUSE) and kind not in _FUSE_ON_DISKS
    ):
        return kind
    return None


def _kind(path: Path) -> str:
    mounts = {
        Path(partition.mountpoint): partition.fstype
        for partition in psutil.disk_partitions(all=True)
    }
    return next((mounts[parent] for parent in (path, *path.parents) if parent in mounts), "")


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
# A hung git or driver must not hold up a sweep for a line of information.
_COMMAND_TIMEOUT_S = 5.0


def user_name() -> str:
    """Name of the user whose process this is; the number where a container names none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@functools.cache
def code_version() -> str:
    """Version of the package and, in a checkout, the commit, e.g. `0.1.0+g1a2b3c4d5e6f.dirty`."""
    if (ROOT / VERSION_FILE).exists():
        return (ROOT / VERSION_FILE).read_text(encoding="utf-8")
    version = _installed_version("prvr-sweep") or _project_version(ROOT / "pyproject.toml")
    if not (ROOT / ".git").exists():
        return version
    commit = _output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    if not commit:
        return version
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    return f"{version}{'.' if '+' in version else '+'}g{commit}{'.dirty' if changed else ''}"


@functools.cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of each package that can change a number; absent ones left out."""
    found = {name: _installed_version(name) for name in _PACKAGES}
    return {
        "python": platform.python_version(),
        **{name: version for name, version in found.items() if version is not None},
    }


@functools.cache
def hardware() -> dict[str, Any]:
    """The machine in a few words, asked without loading torch."""
    return {
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpus": available_cpus(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": _gpu_names(),
    }


def available_cpus() -> int:
    """CPUs that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _project_version(project: Path) -> str:
    # Run from a checkout that was never installed.
    if not project.exists():
        return "unknown"
    return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu_names() -> list[str]:
    return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()


def _output(*command: str) -> str:
    """Standard output of a command; empty where it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
