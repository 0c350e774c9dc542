"""What still runs of processes that should have ended.

A process that was killed ends a moment later; one that nobody waits for stays in the list, as a
zombie.
"""

import time
from collections.abc import Callable, Iterable

import psutil

_LIMIT_S = 10.0


def left_of(find: Callable[[], Iterable[psutil.Process]]) -> list[psutil.Process]:
    """Those of the found processes that have not ended after a while.

    Args:
        find: Called again until it finds none that runs.
    """
    limit_s = time.monotonic() + _LIMIT_S
    while (left := [process for process in find() if _runs(process)]) and (
        time.monotonic() < limit_s
    ):
        time.sleep(0.05)
    return left


def children_besides(known: Iterable[psutil.Process]) -> list[psutil.Process]:
    """What this process started, and what that started, that is not among the known and runs on."""
    known = set(known)
    return left_of(
        lambda: [one for one in psutil.Process().children(recursive=True) if one not in known]
    )


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
