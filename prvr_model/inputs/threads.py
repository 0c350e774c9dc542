"""Runs work on consecutive parts in threads at the same time.

For numpy's long calls, which let other threads run: converting, adding up, copying memory.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise


def in_parts(total: int, threads: int, work: Callable[[slice], None]) -> None:
    """Call `work` with every part of `range(total)`, one part per thread, one in this thread.

    Args:
        total: Number of items; with 0 `work` is not called.
        threads: Number of parts; fewer if there are fewer items.
        work: Works on a part; its error is raised after the other parts have ended.
    """
    bounds = [total * number // threads for number in range(threads + 1)]
    parts = [slice(start, stop) for start, stop in pairwise(bounds) if start < stop]
    if len(parts) < 2:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(len(parts) - 1) as pool:
        others = [pool.submit(work, part) for part in parts[1:]]
        work(parts[0])
    for other in others:
        other.result()
