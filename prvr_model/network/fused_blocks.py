"""Parallel attention blocks as one operation with a gradient of its own.

It computes what `AttentionBlock` computes step by step, in a form that is fast on a processor:
every product writes where its result is needed, elementwise work happens in place, heads are slices
and never copied, and each block keeps only what its gradient needs. Tests compare it with the plain
form.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from prvr_model.network.attention import NORM_EPSILON, AttentionBlock
from prvr_model.network.dropout import keep_mask, kept_share

_aten = torch.ops.aten


def can_fuse(rows: Tensor) -> bool:
    """Whether to use operations with a gradient of their own instead of the plain form.

    A compiler fuses better by itself, and autocast must choose the precision of every product.
    """
    kind = rows.device.type
    is_cast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return not (is_cast or torch.compiler.is_compiling())


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
        rows, factors, score_bias, first.attention.num_heads, rate, *parameters
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


class _Kept(NamedTuple):
    """What the gradient of a block reads; masks are empty if nothing is dropped.

    Args:
        query: Projected queries; `key` and `value` likewise.
        weights: Attention before dropout.
        summed: Rows and attended values, before the norm, with its means and inverse deviations.
        hidden: The feed-forward layer's activations.
        output_summed: Rows and changes, before the output norm, likewise.
    """

    query: Float[Tensor, "rows hidden"]
    key: Float[Tensor, "rows hidden"]
    value: Float[Tensor, "rows hidden"]
    weights: Float[Tensor, "heads batch length length"]
    weights_mask: Bool[Tensor, "..."]
    attended_mask: Bool[Tensor, "..."]
    summed: Float[Tensor, "rows hidden"]
    summed_mean: Float[Tensor, "rows 1"]
    summed_scale: Float[Tensor, "rows 1"]
    hidden: Float[Tensor, "rows wide"]
    changed_mask: Bool[Tensor, "..."]
    output_summed: Float[Tensor, "rows hidden"]
    output_mean: Float[Tensor, "rows 1"]
    output_scale: Float[Tensor, "rows 1"]


@dataclass(frozen=True)
class _Sizes:
    """Shapes that all blocks share, and the dropout rate."""

    batch: int
    length: int
    hidden: int
    num_heads: int
    rate: float

    def by_head(self, rows: Float[Tensor, "rows hidden"]) -> Float[Tensor, "heads batch length _"]:
        """A view of rows, head by head."""
        shape = (self.batch, self.length, self.num_heads, self.hidden // self.num_heads)
        return rows.view(shape).permute(2, 0, 1, 3)

    def new(self, like: Tensor, inner: int) -> Float[Tensor, "heads batch length inner"]:
        """An uninitialised tensor for a result of every head."""
        return like.new_empty((self.num_heads, self.batch, self.length, inner))

    def mask(self, like: Tensor) -> Bool[Tensor, "..."]:
        """What dropout keeps of a tensor; empty if nothing is dropped."""
        if not self.rate:
            return like.new_empty(0, dtype=torch.bool)
        return keep_mask(tuple(like.shape), self.rate, like.device)

    def drop_(self, values: Tensor, mask: Bool[Tensor, "..."]) -> Tensor:
        """Zero in place the values that the mask does not keep, without scaling up the rest."""
        return values.mul_(mask) if self.rate else values


class _FusedBlocks(torch.autograd.Function):
    """Outputs of all blocks; parameters come as one flat list, block after block."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives the context no type)
        rows: Float[Tensor, "batch length hidden"],
        factors: Float[Tensor, "blocks length length"] | None,
        score_bias: Float[Tensor, "#batch 1 length"] | None,
        num_heads: int,
        rate: float,
        *parameters: Tensor,
    ) -> tuple[Float[Tensor, "batch length hidden"], ...]:
        batch, length, hidden = rows.shape
        sizes = _Sizes(batch, length, hidden, num_heads, rate)
        flat = rows.flatten(0, 1)
        outputs: list[Tensor] = []
        kept: list[Tensor] = []
        for number, weights in enumerate(_blocks(parameters)):
            factor = _factor(sizes, factors, number)
            output, saved = _forward(sizes, flat, weights, factor, score_bias)
            outputs.append(output.view_as(rows))
            kept += saved
        ctx.sizes = sizes
        ctx.save_for_backward(flat, factors, *parameters, *kept)
        ctx.num_parameters = len(parameters)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        flat, factors, *rest = ctx.saved_tensors
        parameters, kept = rest[: ctx.num_parameters], rest[ctx.num_parameters :]
        by_rows = torch.zeros_like(flat)
        by_parameters: list[Tensor] = []
        for number, weights in enumerate(_blocks(parameters)):
            size = len(_Kept._fields)
            saved = _Kept(*kept[number * size : (number + 1) * size])
            by_output = gradients[number].flatten(0, 1)
            by_summed, *by_later = _feed_forward_backward(ctx.sizes, by_output, weights, saved)
            by_rows += by_summed
            factor = _factor(ctx.sizes, factors, number)
            by_parts = _attend_backward(ctx.sizes, by_summed, saved, factor)
            by_parameters += _projections_backward(flat, by_parts, weights, by_rows)
            by_parameters += by_later
        by_input = by_rows.view(ctx.sizes.batch, ctx.sizes.length, ctx.sizes.hidden)
        return by_input, None, None, None, None, *by_parameters


def _blocks(parameters: Sequence[Tensor]) -> list[_Weights]:
    size = len(_Weights._fields)
    starts = range(0, len(parameters), size)
    return [_Weights(*parameters[start : start + size]) for start in starts]


def _factor(
    sizes: _Sizes, factors: Float[Tensor, "blocks length length"] | None, number: int
) -> Float[Tensor, "length length"] | float:
    """What a block's scores are multiplied with, the root of the head's size included."""
    scale = 1 / math.sqrt(sizes.hidden // sizes.num_heads)
    return scale if factors is None else factors[number] * scale


def _forward(
    sizes: _Sizes,
    rows: Float[Tensor, "rows hidden"],
    weights: _Weights,
    factor: Tensor | float,
    score_bias: Tensor | None,
) -> tuple[Float[Tensor, "rows hidden"], _Kept]:
    """One block's output and what its gradient needs."""
    query = torch.addmm(weights.query_bias, rows, weights.query.T)
    key = torch.addmm(weights.key_bias, rows, weights.key.T)
    value = torch.addmm(weights.value_bias, rows, weights.value.T)
    attention, weights_mask, attended = _attend(sizes, query, key, value, factor, score_bias)
    attended_mask = sizes.mask(attended)
    kept = kept_share(sizes.rate)
    summed = torch.add(rows, sizes.drop_(attended, attended_mask), alpha=1 / kept**2)
    normal, mean, scale = _normalise(summed, weights.attention_norm, weights.attention_norm_bias)
    hidden = torch.addmm(weights.expand_bias, normal, weights.expand.T).relu_()
    changed = torch.addmm(weights.contract_bias, hidden, weights.contract.T)
    changed_mask = sizes.mask(changed)
    output_summed = torch.add(normal, sizes.drop_(changed, changed_mask), alpha=1 / kept)
    output, *statistics = _normalise(output_summed, weights.output_norm, weights.output_norm_bias)
    first = (query, key, value, attention, weights_mask, attended_mask, summed, mean, scale)
    return output, _Kept(*first, hidden, changed_mask, output_summed, *statistics)


def _attend(
    sizes: _Sizes,
    query: Float[Tensor, "rows hidden"],
    key: Float[Tensor, "rows hidden"],
    value: Float[Tensor, "rows hidden"],
    factor: Tensor | float,
    score_bias: Tensor | None,
) -> tuple[Tensor, Bool[Tensor, "..."], Float[Tensor, "rows hidden"]]:
    """Attention, its mask, and attended values that are not yet scaled up for dropout."""
    queries, keys, values = (sizes.by_head(tensor) for tensor in (query, key, value))
    scores = sizes.new(query, sizes.length)
    for head in range(sizes.num_heads):
        torch.bmm(queries[head], keys[head].transpose(1, 2), out=scores[head])
    scores.mul_(factor)
    if score_bias is not None:
        scores.add_(score_bias)
    attention = scores.softmax(dim=3)
    mask = sizes.mask(attention)
    dropped = torch.mul(attention, mask, out=scores) if sizes.rate else attention
    attended = sizes.new(query, values.shape[3])
    for head in range(sizes.num_heads):
        torch.bmm(dropped[head], values[head], out=attended[head])
    return attention, mask, _joined(attended)


def _joined(values: Float[Tensor, "heads batch length head"]) -> Float[Tensor, "rows hidden"]:
    rows: Tensor = values.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)
    return rows


def _normalise(
    rows: Float[Tensor, "rows hidden"], weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised rows, their means and their inverse deviations."""
    found: tuple[Tensor, Tensor, Tensor] = torch.native_layer_norm(
        rows, (rows.shape[1],), weight, bias, NORM_EPSILON
    )
    return found


def _normalise_backward(
    gradient: Tensor, rows: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by rows, weight and bias of `_normalise`."""
    found: tuple[Tensor, Tensor, Tensor] = _aten.native_layer_norm_backward(
        gradient, rows, (rows.shape[1],), mean, scale, weight, bias, [True, True, True]
    )
    return found


def _feed_forward_backward(
    sizes: _Sizes, by_output: Float[Tensor, "rows hidden"], weights: _Weights, saved: _Kept
) -> list[Tensor]:
    """Gradient by `summed`, then by the parameters from the attention's norm on."""
    by_summed, *by_output_norm = _normalise_backward(
        by_output,
        saved.output_summed,
        saved.output_mean,
        saved.output_scale,
        weights.output_norm,
        weights.output_norm_bias,
    )
    by_changed = _dropped(sizes, by_summed, saved.changed_mask, 1 / kept_share(sizes.rate))
    by_hidden = by_changed @ weights.contract
    _aten.threshold_backward(by_hidden, saved.hidden, 0, grad_input=by_hidden)
    by_contract = (by_changed.T @ saved.hidden, by_changed.sum(dim=0))
    # In place, so after the last use of `by_changed`: without dropout it is the same tensor.
    by_normal = by_summed.addmm_(by_hidden, weights.expand)
    # Computed again, which costs less than keeping it.
    normal, *_ = _normalise(saved.summed, weights.attention_norm, weights.attention_norm_bias)
    by_expand = (by_hidden.T @ normal, by_hidden.sum(dim=0))
    by_summed, *by_attention_norm = _normalise_backward(
        by_normal,
        saved.summed,
        saved.summed_mean,
        saved.summed_scale,
        weights.attention_norm,
        weights.attention_norm_bias,
    )
    return [by_summed, *by_attention_norm, *by_expand, *by_contract, *by_output_norm]


def _projections_backward(
    rows: Float[Tensor, "rows hidden"],
    by_parts: Sequence[Float[Tensor, "rows hidden"]],
    weights: _Weights,
    by_rows: Float[Tensor, "rows hidden"],
) -> list[Tensor]:
    """Gradients by the projections' parameters; that by the rows is added to `by_rows`."""
    found = []
    for by_part, weight in zip(by_parts, (weights.query, weights.key, weights.value), strict=True):
        by_rows.addmm_(by_part, weight)
        found += [by_part.T @ rows, by_part.sum(dim=0)]
    return found


def _dropped(
    sizes: _Sizes, gradient: Tensor, mask: Bool[Tensor, "..."], scale: float
) -> Float[Tensor, "rows hidden"]:
    """A gradient through dropout."""
    return torch.mul(gradient, mask).mul_(scale) if sizes.rate else gradient


def _attend_backward(
    sizes: _Sizes, by_summed: Float[Tensor, "rows hidden"], saved: _Kept, factor: Tensor | float
) -> list[Float[Tensor, "rows hidden"]]:
    """Gradients by projected queries, keys and values."""
    # Two dropouts, of the weights and of the attended values.
    scale = 1 / kept_share(sizes.rate) ** 2
    by_attended = _dropped(sizes, by_summed, saved.attended_mask, scale)
    queries, keys, values, by_values = (
        sizes.by_head(tensor) for tensor in (saved.query, saved.key, saved.value, by_attended)
    )
    attention, num_heads = saved.weights, sizes.num_heads
    by_weights = torch.empty_like(attention)
    for head in range(num_heads):
        torch.bmm(by_values[head], values[head].transpose(1, 2), out=by_weights[head])
    sizes.drop_(by_weights, saved.weights_mask)
    dropped = torch.mul(attention, saved.weights_mask) if sizes.rate else attention
    by_scores = torch._softmax_backward_data(by_weights, attention, 3, attention.dtype)
    by_scores.mul_(factor)
    results = [sizes.new(by_attended, values.shape[3]) for _ in range(3)]
    for head in range(num_heads):
        torch.bmm(by_scores[head], keys[head], out=results[0][head])
        torch.bmm(by_scores[head].transpose(1, 2), queries[head], out=results[1][head])
        torch.bmm(dropped[head].transpose(1, 2), by_values[head], out=results[2][head])
    return [_joined(result) for result in results]
