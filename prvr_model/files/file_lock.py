"""A lock among processes; the system frees it when its holder ends, even if that is killed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold the lock of a file, which exists only while it is held; wait for another holder.

    If the file system has no locks (some network file systems) or the file cannot be made, the
    block runs without a lock and gets False: it must be safe without the lock too.

    Args:
        path: The file.
        on_wait: Called before a wait for another holder begins.
    """
    # No soft locks: those of a killed holder would stay.
    lock = FileLock(path, fallback_to_soft=False)
    is_held = _acquire(lock, on_wait)
    try:
        yield is_held
    finally:
        if is_held:
            # Removed before the lock is freed: a process that waits on a removed file starts over.
            with suppress(OSError):
                path.unlink()
            lock.release()


def _acquire(lock: FileLock, on_wait: Callable[[], None]) -> bool:
    """Take the lock; False if the file system has no locks."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        on_wait()
        lock.acquire()
    except OSError:
        return False
    return True
