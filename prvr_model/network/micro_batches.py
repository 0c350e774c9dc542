"""Encoding a batch in parts, each computed a second time when its gradient is wanted.

What an encoder saves for its backward pass is nearly all of a training step's memory. Of a part
only its output stays; losses are those of the whole batch, so negatives are as many as ever.
Gradients differ by rounding alone, dropout draws by the parts' shapes.
"""

from collections.abc import Callable
from typing import TypeVar

from jaxtyping import Shaped
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Encoded = TypeVar("Encoded")


def num_parts(rows: int, most: int | None) -> int:
    """Parts of at most so many rows, one if there is no limit."""
    return max(1, -(-rows // most)) if most else 1


def encode_in_parts(
    encode: Callable[..., Encoded], parts: int, *inputs: Shaped[Tensor, "rows ..."]
) -> list[Encoded]:
    """Outputs of nearly equal parts of the inputs' rows, in order.

    Args:
        encode: Called with each part, and again in the backward pass with the same random draws.
        parts: How many; 1: called once and never again.
        inputs: Tensors with equally many rows.
    """
    parts = max(1, min(parts, len(inputs[0])))
    if parts == 1:
        return [encode(*inputs)]
    pieces = zip(*(one.tensor_split(parts) for one in inputs), strict=True)
    return [checkpoint(encode, *piece, use_reentrant=False) for piece in pieces]
