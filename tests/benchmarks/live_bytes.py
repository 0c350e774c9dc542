"""Bytes of all tensors alive at a time, on any device, `meta` included, which has no memory at all.

Every storage is followed from the operation that made it to its end. What a kernel uses inside of
itself is not seen.
"""

import sys
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# CUDA's allocator hands out multiples of this many bytes.
_ROUNDING = 512
_OURS = "prvr_model."


@dataclass(frozen=True)
class Block:
    """The memory of one storage.

    Args:
        num_bytes: Its size as CUDA's allocator would count it.
        maker: Operation and place in the code that made it.
        shape: Shape of the tensor that it was made for.
        dtype: Type of its elements.
    """

    num_bytes: int
    maker: str
    shape: tuple[int, ...]
    dtype: torch.dtype


class LiveBytes(TorchDispatchMode):
    """Counts the bytes alive while the mode is on.

    Attributes:
        peak: Most bytes alive at a time.
        at_peak: The blocks alive then.
        peak_maker: What made the last of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._live: dict[int, Block] = {}
        self.now = 0
        self.reset_peak()

    def reset_peak(self) -> None:
        """Start to look for another peak."""
        self.peak, self.at_peak, self.peak_maker = self.now, tuple(self._live.values()), ""

    def hold(self, tensors: Iterable[Tensor], maker: str) -> None:
        """Count tensors that were there before."""
        for tensor in tensors:
            self._add(tensor, lambda: maker)

    def block(self, tensor: Tensor) -> Block | None:
        """The block that a tensor lies in, if it is known."""
        return self._live.get(_key(tensor))

    def __torch_dispatch__(  # type: ignore[override]
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        for leave in tree_leaves(result):
            if isinstance(leave, Tensor):
                self._add(leave, lambda: f"{str(func).split('.')[1]} in {site()}")
        return result

    def _add(self, tensor: Tensor, maker: Callable[[], str]) -> None:
        key = _key(tensor)
        if key in self._live:
            return
        storage = tensor.untyped_storage()
        size = -(-storage.nbytes() // _ROUNDING) * _ROUNDING
        block = Block(size, maker(), tuple(tensor.shape), tensor.dtype)
        self._live[key] = block
        weakref.finalize(storage, self._free, key)
        self.now += size
        if self.now > self.peak:
            self.peak, self.peak_maker = self.now, block.maker
            self.at_peak = tuple(self._live.values())

    def _free(self, key: int) -> None:
        self.now -= self._live.pop(key).num_bytes


def site() -> str:
    """The innermost place in `prvr_model` that is being run, e.g. `attention.self_attention`.

    Outside of it, and in the gradients that PyTorch makes, `autograd`.
    """
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(_OURS):
            return f"{module.removeprefix(_OURS)}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return "autograd"


def _key(tensor: Tensor) -> int:
    key: int = tensor.untyped_storage()._cdata
    return key
