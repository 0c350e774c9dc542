"""A lock among processes that the system frees when its holder ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of a file that is there only while it is held; wait where another has it.

    Where there are no locks (some network file systems) or the file cannot be made, nobody is
    kept out: what is done inside must be safe then too.
    """
    handle = _acquired(path)
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):
                path.unlink()
            os.close(handle)


def _acquired(path: Path) -> int | None:
    """Descriptor that holds the lock; None: there are none here."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            os.close(handle)
            return None
        if _is_at(path, handle):
            return handle
        # Its holder removed the file while we waited: another may hold the lock of a new one.
        os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
