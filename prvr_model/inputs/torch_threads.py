"""Cuts work on tensors over threads each of which works alone.

Threads that share every product wait for one another at its end, on a busy machine longer than the
work takes: sixteen sentences are encoded in 9 ms by one thread, in 10 to 500 ms by two.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

from prvr_model.inputs.threads import in_parts

_Item = TypeVar("_Item")

# One call at a time sets torch's threads; a second one would only wait for the processor.
_WORKING = threading.Lock()


@contextmanager
def one_thread() -> Iterator[int]:
    """Let products inside take one thread; gives how many torch has otherwise.

    It cannot be entered a second time before it is left; others wait.
    """
    with _WORKING:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield threads
        finally:
            torch.set_num_threads(threads)


def in_threads(items: Sequence[_Item], work: Callable[[Iterator[_Item]], None]) -> None:
    """Let as many threads as torch has take items until none is left.

    Args:
        items: What there is to do.
        work: Works on the items that it takes; it runs without gradients.
    """
    left = iter(items)

    @torch.no_grad()
    def alone(_: slice) -> None:
        # Libraries below torch ask the thread that calls them how many threads to take.
        torch.set_num_threads(1)
        work(left)

    with one_thread() as threads:
        in_parts(len(items), threads, alone)
