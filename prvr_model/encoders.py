"""Encoders of videos and captions.

Source: MSC, encoders. Parameters are named for what they are; `released_checkpoint` knows the
names of the published implementation.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from prvr_model.attention import (
    NORM_EPSILON,
    AttentionBlock,
    gaussian_prior,
    padding_bias,
    self_attention,
)
from prvr_model.dropout import dropout

# Score of padding in the pooling over a caption's tokens, as released.
POOLING_PADDING_SCORE = -1e10
# The feed-forward layer of a self-attention block is this many times as wide as its input.
_EXPANSION = 4


class InputProjection(nn.Module):
    """Raw features to hidden size, with learned positions.

    LayerNorm, dropout, linear, ReLU; plus positions, LayerNorm, dropout.
    """

    def __init__(
        self,
        feature_dim: int,
        hidden_size: int,
        num_positions: int,
        input_dropout: float,
        dropout_rate: float,
    ) -> None:
        super().__init__()
        self.input_dropout = input_dropout
        self.dropout_rate = dropout_rate
        self.feature_norm = nn.LayerNorm(feature_dim, eps=NORM_EPSILON)
        self.linear = nn.Linear(feature_dim, hidden_size)
        self.positions = nn.Embedding(num_positions, hidden_size)
        self.position_norm = nn.LayerNorm(hidden_size, eps=NORM_EPSILON)

    def forward(
        self, features: Float[Tensor, "batch length features"]
    ) -> Float[Tensor, "batch length hidden"]:
        """Project rows whose norm is 1 (or 0 for padding)."""
        normal = dropout(self.feature_norm(features), self.input_dropout, self.training)
        projected = self.linear(normal.flatten(0, 1)).relu_().unflatten(0, normal.shape[:2])
        rows: Tensor = self.position_norm(projected + self.positions.weight[: features.shape[1]])
        return dropout(rows, self.dropout_rate, self.training)


class ScaleMixing(nn.Module):
    """Convex mixture of the blocks' outputs, position by position, with learned weights.

    A learned token asks each block's output for a summary; the summaries give one weight per
    position and block.
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
        outputs: Float[Tensor, "batch scales length hidden"],
        token: Float[Tensor, "1 1 hidden"],
    ) -> Float[Tensor, "batch length hidden"]:
        """Mix the outputs of all scales."""
        attended = self.summary.attention.summarise(token[0, 0], outputs.flatten(0, 1))
        summaries = self.summary(token[0].expand_as(attended), attended)
        hidden = dropout(self.hidden(summaries).relu_(), self.dropout_rate, self.training)
        logits = self.weights(hidden).unflatten(0, outputs.shape[:2])
        weights = (logits / self.temperature).softmax(dim=1)
        mixed: Tensor = (weights.unsqueeze(-1) * outputs).sum(dim=1)
        return mixed


class VideoBranch(nn.Module):
    """Frames or clips of a video through parallel Gaussian attention blocks and their mixture."""

    priors: Tensor

    def __init__(
        self,
        feature_dim: int,
        hidden_size: int,
        num_heads: int,
        length: int,
        num_positions: int,
        widths: Sequence[float | None],
        temperature: float,
        input_dropout: float,
        dropout_rate: float,
    ) -> None:
        super().__init__()
        self.projection = InputProjection(
            feature_dim, hidden_size, num_positions, input_dropout, dropout_rate
        )
        self.blocks = nn.ModuleList(
            AttentionBlock(hidden_size, num_heads, _EXPANSION * hidden_size, dropout_rate)
            for _ in widths
        )
        self.mixing = ScaleMixing(hidden_size, num_heads, length, temperature, dropout_rate)
        plain = torch.ones(length, length)
        priors = [plain if width is None else gaussian_prior(length, width) for width in widths]
        self.register_buffer("priors", torch.stack(priors), persistent=False)

    def forward(
        self,
        features: Float[Tensor, "videos length features"],
        token: Float[Tensor, "1 1 hidden"],
        sizes: Float[Tensor, "videos length"] | None = None,
    ) -> Float[Tensor, "videos length hidden"]:
        """Encode rows of norm 1.

        Args:
            features: Frames or clips, all valid.
            token: The learned token of the mixing, shared by both branches.
            sizes: Frames in each clip: a merged clip counts for the frames that it holds.
        """
        rows = self.projection(features)
        size_bias = None if sizes is None else sizes.log()[:, None]
        blocks = [block for block in self.blocks if isinstance(block, AttentionBlock)]
        layers = [block.attention for block in blocks]
        attended = self_attention(rows, layers, self.priors, size_bias)
        flat = rows.flatten(0, 1)
        outputs = [
            block(flat, one.flatten(0, 1)).view_as(rows)
            for block, one in zip(blocks, attended, strict=True)
        ]
        mixed: Tensor = self.mixing(torch.stack(outputs, dim=1), token)
        return mixed


class CaptionEncoder(nn.Module):
    """Token features of a caption to one query vector."""

    def __init__(
        self,
        feature_dim: int,
        hidden_size: int,
        num_heads: int,
        max_tokens: int,
        input_dropout: float,
        dropout_rate: float,
    ) -> None:
        super().__init__()
        self.projection = InputProjection(
            feature_dim, hidden_size, max_tokens, input_dropout, dropout_rate
        )
        self.block = AttentionBlock(hidden_size, num_heads, _EXPANSION * hidden_size, dropout_rate)
        self.pooling = nn.Linear(hidden_size, 1, bias=False)

    def forward(
        self,
        tokens: Float[Tensor, "captions length features"],
        tokens_valid: Bool[Tensor, "captions length"],
    ) -> Float[Tensor, "captions hidden"]:
        """Encode captions; padding rows may hold anything finite."""
        rows = self.projection(tokens)
        bias = padding_bias(tokens_valid)
        (attended,) = self_attention(rows, [self.block.attention], score_bias=bias)
        rows = self.block(rows.flatten(0, 1), attended.flatten(0, 1)).view_as(rows)
        logits = self.pooling(rows).masked_fill(~tokens_valid.unsqueeze(-1), POOLING_PADDING_SCORE)
        pooled: Tensor = (logits.softmax(dim=1) * rows).sum(dim=1)
        return pooled
