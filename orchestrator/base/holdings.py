"""What running sweeps hold of this machine, so that another sweep leaves it free.

Each sweep has a small file in a folder that all users share, while it runs; the file of a process
that is gone is ignored.
"""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from orchestrator.base.text import count

# Where all sweeps of a machine tell it. Not TMPDIR, which batch systems give each job of its own.
_VARIABLE, _DEFAULT = "PRVR_HOLDINGS", "/tmp/prvr-holdings"
_LARGEST_BYTES = 10_000


@dataclass(frozen=True)
class Holding:
    """What a sweep holds.

    Args:
        sweep: Its name.
        pid: Process of its driver.
        cpus: CPUs of all trials that run at once.
        memory_bytes: Their memory, as it was planned; 0 if not known.
        gpus: Identities of the GPUs that its trials may use.
    """

    sweep: str
    pid: int
    cpus: float = 0.0
    memory_bytes: int = 0
    gpus: tuple[str, ...] = ()

    @property
    def unused_bytes(self) -> int:
        """Planned memory that its processes have not taken yet."""
        used = 0
        with suppress(psutil.Error):
            driver = psutil.Process(self.pid)
            for process in driver.children(recursive=True):
                with suppress(psutil.Error):
                    used += process.memory_info().rss
        return max(0, self.memory_bytes - used)

    def __str__(self) -> str:
        """In words, e.g. `sweep 'cbva' (process 4711): 2 CPUs, 1 GPU`."""
        gpus = [count(len(self.gpus), "GPU")] if self.gpus else []
        return f"sweep {self.sweep!r} (process {self.pid}): " + ", ".join(
            [count(self.cpus, "CPU"), *gpus]
        )


@contextmanager
def holding(held: Holding) -> Iterator[None]:
    """Tell other sweeps while the block runs; tells none if the folder cannot be written.

    Args:
        held: What this process holds.
    """
    folder = _folder()
    file = folder / f"{held.pid}-{uuid.uuid4().hex}.json"
    with suppress(OSError):
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o1777)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(held)), encoding="utf-8")
        partial.chmod(0o644)
        partial.rename(file)
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()


def held_by_others() -> tuple[Holding, ...]:
    """What other processes on this machine hold."""
    files = sorted(_folder().glob("*.json"))
    found = [held for file in files if (held := _read(file)) is not None]
    return tuple(held for held in found if held.pid != os.getpid())


def _folder() -> Path:
    return Path(os.environ.get(_VARIABLE, _DEFAULT))


def _read(file: Path) -> Holding | None:
    """The holding in a file; None if the process is gone, is another one, or the file is torn."""
    try:
        written = file.lstat()
        fields = json.loads(file.read_bytes()[:_LARGEST_BYTES])
        held = Holding(
            str(fields["sweep"]),
            int(fields["pid"]),
            float(fields["cpus"]),
            int(fields["memory_bytes"]),
            tuple(map(str, fields["gpus"])),
        )
        process = psutil.Process(held.pid)
        is_its = process.uids().real == written.st_uid
        return held if is_its and process.create_time() <= written.st_mtime + 1 else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
