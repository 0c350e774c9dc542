"""Host memory that is reused instead of allocated each time.

New memory from the system costs a page fault for every 4 KiB, and under virtualisation those cost
more than the work on it. Training keeps what it frees (`allocator`); a process that makes batches
or chunks outside of training would pay each time.
"""

import math
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Number = TypeVar("Number", bound=np.generic)

# Batches differ a little in their numbers of captions and tokens. Memory is allocated with an
# eighth more than asked for, so that it does not grow by a row at a time.
_SLACK = 8


class ReusedMemory:
    """Named arrays in memory that is kept; not for two threads at once.

    Args:
        pinned: Whether the memory is page-locked, for copies to a GPU that do not wait.
    """

    def __init__(self, *, pinned: bool = False) -> None:
        self._pinned = pinned
        self._blocks: dict[str, Tensor] = {}

    def array(
        self, name: str, shape: tuple[int, ...], dtype: type[Number]
    ) -> np.ndarray[tuple[int, ...], np.dtype[Number]]:
        """An uninitialised array; it overwrites the earlier array of this name."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if name not in self._blocks or len(self._blocks[name]) < size:
            # The old block is freed first: both together would raise the memory's peak.
            self._blocks.pop(name, None)
            self._blocks[name] = self._block(size + size // _SLACK)
        return self._blocks[name].numpy()[:size].view(dtype).reshape(shape)

    def _block(self, size: int) -> Tensor:
        if self._pinned:
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)
        # numpy asks for huge pages where the system has them, torch does not.
        return torch.from_numpy(np.empty(size, np.uint8))
