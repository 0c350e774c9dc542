"""One driver per home: two would write to one study and one MLflow database.

The operating system frees the lock when its process ends, even if it is killed. The text in the
file only serves the message of `HomeLockedError`.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil

from orchestrator.base.errors import HomeLockedError, LocationError

_FILE = "lock"
_LONGEST_BYTES = 1024


@contextmanager
def locked_home(home: Path, sweep: str = "") -> Iterator[None]:
    """Hold the home's lock while the block runs.

    Args:
        home: The folder; made if it is missing.
        sweep: Name of the sweep, for the message of a process that finds the lock held.

    Raises:
        HomeLockedError: Another process holds it.
        LocationError: The folder cannot be made or written.
    """
    handle = _open(home)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HomeLockedError(str(home), _holder(handle)) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, _me(sweep), 0)
        yield
    finally:
        os.close(handle)


def remove_partial_files(home: Path) -> None:
    """Remove databases and outboxes that a process began and did not finish; the lock is held."""
    for path in (*home.glob(".*.partial*"), *home.glob("outbox/*.partial")):
        path.unlink(missing_ok=True)


def _open(home: Path) -> int:
    try:
        home.mkdir(parents=True, exist_ok=True)
        return os.open(home / _FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise LocationError(
            f"cannot use {home} as home: {error.strerror}; name a folder that can be written "
            "with --home"
        ) from error


def _me(sweep: str) -> bytes:
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since_s": time.time(),
        "sweep": sweep,
    }
    return json.dumps(holder).encode()


def _holder(handle: int) -> str:
    """The process that holds the lock, and whether it lives as far as this machine can tell."""
    try:
        holder = json.loads(os.pread(handle, _LONGEST_BYTES, 0))
        since = datetime.fromtimestamp(holder["since_s"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        sweep = f" with sweep {holder['sweep']!r}" if holder["sweep"] else ""
        state = f"{_liveness(holder)}, since {since}{sweep}"
        return f"process {holder['pid']} on {holder['host']} ({state})"
    except (ValueError, KeyError, TypeError):
        return "another process"  # It holds the lock and has not written the file yet.


def _liveness(holder: dict[str, object]) -> str:
    if holder["host"] != socket.gethostname():
        return "holds the lock"
    pid = holder["pid"]
    # A child that inherited the lock can outlive the process that wrote the file.
    return "alive" if isinstance(pid, int) and psutil.pid_exists(pid) else "gone, its child lives"


def outbox_path(home: Path, sweep: str) -> Path:
    """The outbox of a sweep."""
    return home / "outbox" / f"{sweep}.jsonl"
