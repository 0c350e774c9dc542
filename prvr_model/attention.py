"""Attention blocks: multi-head attention without output projection, post-norm, feed-forward.

Source: METHOD, encoders.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

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


class MultiHeadAttention(nn.Module):
    """Projections and heads of one attention layer; the heads are concatenated, not projected."""

    def __init__(self, hidden_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)

    def forward(
        self,
        target: Float[Tensor, "batch queries hidden"],
        source: Float[Tensor, "batch keys hidden"],
        score_bias: Float[Tensor, "#batch #queries keys"] | None = None,
        score_factor: Float[Tensor, "queries keys"] | None = None,
    ) -> Float[Tensor, "batch queries hidden"]:
        """Attend from every target position to the source.

        Args:
            target: Positions that ask.
            source: Positions that answer.
            score_bias: Added to the scores: padding, and the log size of merged tokens.
            score_factor: Multiplied with the scores before the bias.
        """
        query, key, value = (
            self._heads(project(rows))
            for project, rows in (
                (self.query, target),
                (self.key, source),
                (self.value, source),
            )
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if score_factor is not None:
            scores = scores * score_factor
        if score_bias is not None:
            scores = scores + score_bias[:, None]
        weights = F.dropout(scores.softmax(dim=-1), self.dropout, self.training)
        return (weights @ value).transpose(1, 2).flatten(2)

    def _heads(
        self, rows: Float[Tensor, "batch length hidden"]
    ) -> Float[Tensor, "batch heads length head"]:
        heads: Tensor = rows.unflatten(-1, (self.num_heads, -1))
        return heads.transpose(1, 2)


class AttentionBlock(nn.Module):
    """Attention and feed-forward, each with dropout, residual and norm after it."""

    def __init__(
        self, hidden_size: int, num_heads: int, feed_forward_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(hidden_size, num_heads, dropout)
        self.attention_norm = nn.LayerNorm(hidden_size, eps=NORM_EPSILON)
        self.expand = nn.Linear(hidden_size, feed_forward_size)
        self.contract = nn.Linear(feed_forward_size, hidden_size)
        self.output_norm = nn.LayerNorm(hidden_size, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        target: Float[Tensor, "batch queries hidden"],
        source: Float[Tensor, "batch keys hidden"],
        score_bias: Float[Tensor, "#batch #queries keys"] | None = None,
        score_factor: Float[Tensor, "queries keys"] | None = None,
    ) -> Float[Tensor, "batch queries hidden"]:
        """The block's output; self-attention where target and source are the same tensor."""
        attended = self.attention(target, source, score_bias, score_factor)
        rows: Tensor = self.attention_norm(target + self.dropout(attended))
        changed = self.contract(F.relu(self.expand(rows)))
        output: Tensor = self.output_norm(rows + self.dropout(changed))
        return output


def padding_bias(valid: Bool[Tensor, "batch keys"]) -> Float[Tensor, "batch 1 keys"]:
    """Score bias that keeps attention off padding."""
    bias = torch.zeros(valid.shape, device=valid.device)
    return bias.masked_fill(~valid, PADDING_SCORE)[:, None]
