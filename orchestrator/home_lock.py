"""One driver per home: two would write to one study and one MLflow database."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.errors import HomeLockedError, PlaceError

_FILE = "lock"


@contextmanager
def locked_home(home: Path) -> Iterator[None]:
    """Hold the home's lock; the system frees it when the process ends, however it ends.

    Raises:
        HomeLockedError: Another process holds it.
        PlaceError: The folder cannot be made or written.
    """
    handle = _open(home)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HomeLockedError(str(home), _holder(handle)) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def _open(home: Path) -> int:
    try:
        home.mkdir(parents=True, exist_ok=True)
        return os.open(home / _FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise PlaceError(
            f"cannot use {home} as home: {error.strerror}; name a folder that can be written "
            "with --home"
        ) from error


def _holder(handle: int) -> int | None:
    """Process that wrote itself into the file; None: it has not yet."""
    with suppress(ValueError):
        return int(os.pread(handle, 32, 0))
    return None
