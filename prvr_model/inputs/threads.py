"""Work on consecutive parts of something at the same time.

For numpy's long calls, which let other threads run: converting, adding up, copying memory.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise


def in_parts(total: int, threads: int, work: Callable[[slice], None]) -> None:
    """Call `work` with every part of `range(total)`, one part a thread; this thread takes one.

    Args:
        total: Number of things; 0 calls nothing.
        threads: Number of parts, or fewer where there are fewer things.
        work: Works on a part; what it raises is raised here, after the others have ended.
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
