"""Dropout that draws 16 random bits per element.

On a CPU the generator, not the arithmetic, takes dropout's time: PyTorch's `bernoulli_` takes ten
times as long as drawing these bits. A rate is rounded to a multiple of 2^-16; the scale is that of
the rounded rate, so the mean is exact.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

_VALUES = 1 << 16
_PER_DRAW = 4


def kept_share(rate: float) -> float:
    """Share of elements that are kept at a rate, rounded as `keep_mask` rounds it."""
    return _kept_values(rate) / _VALUES


def _kept_values(rate: float) -> int:
    return max(1, round((1 - rate) * _VALUES))


def keep_mask(shape: tuple[int, ...], rate: float) -> Bool[Tensor, "..."]:
    """Random mask on a CPU of the elements to keep, from the default generator."""
    size = torch.Size(shape)
    draws = -(-size.numel() // _PER_DRAW)
    # numpy's generator, seeded by torch's, gives bits in less than half the time.
    seed = torch.randint(2**63 - 1, (1,)).numpy()
    bits = torch.from_numpy(np.random.SFC64(seed).random_raw(draws).view(np.int16))
    values = bits[: size.numel()]
    return (values < _kept_values(rate) - _VALUES // 2).view(size)


class _Dropout(torch.autograd.Function):
    """Product with a mask and a scale; only the mask is kept, a byte per element."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives the context no type)
        rows: Float[Tensor, "*shape"],
        mask: Bool[Tensor, "*shape"],
        scale: float,
    ) -> Float[Tensor, "*shape"]:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return (rows * mask).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (mask,) = ctx.saved_tensors
        return (gradients[0] * mask).mul_(ctx.scale), None, None


def dropout(rows: Float[Tensor, "*shape"], rate: float, training: bool) -> Float[Tensor, "*shape"]:
    """In training, zero a share `rate` of the elements and scale up the rest; else the rows."""
    if not training or rate == 0:
        return rows
    if rows.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(rows, rate)
    mask = keep_mask(tuple(rows.shape), rate)
    dropped: Tensor = _Dropout.apply(rows, mask, 1 / kept_share(rate))  # type: ignore[no-untyped-call]
    return dropped
