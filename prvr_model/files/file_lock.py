"""A lock among processes that the system frees when its holder ends, however it ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold the lock of a file, which exists only while it is held; wait for another holder.

    Where the file system has no locks (some network file systems) or the file cannot be made, the
    block runs without a lock and is given False: what it does must be safe then too.

    Args:
        path: The file.
        on_wait: Called before a wait for another holder begins.
    """
    # No soft locks: after a killed holder they would stay.
    lock = FileLock(path, fallback_to_soft=False)
    is_held = _acquire(lock, on_wait)
    try:
        yield is_held
    finally:
        if is_held:
            # Removed before it is freed: a process that waits for a removed file begins anew.
            with suppress(OSError):
                path.unlink()
            lock.release()


def _acquire(lock: FileLock, on_wait: Callable[[], None]) -> bool:
    """Whether the lock is held now; False: there are no locks here."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        on_wait()
        lock.acquire()
    except OSError:
        return False
    return True
