"""Encoders of videos and captions.

Source: METHOD, encoders. Parameters are named for what they are; `released_checkpoint` knows the
names of the published implementation.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from prvr_model.attention import NORM_EPSILON, AttentionBlock, gaussian_prior, padding_bias

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
        dropout: float,
    ) -> None:
        super().__init__()
        self.feature_norm = nn.LayerNorm(feature_dim, eps=NORM_EPSILON)
        self.input_dropout = nn.Dropout(input_dropout)
        self.linear = nn.Linear(feature_dim, hidden_size)
        self.positions = nn.Embedding(num_positions, hidden_size)
        self.position_norm = nn.LayerNorm(hidden_size, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, features: Float[Tensor, "batch length features"]
    ) -> Float[Tensor, "batch length hidden"]:
        """Project rows whose norm is 1 (or 0 for padding)."""
        projected = F.relu(self.linear(self.input_dropout(self.feature_norm(features))))
        positions = self.positions.weight[: features.shape[1]]
        rows: Tensor = self.dropout(self.position_norm(projected + positions))
        return rows


class ScaleMixing(nn.Module):
    """Convex mixture of the blocks' outputs, position by position, with learned weights.

    A learned token asks each block's output for a summary; the summaries give one weight per
    position and block.
    """

    def __init__(
        self, hidden_size: int, num_heads: int, length: int, temperature: float, dropout: float
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.summary = AttentionBlock(hidden_size, num_heads, hidden_size, dropout)
        self.hidden = nn.Linear(hidden_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.weights = nn.Linear(hidden_size, length)

    def forward(
        self,
        outputs: Float[Tensor, "batch scales length hidden"],
        token: Float[Tensor, "1 1 hidden"],
    ) -> Float[Tensor, "batch length hidden"]:
        """Mix the outputs of all scales."""
        batch, scales, length, hidden = outputs.shape
        source = outputs.reshape(batch * scales, length, hidden)
        summaries = self.summary(token.expand(batch * scales, -1, -1), source)
        summaries = summaries.reshape(batch, scales, hidden)
        logits = self.weights(self.dropout(F.relu(self.hidden(summaries))))
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
        dropout: float,
    ) -> None:
        super().__init__()
        self.projection = InputProjection(
            feature_dim, hidden_size, num_positions, input_dropout, dropout
        )
        self.blocks = nn.ModuleList(
            AttentionBlock(hidden_size, num_heads, _EXPANSION * hidden_size, dropout)
            for _ in widths
        )
        self.mixing = ScaleMixing(hidden_size, num_heads, length, temperature, dropout)
        plain = torch.ones(length, length)
        priors = [plain if width is None else gaussian_prior(length, width) for width in widths]
        self.register_buffer("priors", torch.stack(priors), persistent=False)
        self.has_prior = [width is not None for width in widths]

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
        outputs = [
            block(rows, rows, size_bias, prior if has_prior else None)
            for block, prior, has_prior in zip(
                self.blocks, self.priors, self.has_prior, strict=True
            )
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
        dropout: float,
    ) -> None:
        super().__init__()
        self.projection = InputProjection(
            feature_dim, hidden_size, max_tokens, input_dropout, dropout
        )
        self.block = AttentionBlock(hidden_size, num_heads, _EXPANSION * hidden_size, dropout)
        self.pooling = nn.Linear(hidden_size, 1, bias=False)

    def forward(
        self,
        tokens: Float[Tensor, "captions length features"],
        tokens_valid: Bool[Tensor, "captions length"],
    ) -> Float[Tensor, "captions hidden"]:
        """Encode captions; padding rows may hold anything finite."""
        rows = self.projection(tokens)
        rows = self.block(rows, rows, padding_bias(tokens_valid))
        logits = self.pooling(rows).masked_fill(~tokens_valid.unsqueeze(-1), POOLING_PADDING_SCORE)
        pooled: Tensor = (logits.softmax(dim=1) * rows).sum(dim=1)
        return pooled
