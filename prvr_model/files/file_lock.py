"""A lock among processes that the system frees when its holder ends, however it ends."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold the lock of a file that is there only while it is held; wait where another has it.

    Where there are no locks (some network file systems) or the file cannot be made, nobody is
    kept out and the block is given False: what is done inside must be safe then too.

    Args:
        path: The file.
        on_wait: Called before a wait for another holder begins.
    """
    handle = _acquired(path, on_wait)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            with suppress(OSError):
                path.unlink()
            os.close(handle)


def _acquired(path: Path, on_wait: Callable[[], None]) -> int | None:
    """Descriptor that holds the lock; None: there are none here."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            return None
        try:
            _lock(handle, on_wait)
        except OSError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        if _is_at(path, handle):
            return handle
        # Its holder removed the file while we waited: another may hold the lock of a new one.
        os.close(handle)


def _lock(handle: int, on_wait: Callable[[], None]) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        on_wait()
        fcntl.flock(handle, fcntl.LOCK_EX)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
