"""Limits of the control groups that this process is in: a container's, a batch job's, a service's.

Both versions are read, with every group above the process's own: each of them limits it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNIFIED = ""
"""Version 2: one tree for everything; in version 1 each controller has its own."""
_OOM_FILES = ("memory.events", "memory.oom_control")


@dataclass(frozen=True)
class MemoryLimit:
    """A group's limit of memory.

    Args:
        limit_bytes: Memory that its processes may have together.
        used_bytes: Memory that they have now, without pages of files that can be dropped at once.
    """

    limit_bytes: int
    used_bytes: int

    @property
    def free_bytes(self) -> int:
        """Memory that is left."""
        return max(0, self.limit_bytes - self.used_bytes)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs' worth of time that the process's groups allow; None without a limit.

    Args:
        root: Folder that holds `proc` and `sys`.
    """
    quotas = []
    for group in _groups("cpu", root):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        quota = quota or _text(group / "cpu.cfs_quota_us")
        period = period or _text(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def memory_limits(root: Path = Path("/")) -> tuple[MemoryLimit, ...]:
    """Limits of memory of the process's groups, its own first.

    Args:
        root: Folder that holds `proc` and `sys`.
    """
    return tuple(
        MemoryLimit(limit, used)
        for group in _groups("memory", root)
        for limit, used in _memory_limit(group)
    )


def process_limit(root: Path = Path("/")) -> int | None:
    """How many more processes and threads the process's groups allow; None without a limit.

    Args:
        root: Folder that holds `proc` and `sys`.
    """
    left = []
    for group in _groups("pids", root):
        most, now = _text(group / "pids.max"), _text(group / "pids.current")
        if most.isdigit() and now.isdigit():
            left.append(max(0, int(most) - int(now)))
    return min(left, default=None)


def oom_kills(root: Path = Path("/")) -> int:
    """How many processes of this one's group the kernel has killed for memory so far.

    Args:
        root: Where `proc` and `sys` are.
    """
    # A container sees the top of its own tree, which counts what happens below.
    files = [group / name for group in _groups("memory", root) for name in _OOM_FILES]
    for file in (*files, root / "proc/vmstat"):
        counts = dict(line.split(" ", 1) for line in _text(file).splitlines())
        if (kills := counts.get("oom_kill", "")).isdigit():
            return int(kills)
    return 0


def _memory_limit(group: Path) -> Iterator[tuple[int, int]]:
    for limit_file, used_file, cache_key in (
        ("memory.max", "memory.current", "inactive_file"),
        # Above it a group is slowed down until it stands still.
        ("memory.high", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _text(group / limit_file), _text(group / used_file)
        if limit.isdigit() and used.isdigit():
            counts = dict(line.split(" ", 1) for line in _text(group / "memory.stat").splitlines())
            yield int(limit), int(used) - int(counts.get(cache_key, 0))


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of the groups that the process is in, each with those above it, its own first."""
    mounts = _mounts(root)
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        name = _UNIFIED if not controllers else controller
        if (controllers and controller not in controllers.split(",")) or name not in mounts:
            continue
        within, folder = mounts[name]
        # In a container the mount may begin at the container's own group, or hide where it lies.
        below = path.removeprefix(within.rstrip("/")) if path.startswith(within) else "/"
        own = folder / below.strip("/")
        own = own if own.is_dir() else folder
        yield own
        yield from (above for above in own.parents if above.is_relative_to(folder))


def _mounts(root: Path) -> dict[str, tuple[str, Path]]:
    """Controller -> the group that its tree begins with, and the folder where it is mounted."""
    mounts: dict[str, tuple[str, Path]] = {}
    for line in _text(root / "proc/self/mountinfo").splitlines():
        fields, _, kind = line.partition(" - ")
        _, _, _, begins, folder, *_ = fields.split(" ")
        file_system, *_, options = kind.split(" ")
        if file_system == "cgroup2":
            mounts[_UNIFIED] = begins, root / folder.strip("/")
        elif file_system == "cgroup":
            for name in options.split(","):
                mounts.setdefault(name, (begins, root / folder.strip("/")))
    return mounts


def _text(file: Path) -> str:
    """A file's text; empty if it is missing or this process may not read it."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
