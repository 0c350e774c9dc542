"""What is done to rows between products, each step in one pass and with its gradient.

For processors alone: accelerators have the plain form. A step takes what products gave and gives
what they take, in their type; everything else is float32, or float64 with it. `row_kernels` has the
loops.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from prvr_model.inputs.threads import in_parts
from prvr_model.network import row_kernels
from prvr_model.network.attention import NORM_EPSILON
from prvr_model.network.row_kernels import Rows

# Hashes that decide on dropout are below it.
_HASHES = 1 << 32
# Elements for which another thread is worth its start. On two cores it never is: there torch's own
# second thread, which waits for the next product without sleeping, is in its way.
_WORTH_A_THREAD, _FEWEST_THREADS = 1 << 18, 4
# Gradients that are sums over rows: by a norm's weight and bias, and by a layer's bias.
_SUMS = 3


class Draw(NamedTuple):
    """What decides which elements dropout keeps: two numbers, and the share that is kept."""

    first: int
    second: int
    rate: float

    @property
    def scale(self) -> float:
        """What kept elements are multiplied with, so that the mean stays."""
        return _HASHES / self._kept

    @property
    def _kept(self) -> int:
        return max(1, round((1 - self.rate) * _HASHES))

    def for_kernels(self) -> tuple[np.uint32, np.uint32, np.uint32, bool]:
        """As the kernels take it."""
        last = np.uint32(self._kept - 1)
        return np.uint32(self.first), np.uint32(self.second), last, self.rate > 0


def draw(rate: float) -> Draw:
    """Draw from torch's default generator, if something is dropped."""
    first, second = torch.randint(_HASHES, (2,)).tolist() if rate else (0, 0)
    return Draw(first, second, rate)


def attend(
    scores: Float[Tensor, "some length length"],
    factor: Float[Tensor, "#length length"],
    bias: Float[Tensor, "#batch 1 length"] | None,
    dropping: Draw,
    before: int = 0,
) -> Float[Tensor, "some length length"]:
    """Turn scores into attention in place, and give it after dropout, not scaled up.

    Args:
        scores: Products of queries and keys, of some of all heads' sequences.
        factor: Multiplied with the scores.
        bias: Added to the scores of each head.
        dropping: What dropout keeps; if all, the result is `scores` itself.
        before: Sequences before these.
    """
    dropped = torch.empty_like(scores) if dropping.rate else scores
    length = scores.shape[2]
    biases = factor.new_zeros(1, length) if bias is None else bias.flatten(0, 1)
    arrays = (_rows(scores), _rows(dropped), array(factor), array(biases))
    more = length, before * length, dropping.for_kernels()
    on_rows(row_kernels.attend, *arrays, *more)
    return dropped


def attend_backward(
    by_weights: Float[Tensor, "some length length"],
    weights: Float[Tensor, "some length length"],
    factor: Float[Tensor, "#length length"],
    dropping: Draw,
    before: int = 0,
) -> Float[Tensor, "some length length"]:
    """Turn the gradient by what `attend` gives into that by the scores, in place.

    Returns:
        What `attend` gave.
    """
    dropped = torch.empty_like(weights) if dropping.rate else weights
    arrays = (_rows(by_weights), _rows(weights), _rows(dropped), array(factor))
    more = before * weights.shape[2], dropping.for_kernels()
    on_rows(row_kernels.attend_backward, *arrays, *more)
    return dropped


class Normed(NamedTuple):
    """A norm's output and what its gradient needs.

    Args:
        output: Its output.
        normal: Rows of mean 0 and deviation 1, in the type of products.
        inverse: Inverse deviations.
    """

    output: Float[Tensor, "rows hidden"]
    normal: Float[Tensor, "rows hidden"]
    inverse: Float[Tensor, "rows"]


class Layer(NamedTuple):
    """Weights of a norm."""

    weight: Float[Tensor, "hidden"]
    bias: Float[Tensor, "hidden"]

    def for_kernels(self) -> tuple[Rows, Rows, Any]:
        """As the kernels take it."""
        weight = array(self.weight)
        return weight, array(self.bias), weight.dtype.type(NORM_EPSILON)


def add_norm(
    rows: Float[Tensor, "rows hidden"],
    added: Float[Tensor, "heads rows head"],
    scale: float,
    layer: Layer,
    dropping: Draw,
) -> tuple[Normed, Float[Tensor, "rows hidden"]]:
    """Norm of the sum of rows and what dropout keeps of others; its output in the products' type.

    Args:
        rows: Residual rows.
        added: The others, in the type of products, head by head.
        scale: Multiplied with the others.
        layer: The norm.
        dropping: What dropout keeps.
    """
    output = torch.empty_like(rows)
    normal = torch.empty_like(rows, dtype=added.dtype)
    is_rounded = added.dtype != rows.dtype
    rounded = torch.empty_like(normal) if is_rounded else output
    inverse = rows.new_empty(len(rows))
    on_rows(
        row_kernels.add_norm,
        array(rows),
        array(added),
        _number(rows, scale),
        layer.for_kernels(),
        array(normal),
        array(inverse),
        array(output),
        array(rounded if is_rounded else output[:0]),
        dropping.for_kernels(),
    )
    return Normed(output, normal, inverse), rounded


class AddNormGradients(NamedTuple):
    """Gradients of `add_norm`.

    Args:
        by_rows: By the residual rows.
        by_added: By the others, in the type of products, head by head.
        by_layer: By the norm's weight and bias.
        by_bias: Sum of `by_added` over rows: by the bias of the layer that made them.
    """

    by_rows: Float[Tensor, "rows hidden"]
    by_added: Float[Tensor, "heads rows head"]
    by_layer: Layer
    by_bias: Float[Tensor, "hidden"]


# Nine: the gradient, what was kept, and what becomes of two of the results.
def add_norm_backward(
    by_output: Float[Tensor, "rows hidden"],
    normal: Float[Tensor, "rows hidden"],
    inverse: Float[Tensor, "rows"],
    layer: Layer,
    scale: float,
    dropping: Draw,
    num_heads: int = 1,
    more: Float[Tensor, "rows hidden"] | None = None,
    by_rows: Float[Tensor, "rows hidden"] | None = None,
) -> AddNormGradients:
    """Gradients of `add_norm`.

    Args:
        by_output: Gradient by the output.
        normal: As kept; `inverse` likewise.
        inverse: Inverse deviations.
        layer: The norm.
        scale: As in `add_norm`.
        dropping: As in `add_norm`.
        num_heads: Heads of the others.
        more: Added to `by_output`, in the type of products.
        by_rows: Where the gradient by the residual rows is added; None: it is given by itself.
    """
    found = torch.empty_like(by_output) if by_rows is None else by_rows
    rows, columns = normal.shape
    by_added = normal.new_empty(num_heads, rows, columns // num_heads)
    by_weight, by_bias, by_bias_of_added = on_rows(
        row_kernels.add_norm_backward,
        array(by_output),
        array(normal[:0] if more is None else more),
        array(normal),
        array(inverse),
        layer.for_kernels(),
        _number(by_output, scale),
        array(found),
        by_rows is not None,
        array(by_added),
        dropping.for_kernels(),
        sums=_SUMS,
    )
    return AddNormGradients(found, by_added, Layer(by_weight, by_bias), by_bias_of_added)


def relu_backward(
    by_hidden: Float[Tensor, "rows wide"], hidden: Float[Tensor, "rows wide"]
) -> Float[Tensor, "wide"]:
    """Gradient through a ReLU, in place, from its output; gives its sum over rows."""
    return on_rows(row_kernels.relu_backward, array(by_hidden), array(hidden), sums=1)[0]


def join_heads(
    heads: Float[Tensor, "heads rows head"],
) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, "columns"]]:
    """Rows of all heads side by side, and their sum over rows in float32."""
    number, rows, width = heads.shape
    joined = heads.new_empty(rows, number * width)
    return joined, on_rows(row_kernels.join_heads, array(joined), array(heads), sums=1)[0]


def norm_drop(
    features: Float[Tensor, "rows features"],
    layer: Layer,
    dropping: Draw,
    dtype: torch.dtype,
    with_mask: bool = False,
) -> tuple[Float[Tensor, "rows features"], Float[Tensor, "..."]]:
    """Norm and then dropout, in the type of products; and its mask, scaled up, if asked for."""
    output = torch.empty_like(features, dtype=dtype)
    mask = torch.empty_like(output) if with_mask else output[:0]
    scale = _number(features, dropping.scale)
    arrays = (array(features), layer.for_kernels(), scale, array(output), array(mask))
    on_rows(row_kernels.norm_drop, *arrays, dropping.for_kernels())
    return output, mask


def place_norm(
    projected: Float[Tensor, "rows hidden"],
    positions: Float[Tensor, "length hidden"],
    layer: Layer,
    dropping: Draw,
) -> Normed:
    """Norm of ReLU and position, then dropout.

    Args:
        projected: Rows in the type of products, `length` of each sequence.
        positions: Added to the rows of a sequence.
        layer: The norm.
        dropping: What dropout keeps.
    """
    output = torch.empty_like(projected, dtype=positions.dtype)
    normal, inverse = torch.empty_like(projected), output.new_empty(len(output))
    on_rows(
        row_kernels.place_norm,
        array(projected),
        array(positions),
        len(positions),
        layer.for_kernels(),
        _number(output, dropping.scale),
        array(normal),
        array(inverse),
        array(output),
        dropping.for_kernels(),
    )
    return Normed(output, normal, inverse)


class PlaceNormGradients(NamedTuple):
    """Gradients of `place_norm`.

    Args:
        by_projected: By its rows, in the type of products.
        by_bias: Sum of `by_projected` over rows.
        by_positions: By the positions.
        by_layer: By the norm's weight and bias.
    """

    by_projected: Float[Tensor, "rows hidden"]
    by_bias: Float[Tensor, "hidden"]
    by_positions: Float[Tensor, "length hidden"]
    by_layer: Layer


# Six: the gradient, what was kept and how it was made.
def place_norm_backward(
    by_output: Float[Tensor, "rows hidden"],
    projected: Float[Tensor, "rows hidden"],
    normal: Float[Tensor, "rows hidden"],
    inverse: Float[Tensor, "rows"],
    length: int,
    layer: Layer,
    dropping: Draw,
) -> PlaceNormGradients:
    """Gradients of `place_norm`, whose arguments and results they take."""
    by_projected = torch.empty_like(projected)
    by_weight, by_bias, by_layer_bias, *by_positions = on_rows(
        row_kernels.place_norm_backward,
        array(by_output),
        array(projected),
        array(normal),
        array(inverse),
        length,
        layer.for_kernels(),
        _number(by_output, dropping.scale),
        array(by_projected),
        dropping.for_kernels(),
        sums=_SUMS + length,
    )
    by_layer = Layer(by_weight, by_bias)
    return PlaceNormGradients(by_projected, by_layer_bias, torch.stack(by_positions), by_layer)


def on_rows(
    kernel: Callable[..., None], rows: Rows, *arguments: object, sums: int = 0
) -> Float[Tensor, "sums columns"]:
    """Run a kernel on all rows, some in each thread if there are many; gives its sums over rows.

    Args:
        kernel: Takes rows, arguments, its sums if it has any, and the range to work on.
        rows: What it works on.
        arguments: What else it takes.
        sums: Rows of sums that it adds to.
    """
    found: dict[int, Rows] = {}
    dtype = np.float64 if rows.dtype == np.float64 else np.float32

    def work(part: slice) -> None:
        found[part.start] = own = np.zeros((sums, rows.shape[1]), dtype)
        kernel(rows, *arguments, *([own] if sums else []), (part.start, part.stop))

    threads = torch.get_num_threads()
    if threads < _FEWEST_THREADS:
        threads = 1
    in_parts(len(rows), min(threads, 1 + rows.size // _WORTH_A_THREAD), work)
    if not found:  # a worker without a video
        work(slice(0, 0))
    by_part = [torch.from_numpy(found[start]) for start in sorted(found)]
    return torch.stack(by_part).sum(dim=0) if len(by_part) > 1 else by_part[0]


def array(values: Tensor) -> Rows:
    """A tensor's memory; bfloat16 as numbers of 16 bits."""
    own = values.detach()
    found: Rows = (own.view(torch.uint16) if own.dtype == torch.bfloat16 else own).numpy()
    return found


def _rows(values: Tensor) -> Rows:
    """The same as rows of its last dimension."""
    return array(values.flatten(0, -2))


def _number(like: Tensor, value: float) -> Any:  # noqa: ANN401  (a number of numpy)
    return np.float64(value) if like.dtype == torch.float64 else np.float32(value)
