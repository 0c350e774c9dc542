"""Attention blocks: multi-head attention without output projection, post-norm, feed-forward.

Source: MSC, encoders. Blocks that read the same rows are projected by one matrix product, and
their attention is one operation with a gradient of its own: scores, softmax and dropout work in
place, and of each only what the gradient needs is kept.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from prvr_model.dropout import dropout, keep_mask, kept_share

# Added to the score of a padding key, as released: finite, so that an all-padding row stays finite.
PADDING_SCORE = -10_000.0
NORM_EPSILON = 1e-5
# The Gaussian's deviation is max(width, 0.01) / 9.
_SMALLEST_WIDTH = 0.01
_WIDTH_DIVISOR = 9


def gaussian_prior(length: int, width: float) -> Float[Tensor, "length length"]:
    """Factor on attention scores: a Gaussian around each position, rows scaled to maximum 1.

    Positions are `j / (length - 1)`, centres `i / length`: two different grids, as released.
    A length of 1 gives the factor 1.
    """
    deviation = max(width, _SMALLEST_WIDTH) / _WIDTH_DIVISOR
    index = torch.arange(length, dtype=torch.float64)
    offsets = index / max(length - 1, 1) - (index / length)[:, None]
    exponent = -(offsets**2) / (2 * deviation**2)
    return torch.exp(exponent - exponent.amax(dim=1, keepdim=True)).float()


def padding_bias(valid: Bool[Tensor, "batch keys"]) -> Float[Tensor, "batch 1 keys"]:
    """Score bias that keeps attention off padding."""
    bias = torch.zeros(valid.shape, device=valid.device)
    return bias.masked_fill(~valid, PADDING_SCORE)[:, None]


class MultiHeadAttention(nn.Module):
    """Projections of one attention layer; its heads are concatenated, not projected."""

    def __init__(self, hidden_size: int, num_heads: int, dropout_rate: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)

    def summarise(
        self,
        token: Float[Tensor, "hidden"],
        source: Float[Tensor, "batch keys hidden"],
    ) -> Float[Tensor, "batch hidden"]:
        """Attend from one token, the same for the whole batch, to every source.

        Keys and values of single positions are never made: with one query `q W_k` weighs the
        rows themselves, and `W_v` applies to their weighted sum.
        """
        heads = (self.num_heads, -1)
        query = self.query(token).unflatten(0, heads)
        key_weight, value_weight = (
            one.weight.unflatten(0, heads) for one in (self.key, self.value)
        )
        directions = torch.einsum("hk,hkd->hd", query, key_weight)
        offsets = (query * self.key.bias.unflatten(0, heads)).sum(dim=1)
        scores = (source @ directions.T + offsets) / math.sqrt(query.shape[1])
        weights = dropout(scores.softmax(dim=1), self.dropout_rate, self.training)
        sums = weights.transpose(1, 2) @ source
        values = torch.einsum("bhd,hkd->bhk", sums, value_weight)
        # Dropped weights do not sum to one, so the bias is weighed too.
        shares = weights.sum(dim=1).unsqueeze(-1)
        attended: Tensor = values + shares * self.value.bias.unflatten(0, heads)
        return attended.flatten(1)


def self_attention(
    rows: Float[Tensor, "batch length hidden"],
    layers: Sequence[MultiHeadAttention],
    factors: Float[Tensor, "layers length length"] | None = None,
    score_bias: Float[Tensor, "#batch 1 length"] | None = None,
) -> tuple[Float[Tensor, "batch length hidden"], ...]:
    """What each layer attends to in the same rows.

    Args:
        rows: Positions that ask and answer.
        layers: Layers of equal sizes and dropout.
        factors: Multiplied with a layer's scores before the bias.
        score_bias: Added to the scores: padding, and the log size of merged tokens.
    """
    projections = [one for layer in layers for one in (layer.query, layer.key, layer.value)]
    projected = F.linear(
        rows,
        torch.cat([one.weight for one in projections]),
        torch.cat([one.bias for one in projections]),
    )
    first = layers[0]
    rate = first.dropout_rate if first.training else 0.0
    outputs: tuple[Tensor, ...] = _SelfAttention.apply(  # type: ignore[no-untyped-call]
        projected, len(layers), first.num_heads, factors, score_bias, rate
    )
    return outputs


class _SelfAttention(torch.autograd.Function):
    """Attention of several layers from their projections, `(batch, length, layer q/k/v hidden)`."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives the context no type)
        projected: Float[Tensor, "batch length layers_qkv_hidden"],
        num_layers: int,
        num_heads: int,
        factors: Float[Tensor, "layers length length"] | None,
        score_bias: Float[Tensor, "#batch 1 length"] | None,
        rate: float,
    ) -> tuple[Float[Tensor, "batch length hidden"], ...]:
        parts = _parts(projected, num_layers, num_heads)
        ctx.sizes = (num_layers, num_heads, rate)
        outputs, kept = [], []
        for layer in range(num_layers):
            query, key, value = (_by_head(parts[:, :, layer, one]) for one in range(3))
            scores = query @ key.transpose(1, 2)
            _scale_scores(scores, num_heads, query.shape[2], factors, layer)
            if score_bias is not None:
                scores.unflatten(0, (-1, num_heads)).add_(score_bias[:, None])
            weights = scores.softmax(dim=2)
            mask = keep_mask(tuple(weights.shape), rate, weights.device) if rate else None
            attended = (weights if mask is None else weights * mask) @ value
            outputs.append(_joined(attended.div_(kept_share(rate)), num_heads))
            kept += [weights] if mask is None else [weights, mask]
        ctx.save_for_backward(projected, factors, *kept)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        projected, factors, *kept = ctx.saved_tensors
        num_layers, num_heads, rate = ctx.sizes
        parts = _parts(projected, num_layers, num_heads)
        result = torch.empty_like(projected)
        result_parts = _parts(result, num_layers, num_heads)
        per_layer = len(kept) // num_layers
        for layer, gradient in enumerate(gradients):
            query, key, value = (_by_head(parts[:, :, layer, one]) for one in range(3))
            weights, *masks = kept[layer * per_layer : (layer + 1) * per_layer]
            attended = _by_head(gradient.unflatten(2, (num_heads, -1))) / kept_share(rate)
            by_weight = attended @ value.transpose(1, 2)
            dropped = weights
            for mask in masks:
                by_weight.mul_(mask)
                dropped = weights * mask
            by_value = dropped.transpose(1, 2) @ attended
            by_score = torch._softmax_backward_data(by_weight, weights, 2, weights.dtype)
            _scale_scores(by_score, num_heads, query.shape[2], factors, layer)
            found = (by_score @ key, by_score.transpose(1, 2) @ query, by_value)
            for one, rows in enumerate(found):
                heads = rows.unflatten(0, (-1, num_heads)).transpose(1, 2)
                result_parts[:, :, layer, one].copy_(heads)
        return result, None, None, None, None, None


def _parts(
    projected: Float[Tensor, "batch length all"], num_layers: int, num_heads: int
) -> Float[Tensor, "batch length layers 3 heads head"]:
    parts: Tensor = projected.unflatten(2, (num_layers, 3, num_heads, -1))
    return parts


def _by_head(
    rows: Float[Tensor, "batch length heads head"],
) -> Float[Tensor, "batch_heads length head"]:
    return rows.transpose(1, 2).flatten(0, 1)


def _joined(
    rows: Float[Tensor, "batch_heads length head"], num_heads: int
) -> Float[Tensor, "batch length hidden"]:
    heads: Tensor = rows.unflatten(0, (-1, num_heads))
    return heads.transpose(1, 2).flatten(2)


def _scale_scores(
    scores: Float[Tensor, "batch_heads length length"],
    num_heads: int,
    head_size: int,
    factors: Float[Tensor, "layers length length"] | None,
    layer: int,
) -> None:
    """Scores, or their gradient, times the layer's factor over the root of the head's size."""
    scale = 1 / math.sqrt(head_size)
    scores.mul_(scale if factors is None else factors[layer] * scale)


class AttentionBlock(nn.Module):
    """Attention and feed-forward, each with dropout, residual and norm after it."""

    def __init__(
        self, hidden_size: int, num_heads: int, feed_forward_size: int, dropout_rate: float
    ) -> None:
        super().__init__()
        self.dropout_rate = dropout_rate
        self.attention = MultiHeadAttention(hidden_size, num_heads, dropout_rate)
        self.attention_norm = nn.LayerNorm(hidden_size, eps=NORM_EPSILON)
        self.expand = nn.Linear(hidden_size, feed_forward_size)
        self.contract = nn.Linear(feed_forward_size, hidden_size)
        self.output_norm = nn.LayerNorm(hidden_size, eps=NORM_EPSILON)

    def forward(
        self,
        rows: Float[Tensor, "rows hidden"],
        attended: Float[Tensor, "rows hidden"],
    ) -> Float[Tensor, "rows hidden"]:
        """The block's output for the rows that asked and what they attended to.

        A matrix, not a batch of them: a linear layer gives a batch as a view, and changing a
        view in place costs its gradient several copies.
        """
        rows = self.attention_norm(rows + self._drop(attended))
        changed = self.contract(self.expand(rows).relu_())
        output: Tensor = self.output_norm(rows + self._drop(changed))
        return output

    def _drop(self, rows: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows hidden"]:
        return dropout(rows, self.dropout_rate, self.training)
