"""The machine: what this process may use of it, and what it is.

A container, a batch system or a variable may allow less than the machine has: all code asks here.
"""

import functools
import getpass
import os
import platform
import pwd
import resource
import subprocess
import tempfile
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from orchestrator.base import cgroups

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_UUIDS = ("GPU-", "MIG-")
# A hung git or driver must not hold up a sweep for a line of information.
_COMMAND_TIMEOUT_S = 5.0
_OF_SERVERS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "virtiofs")
_OF_CLUSTERS = ("lustre", "ceph", "gpfs", "beegfs", "glusterfs", "pvfs2", "wekafs")
# Object stores, sshfs and the like; the two exceptions are disks of the machine.
_FUSE, _FUSE_ON_DISKS = "fuse.", ("fuse.fuse-overlayfs", "fuse.ntfs-3g")


@dataclass(frozen=True)
class Memory:
    """Memory in bytes.

    Args:
        total_bytes: Memory that this process and its children may have together.
        available_bytes: The part of it that is free now.
        is_limited: Whether a container's limit makes it less than the machine has.
    """

    total_bytes: int
    available_bytes: int
    is_limited: bool


@dataclass(frozen=True)
class Cpus:
    """CPUs of the machine, and how many of them this process may keep busy, e.g. 0.5."""

    machine: int
    allowed: float


def allowed_cpus() -> Cpus:
    """CPUs by the machine, the affinity of this process and the quotas of its control groups."""
    machine = os.cpu_count() or 1
    has_affinity = hasattr(os, "sched_getaffinity")
    mine = len(os.sched_getaffinity(0)) if has_affinity else machine
    quota = cgroups.cpu_quota()
    return Cpus(machine, mine if quota is None else min(mine, quota))


def available_cpus() -> int:
    """Whole CPUs that this process may use; half a CPU counts as one, which is then slow."""
    return max(1, int(allowed_cpus().allowed))


def memory() -> Memory:
    """Memory that this process may use, by the machine and by the limits of its control groups."""
    machine = psutil.virtual_memory()
    limits = cgroups.memory_limits()
    total = min([machine.total, *(limit.limit_bytes for limit in limits)])
    available = min([machine.available, *(limit.free_bytes for limit in limits)])
    return Memory(total, available, total < machine.total)


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one (MIG), as CUDA shows it.

    Args:
        identity: How CUDA_VISIBLE_DEVICES names it: the index of a whole one, the UUID of a part.
        name: Its kind, e.g. `NVIDIA H100 80GB HBM3`.
    """

    identity: str
    name: str


@functools.cache
def installed_gpus() -> tuple[Gpu, ...]:
    """The GPUs that the driver knows, whether this process sees them or not."""
    names = output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
    return tuple(Gpu(str(index), name) for index, name in enumerate(names))


def visible_gpus() -> tuple[Gpu, ...]:
    """The GPUs that CUDA shows to this process, in its order.

    CUDA_VISIBLE_DEVICES holds indices or UUIDs, which may be cut short as long as they fit one GPU
    only. As in CUDA, entries after the first that fits no GPU are ignored, and no GPU is seen if
    one is named twice.
    """
    installed, shown = installed_gpus(), os.environ.get(VISIBLE_GPUS)
    if shown is None or not installed:
        return installed
    known = {gpu.identity: gpu for gpu in installed}
    wanted = [identity.strip() for identity in shown.split(",")]
    if not all(identity.lstrip("-").isdigit() for identity in wanted):
        known |= _gpus_by_uuid(installed)
    found: list[Gpu] = []
    for identity in wanted:
        is_uuid = identity.startswith(_UUIDS)
        fits = [known[name] for name in known if is_uuid and name.startswith(identity)]
        if len(fits := [known[identity]] if identity in known else fits) != 1:
            break
        found += fits
    return tuple(found) if len(set(found)) == len(found) else ()


def _gpus_by_uuid(installed: Sequence[Gpu]) -> dict[str, Gpu]:
    """GPUs and parts of them by UUID, as `nvidia-smi -L` lists them: each GPU before its parts."""
    gpus: dict[str, Gpu] = {}
    whole = Gpu("", "")
    for line in output("nvidia-smi", "-L").splitlines():
        head, _, uuid = line.strip().rstrip(")").rpartition("(UUID: ")
        kind, _, number = head.partition(":")[0].rpartition(" ")
        if kind == "GPU" and number.isdigit() and int(number) < len(installed):
            gpus[uuid] = whole = installed[int(number)]
        elif head.startswith("MIG "):
            gpus[uuid] = Gpu(uuid, f"{whole.name} {head.partition('Device')[0].strip()}")
    return gpus


def open_files() -> int | None:
    """How many files a process of this user may have open; None without a limit."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def processes_left() -> int | None:
    """Processes and threads that this user may start before a limit is met; None without one."""
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    left = [] if (grouped := cgroups.process_limit()) is None else [grouped]
    # The limit counts threads of a user, and does not bind root.
    if limit != resource.RLIM_INFINITY and os.getuid():
        left.append(max(0, limit - _threads_of_user()))
    return min(left, default=None)


def _threads_of_user() -> int:
    found = psutil.process_iter(["uids", "num_threads"])
    uid = os.getuid()
    return sum(
        process.info["num_threads"] or 0
        for process in found
        if process.info["uids"] and process.info["uids"].real == uid
    )


@functools.cache
def hardware() -> dict[str, Any]:
    """What results record of the machine, as this process may use it; torch is not loaded."""
    return {
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpus": available_cpus(),
        "memory_bytes": memory().total_bytes,
        "gpus": [gpu.name for gpu in visible_gpus()],
    }


def user_name() -> str:
    """Name of the user who runs this process; the user's number where no name is known."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def settle_user(environment: MutableMapping[str, str] = os.environ) -> None:
    """Name a home and a user where a container gives this process neither.

    Libraries ask for both as they are imported, MLflow and Ray Tune among them.
    """
    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        # One of its own, as the caches beside it: libraries keep a few files there.
        home = f"{tempfile.gettempdir()}/prvr-home-{os.getuid()}"
        environment.setdefault("USER", str(os.getuid()))
    # An empty name would be the working directory.
    environment["HOME"] = environment.get("HOME") or home


def network_file_system(path: Path) -> str | None:
    """Kind of the network file system that holds a path; None for any other file system."""
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


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def output(*command: str) -> str:
    """Standard output of a command; empty where it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
