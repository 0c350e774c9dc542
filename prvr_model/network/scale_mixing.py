"""Mixing over scales: a convex mixture of the blocks' outputs with learned weights.

Source: MSC, encoders. A learned token attends to each block's output, and these summaries give one
weight per position and block. The outputs are large and everything else is small, so the two
operations that read them have gradients of their own, which pass over every output once.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prvr_model.network.attention import AttentionBlock
from prvr_model.network.dropout import dropout, keep_mask, kept_share
from prvr_model.network.fused_blocks import can_fuse, in_own_type


class ScaleMixing(nn.Module):
    """The mixture and the network that gives its weights.

    Args:
        hidden_size: Size of the blocks' outputs.
        num_heads: Heads of the attention that summarises.
        length: Number of positions.
        temperature: Divides the weights' logits.
        dropout_rate: Dropout rate of the summaries.
    """

    def __init__(
        self, hidden_size: int, num_heads: int, length: int, temperature: float, dropout_rate: float
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.dropout_rate = dropout_rate
        self.summary = AttentionBlock(hidden_size, num_heads, hidden_size, dropout_rate)
        self.hidden = nn.Linear(hidden_size, hidden_size)
        self.weights = nn.Linear(hidden_size, length)

    def forward(
        self,
        outputs: Sequence[Float[Tensor, "batch length hidden"]],
        token: Float[Tensor, "1 1 hidden"],
    ) -> Float[Tensor, "batch length hidden"]:
        """Mix the outputs of all scales."""
        attended = self._summarise(outputs, token[0, 0]).flatten(0, 1)
        summaries = self.summary.after_attention(token[0].expand_as(attended), attended)
        hidden = dropout(self.hidden(summaries).relu(), self.dropout_rate, self.training)
        logits = self.weights(hidden).unflatten(0, (len(outputs), -1))
        weights = (logits / self.temperature).softmax(dim=0)
        if can_fuse(outputs[0]):
            mixed: Tensor = _Mixture.apply(weights, *outputs)  # type: ignore[no-untyped-call]
        else:
            mixed = (weights[..., None] * torch.stack(tuple(outputs))).sum(dim=0)
        return mixed

    def _summarise(
        self,
        outputs: Sequence[Float[Tensor, "batch length hidden"]],
        token: Float[Tensor, "hidden"],
    ) -> Float[Tensor, "scales batch hidden"]:
        """The token's attended values in every output.

        Keys and values of single positions are never computed: with one query, `q W_k` weighs the
        rows themselves, and `W_v` applies to their weighted sum.
        """
        layer = self.summary.attention
        heads = (layer.num_heads, -1)
        query = layer.query(token).unflatten(0, heads)
        key_weight, value_weight = (
            projection.weight.unflatten(0, heads) for projection in (layer.key, layer.value)
        )
        root = math.sqrt(query.shape[1])
        directions = torch.einsum("hk,hkd->hd", query, key_weight) / root
        offsets = (query * layer.key.bias.unflatten(0, heads)).sum(dim=1) / root
        rate = layer.dropout_rate if self.training else 0.0
        sums, shares = _weighted_sums(outputs, directions, offsets, rate)
        values = torch.einsum("sbhd,hkd->sbhk", sums, value_weight)
        # Dropped weights do not sum to one, so the bias is weighed too.
        attended: Tensor = values + shares.unsqueeze(-1) * layer.value.bias.unflatten(0, heads)
        return attended.flatten(2)


def _weighted_sums(
    outputs: Sequence[Float[Tensor, "batch length hidden"]],
    directions: Float[Tensor, "heads hidden"],
    offsets: Float[Tensor, "heads"],
    rate: float,
) -> tuple[Float[Tensor, "scales batch heads hidden"], Float[Tensor, "scales batch heads"]]:
    """Sums of rows weighted by the softmax of their scores, and the sums of the weights."""
    if can_fuse(outputs[0]):
        found: tuple[Tensor, Tensor] = _WeightedSums.apply(  # type: ignore[no-untyped-call]
            directions, offsets, rate, *outputs
        )
        return found
    rows = torch.stack(tuple(outputs))
    weights = dropout((rows @ directions.T + offsets).softmax(dim=2), rate, training=True)
    return weights.transpose(2, 3) @ rows, weights.sum(dim=2)


class _WeightedSums(torch.autograd.Function):
    """`_weighted_sums`, output by output."""

    @staticmethod
    @in_own_type
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives the context no type)
        directions: Float[Tensor, "heads hidden"],
        offsets: Float[Tensor, "heads"],
        rate: float,
        *outputs: Float[Tensor, "batch length hidden"],
    ) -> tuple[Float[Tensor, "scales batch heads hidden"], Float[Tensor, "scales batch heads"]]:
        sums, shares, kept = [], [], []
        for rows in outputs:
            scores = torch.addmm(offsets, rows.flatten(0, 1), directions.T)
            weights = scores.unflatten(0, rows.shape[:2]).softmax(dim=1)
            mask, dropped = rows.new_empty(0, dtype=torch.bool), weights
            if rate:
                mask = keep_mask(tuple(weights.shape), rate)
                dropped = weights.mul(mask).div_(kept_share(rate))
            sums.append(dropped.transpose(1, 2) @ rows)
            shares.append(dropped.sum(dim=1))
            kept += [weights, dropped, mask]
        ctx.rate = rate
        ctx.save_for_backward(directions, *outputs, *kept)
        return torch.stack(sums), torch.stack(shares)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        directions, *saved = ctx.saved_tensors
        num_outputs = len(gradients[0])
        outputs, kept = saved[:num_outputs], saved[num_outputs:]
        by_directions = torch.zeros_like(directions)
        by_offsets = directions.new_zeros(len(directions))
        by_outputs = []
        for number, (rows, by_sums, by_shares) in enumerate(zip(outputs, *gradients, strict=True)):
            weights, dropped, mask = kept[3 * number : 3 * number + 3]
            by_weights = rows @ by_sums.transpose(1, 2) + by_shares[:, None]
            if ctx.rate:
                by_weights.mul_(mask).div_(kept_share(ctx.rate))
            by_scores = torch._softmax_backward_data(by_weights, weights, 1, weights.dtype)
            by_directions.addmm_(by_scores.flatten(0, 1).T, rows.flatten(0, 1))
            by_offsets += by_scores.sum(dim=(0, 1))
            # Rows enter the sums and the scores: one product for both.
            factors = torch.cat([by_sums, directions.expand_as(by_sums)], dim=1)
            by_outputs.append(torch.cat([dropped, by_scores], dim=2) @ factors)
        return by_directions, by_offsets, None, *by_outputs


class _Mixture(torch.autograd.Function):
    """Sum of all outputs, each position weighted."""

    @staticmethod
    @in_own_type
    def forward(
        ctx: Any,  # noqa: ANN401  (torch gives the context no type)
        weights: Float[Tensor, "scales batch length"],
        *outputs: Float[Tensor, "batch length hidden"],
    ) -> Float[Tensor, "batch length hidden"]:
        mixed = outputs[0] * weights[0, ..., None]
        for rows, weight in zip(outputs[1:], weights[1:], strict=True):
            mixed.addcmul_(rows, weight[..., None])
        ctx.save_for_backward(weights, *outputs)
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        weights, *outputs = ctx.saved_tensors
        by_weights = torch.stack([(gradients[0] * rows).sum(dim=2) for rows in outputs])
        return by_weights, *(gradients[0] * weight[..., None] for weight in weights)
