"""Finds what makes the host wait for the device, on a machine that has no device.

Tensors on PyTorch's `meta` device have shapes and no content, and code takes its accelerator
branches there: reading a number, or a shape that depends on content, raises. What does not raise
is recorded here: transfers that block, and operations that wait on CUDA alone.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")
# Operations whose result, or its shape, the host must know before it goes on.
_READS = (
    "_local_scalar_dense",
    "is_nonzero",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "bincount",
    "equal",
    "repeat_interleave",
)
_INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_")


class SyncDetector(TorchDispatchMode):
    """Records each operation that waits for the device, in `found`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(  # type: ignore[override]
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        name = str(func).split(".")[1]
        if name in _READS or _chosen_by_mask(name, args) or _blocks(name, args, kwargs):
            self.found.append(str(func))
        return func(*args, **kwargs)


def _chosen_by_mask(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a mask chooses elements: their number must be known."""
    masks = (torch.bool, torch.uint8)
    return name in _INDEXED and any(
        isinstance(argument, Tensor) and argument.dtype in masks for argument in args[1]
    )


def _blocks(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether tensors move to another device while the host waits; off the device it always does.

    A copy into pinned memory need not, but no test of ours can make one without CUDA.
    """
    if name == "_to_copy":
        source, target = args[0].device, kwargs.get("device") or args[0].device
    elif name == "copy_":
        source, target = args[1].device, args[0].device
    else:
        return False
    waits = not kwargs.get("non_blocking", len(args) > 2 and args[2])
    return source.type != target.type and (waits or target.type == "cpu")
