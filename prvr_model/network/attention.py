"""Attention blocks: multi-head attention without output projection, post-norm, feed-forward.

Source: MSC, encoders. This is the plain form, one step after the other; `fused_blocks` computes the
same for several blocks at once, faster and in less memory.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from prvr_model.network.dropout import dropout

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

    def forward(
        self,
        rows: Float[Tensor, "batch length hidden"],
        factor: Float[Tensor, "length length"] | None = None,
        score_bias: Float[Tensor, "#batch 1 length"] | None = None,
    ) -> Float[Tensor, "batch length hidden"]:
        """Attended values of every position, from the rows of its own sequence.

        Args:
            rows: Positions; each gives a query, a key and a value.
            factor: Multiplied with the scores before the bias.
            score_bias: Added to the scores: padding, and the log size of merged tokens.
        """
        query, key, value = (
            layer(rows).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        if factor is not None:
            scores = scores * factor
        if score_bias is not None:
            scores = scores + score_bias[:, None]
        weights = dropout(scores.softmax(dim=3), self.dropout_rate, self.training)
        attended: Tensor = (weights @ value).transpose(1, 2).flatten(2)
        return attended


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
        rows: Float[Tensor, "batch length hidden"],
        factor: Float[Tensor, "length length"] | None = None,
        score_bias: Float[Tensor, "#batch 1 length"] | None = None,
    ) -> Float[Tensor, "batch length hidden"]:
        """The block's output for rows that attend to each other; see `MultiHeadAttention`."""
        return self.after_attention(rows, self.attention(rows, factor, score_bias))

    def after_attention(
        self, rows: Float[Tensor, "*batch hidden"], attended: Float[Tensor, "*batch hidden"]
    ) -> Float[Tensor, "*batch hidden"]:
        """The block's output from its input rows and their attended values."""
        rows = self.attention_norm(rows + self._drop(attended))
        changed = self.contract(self.expand(rows).relu())
        output: Tensor = self.output_norm(rows + self._drop(changed))
        return output

    def _drop(self, rows: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch hidden"]:
        return dropout(rows, self.dropout_rate, self.training)
