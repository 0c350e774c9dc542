"""Parallel attention blocks as one operation with a gradient of its own, for processors.

It computes what `AttentionBlock` computes step by step: products in the fastest form, and between
two of them one pass over the rows (`row_steps`). Heads lie one after the other, so that one product
does all of them, and each block keeps only what its gradient needs. Under autocast products take
and give bfloat16, and what is kept is kept in it; sums, norms and softmax stay float32. Tests
compare it with the plain form.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from prvr_model.network.attention import AttentionBlock
from prvr_model.network.row_steps import (
    Draw,
    Layer,
    add_norm,
    add_norm_backward,
    attend,
    attend_backward,
    draw,
    join_heads,
    relu_backward,
)

Forward = TypeVar("Forward", bound=Callable[..., Any])

# Of attention at a time: the next step finds it in the processor's cache.
_CACHED_BYTES = 1 << 21


def can_fuse(rows: Tensor) -> bool:
    """Whether to use operations with a gradient of their own instead of the plain form.

    They are made for processors; a compiler fuses better by itself.
    """
    return rows.device.type == "cpu" and not torch.compiler.is_compiling()


def product_type(rows: Tensor) -> torch.dtype:
    """The type in which products of rows are taken: that of autocast, or their own."""
    is_cast = torch.is_autocast_enabled("cpu") and rows.dtype == torch.float32
    return torch.get_autocast_dtype("cpu") if is_cast else rows.dtype


def in_own_type(forward: Forward) -> Forward:
    """A function's forward pass without autocast, whose inputs come in float32 where it was on."""
    found: Forward = torch.amp.custom_fwd(forward, device_type="cpu", cast_inputs=torch.float32)
    return found


def parallel_blocks(
    rows: Float[Tensor, "batch length hidden"],
    blocks: Sequence[AttentionBlock],
    factors: Float[Tensor, "blocks length length"] | None = None,
    score_bias: Float[Tensor, "#batch 1 length"] | None = None,
) -> tuple[Float[Tensor, "batch length hidden"], ...]:
    """Each block's output for the same rows; see `AttentionBlock.forward`.

    Args:
        rows: Positions; each gives a query, a key and a value.
        blocks: Blocks of equal sizes and dropout.
        factors: Multiplied with a block's scores before the bias.
        score_bias: Added to the scores.
    """
    if not can_fuse(rows):
        by_block = [None] * len(blocks) if factors is None else list(factors)
        pairs = zip(blocks, by_block, strict=True)
        return tuple(block(rows, factor, score_bias) for block, factor in pairs)
    first = blocks[0]
    rate = first.dropout_rate if first.training else 0.0
    parameters = [parameter for block in blocks for parameter in _parameters(block)]
    outputs: tuple[Tensor, ...] = _FusedBlocks.apply(  # type: ignore[no-untyped-call]
        rows, factors, score_bias, first.attention.num_heads, rate, product_type(rows), *parameters
    )
    return outputs


def _parameters(block: AttentionBlock) -> list[Tensor]:
    attention = block.attention
    layers = (
        attention.query,
        attention.key,
        attention.value,
        block.attention_norm,
        block.expand,
        block.contract,
        block.output_norm,
    )
    return [weight for layer in layers for weight in (layer.weight, layer.bias)]


class _Weights(NamedTuple):
    """Parameters of a block, or their gradients."""

    query: Tensor
    query_bias: Tensor
    key: Tensor
    key_bias: Tensor
    value: Tensor
    value_bias: Tensor
    attention_norm: Tensor
    attention_norm_bias: Tensor
    expand: Tensor
    expand_bias: Tensor
    contract: Tensor
    contract_bias: Tensor
    output_norm: Tensor
    output_norm_bias: Tensor

    @property
    def projection(self) -> Float[Tensor, "three_hidden hidden"]:
        """Of queries, keys and values, one below the other."""
        return torch.cat([self.query, self.key, self.value])

    @property
    def projection_bias(self) -> Float[Tensor, "three_hidden"]:
        """Of `projection`."""
        return torch.cat([self.query_bias, self.key_bias, self.value_bias])

    @property
    def norms(self) -> tuple[Layer, Layer]:
        """The attention's and the output's."""
        first = Layer(self.attention_norm, self.attention_norm_bias)
        return first, Layer(self.output_norm, self.output_norm_bias)


class _Kept(NamedTuple):
    """What the gradient of a block reads.

    Args:
        heads: Queries, keys and values, head by head.
        weights: Attention before dropout.
        normal: Rows of the attention's norm, with their inverse deviations.
        hidden: The feed-forward layer's activations.
        output_normal: Rows of the output norm, likewise.
    """

    heads: Float[Tensor, "three sequences length head"]
    weights: Float[Tensor, "sequences length length"]
    normal: Float[Tensor, "rows hidden"]
    inverse: Float[Tensor, "rows"]
    hidden: Float[Tensor, "rows wide"]
    output_normal: Float[Tensor, "rows hidden"]
    output_inverse: Float[Tensor, "rows"]


class _Draws(NamedTuple):
    """What dropout keeps of the attention, of attended values and of the changed rows."""

    weights: Draw
    attended: Draw
    changed: Draw


@dataclass(frozen=True)
class _Sizes:
    """Shapes that all blocks share, and the type of their products."""

    batch: int
    length: int
    hidden: int
    num_heads: int
    dtype: torch.dtype

    @property
    def head_size(self) -> int:
        """Columns of a head."""
        return self.hidden // self.num_heads

    def by_head(
        self, projected: Float[Tensor, "rows three_hidden"]
    ) -> Float[Tensor, "three sequences length head"]:
        """Queries, keys and values: all sequences of a head, then of the next."""
        shape = (self.batch, self.length, 3, self.num_heads, self.head_size)
        parts = projected.view(shape).permute(2, 3, 0, 1, 4)
        found: Tensor = parts.reshape(3, self.num_heads * self.batch, self.length, self.head_size)
        return found

    def rounded(self, values: Tensor) -> Tensor:
        """Values in the type of products."""
        return values.to(self.dtype)


class _FusedBlocks(torch.autograd.Function):
    """Outputs of all blocks; parameters come as one flat list, block after block."""

    @staticmethod
    @in_own_type
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives the context no type)
        rows: Float[Tensor, "batch length hidden"],
        factors: Float[Tensor, "blocks length length"] | None,
        score_bias: Float[Tensor, "#batch 1 length"] | None,
        num_heads: int,
        rate: float,
        dtype: torch.dtype,
        *parameters: Tensor,
    ) -> tuple[Float[Tensor, "batch length hidden"], ...]:
        batch, length, hidden = rows.shape
        sizes = _Sizes(batch, length, hidden, num_heads, dtype)
        flat = rows.flatten(0, 1).contiguous()
        outputs: list[Tensor] = []
        kept: list[Tensor] = []
        ctx.draws = []
        entered = sizes.rounded(flat)
        for number, weights in enumerate(_blocks(parameters)):
            factor = _factor(sizes, flat, factors, number)
            draws = _Draws(draw(rate), draw(rate), draw(rate))
            output, saved = _forward(sizes, flat, entered, weights, factor, score_bias, draws)
            outputs.append(output.view_as(rows))
            kept += saved
            ctx.draws.append(draws)
        ctx.sizes = sizes
        ctx.save_for_backward(entered, factors, *parameters, *kept)
        ctx.num_parameters = len(parameters)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        entered, factors, *rest = ctx.saved_tensors
        parameters, kept = rest[: ctx.num_parameters], rest[ctx.num_parameters :]
        by_rows = torch.zeros_like(entered, dtype=gradients[0].dtype)
        by_parameters: list[Tensor] = []
        size = len(_Kept._fields)
        for number, weights in enumerate(_blocks(parameters)):
            saved = _Kept(*kept[number * size : (number + 1) * size])
            by_output = gradients[number].flatten(0, 1).contiguous()
            draws = ctx.draws[number]
            by_attended, by_later = _feed_forward_backward(
                ctx.sizes, by_output, weights, saved, draws, by_rows
            )
            factor = _factor(ctx.sizes, by_rows, factors, number)
            by_heads = _attend_backward(by_attended, saved, factor, draws)
            by_parameters += _projections_backward(ctx.sizes, entered, by_heads, weights, by_rows)
            by_parameters += by_later
        by_input = by_rows.view(ctx.sizes.batch, ctx.sizes.length, ctx.sizes.hidden)
        return by_input, None, None, None, None, None, *by_parameters


def _blocks(parameters: Sequence[Tensor]) -> list[_Weights]:
    size = len(_Weights._fields)
    starts = range(0, len(parameters), size)
    return [_Weights(*parameters[start : start + size]) for start in starts]


def _factor(
    sizes: _Sizes, like: Tensor, factors: Float[Tensor, "blocks length length"] | None, number: int
) -> Float[Tensor, "#length length"]:
    """What a block's scores are multiplied with, the root of the head's size included."""
    scale = 1 / math.sqrt(sizes.head_size)
    if factors is None:
        return like.new_full((1, sizes.length), scale)
    return factors[number] * scale


# Seven: rows as they come and rounded, the block and what changes its scores.
def _forward(
    sizes: _Sizes,
    rows: Float[Tensor, "rows hidden"],
    entered: Float[Tensor, "rows hidden"],
    weights: _Weights,
    factor: Float[Tensor, "#length length"],
    score_bias: Float[Tensor, "#batch 1 length"] | None,
    draws: _Draws,
) -> tuple[Float[Tensor, "rows hidden"], _Kept]:
    """One block's output and what its gradient needs."""
    attention_norm, output_norm = weights.norms
    projected = _linear(sizes, entered, weights.projection, weights.projection_bias)
    heads = sizes.by_head(projected)
    attention, attended = _attend(heads, factor, score_bias, draws.weights)
    # Two dropouts, of the weights and of the attended values, are scaled up together.
    scale = draws.attended.scale**2
    by_head = attended.view(sizes.num_heads, len(rows), sizes.head_size)
    first, entering = add_norm(rows, by_head, scale, attention_norm, draws.attended)
    hidden = _linear(sizes, entering, weights.expand, weights.expand_bias).relu_()
    changed = _linear(sizes, hidden, weights.contract, weights.contract_bias)
    second, _ = add_norm(
        first.output, changed[None], draws.changed.scale, output_norm, draws.changed
    )
    kept = (first.normal, first.inverse, hidden, second.normal, second.inverse)
    return second.output, _Kept(heads, attention, *kept)


def _linear(sizes: _Sizes, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(sizes.rounded(bias), rows, sizes.rounded(weight).T)


def _attend(
    heads: Float[Tensor, "three sequences length head"],
    factor: Float[Tensor, "#length length"],
    score_bias: Float[Tensor, "#batch 1 length"] | None,
    dropping: Draw,
) -> tuple[Float[Tensor, "sequences length length"], Float[Tensor, "sequences length head"]]:
    """Attention, and attended values that are not yet scaled up for dropout."""
    queries, keys, values = heads
    sequences, length, _ = queries.shape
    attention = queries.new_empty(sequences, length, length)
    attended = torch.empty_like(values)
    for some in _some_of(attention):
        scores = torch.bmm(queries[some], keys[some].transpose(1, 2), out=attention[some])
        dropped = attend(scores, factor, score_bias, dropping, some.start)
        torch.bmm(dropped, values[some], out=attended[some])
    return attention, attended


def _some_of(attention: Float[Tensor, "sequences length length"]) -> Iterator[slice]:
    """Sequences whose attention stays in the processor's cache from one step to the next."""
    sequences, length, _ = attention.shape
    number = max(1, _CACHED_BYTES // (length * length * attention.itemsize))
    return (slice(start, start + number) for start in range(0, sequences, number))


# Six: the gradient, what was kept and where that by the rows is added.
def _feed_forward_backward(
    sizes: _Sizes,
    by_output: Float[Tensor, "rows hidden"],
    weights: _Weights,
    saved: _Kept,
    draws: _Draws,
    by_rows: Float[Tensor, "rows hidden"],
) -> tuple[Float[Tensor, "heads rows head"], list[Tensor]]:
    """Gradient by attended values, then by the parameters from the attention's norm on."""
    attention_norm, output_norm = weights.norms
    last = add_norm_backward(
        by_output,
        saved.output_normal,
        saved.output_inverse,
        output_norm,
        draws.changed.scale,
        draws.changed,
    )
    (by_changed,) = last.by_added
    by_hidden = by_changed @ sizes.rounded(weights.contract)
    by_contract = _by_weight(by_changed, saved.hidden, by_output)
    by_expand_bias = relu_backward(by_hidden, saved.hidden)
    first = add_norm_backward(
        last.by_rows,
        saved.normal,
        saved.inverse,
        attention_norm,
        draws.attended.scale**2,
        draws.attended,
        num_heads=sizes.num_heads,
        more=by_hidden @ sizes.rounded(weights.expand),
        by_rows=by_rows,
    )
    # What entered the layer was w n + b of the norm's rows n.
    norm_weight, norm_bias = attention_norm
    by_expand = _by_weight(by_hidden, saved.normal, by_output)
    by_expand = torch.addcmul(by_expand_bias[:, None] * norm_bias, by_expand, norm_weight)
    feed_forward = (by_expand, by_expand_bias, by_contract, last.by_bias)
    return first.by_added, [*first.by_layer, *feed_forward, *last.by_layer]


def _by_weight(by_rows: Tensor, rows: Tensor, like: Tensor) -> Tensor:
    """Gradient by a layer's weight, in the type of the weights."""
    return (by_rows.T @ rows).to(like.dtype)


def _projections_backward(
    sizes: _Sizes,
    entered: Float[Tensor, "rows hidden"],
    by_heads: Float[Tensor, "three sequences length head"],
    weights: _Weights,
    by_rows: Float[Tensor, "rows hidden"],
) -> list[Tensor]:
    """Gradients by the projections' parameters; that by the rows is added to `by_rows`."""
    by_parts, by_bias = join_heads(
        by_heads.view(3 * sizes.num_heads, len(entered), sizes.head_size)
    )
    by_rows += by_parts @ sizes.rounded(weights.projection)
    by_weights = _by_weight(by_parts, entered, by_rows).split(sizes.hidden)
    by_biases = by_bias.split(sizes.hidden)
    return [found for pair in zip(by_weights, by_biases, strict=True) for found in pair]


def _attend_backward(
    by_attended: Float[Tensor, "heads rows head"],
    saved: _Kept,
    factor: Float[Tensor, "#length length"],
    draws: _Draws,
) -> Float[Tensor, "three sequences length head"]:
    """Gradients by projected queries, keys and values."""
    queries, keys, values = saved.heads
    by_own = by_attended.view_as(values)
    by_queries, by_keys, by_values = found = torch.empty_like(saved.heads)
    for some in _some_of(saved.weights):
        by_scores = by_own[some] @ values[some].transpose(1, 2)
        weights = saved.weights[some]
        dropped = attend_backward(by_scores, weights, factor, draws.weights, some.start)
        torch.bmm(by_scores, keys[some], out=by_queries[some])
        torch.bmm(by_scores.transpose(1, 2), queries[some], out=by_keys[some])
        torch.bmm(dropped.transpose(1, 2), by_own[some], out=by_values[some])
    return found
