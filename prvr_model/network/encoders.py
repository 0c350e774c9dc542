"""Encoders of videos and captions.

Source: MSC, encoders. Parameters are named for what they are, not as in the published code.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from prvr_model.network.attention import NORM_EPSILON, AttentionBlock, gaussian_prior, padding_bias
from prvr_model.network.dropout import dropout
from prvr_model.network.fused_blocks import can_fuse, parallel_blocks, product_type
from prvr_model.network.fused_projection import fused_projection
from prvr_model.network.row_steps import Layer
from prvr_model.network.scale_mixing import ScaleMixing

# Score of padding in the pooling over a caption's tokens, as released.
POOLING_PADDING_SCORE = -1e10
# The feed-forward layer of a self-attention block is this many times as wide as its input.
_EXPANSION = 4
# Rows encoded at once. On a processor a step's arrays (6 MB at hidden size 384) stay in its cache
# and their memory is reused; an accelerator is fastest with all rows at once.
_ROWS_AT_ONCE = {"cpu": 4096}


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
        if can_fuse(features) and not features.requires_grad:
            return self._fused(features)
        normal = dropout(self.feature_norm(features), self.input_dropout, self.training)
        projected = self.linear(normal.flatten(0, 1)).relu().unflatten(0, normal.shape[:2])
        rows: Tensor = self.position_norm(projected + self.positions.weight[: features.shape[1]])
        return dropout(rows, self.dropout_rate, self.training)

    def _fused(
        self, features: Float[Tensor, "batch length features"]
    ) -> Float[Tensor, "batch length hidden"]:
        rates = (self.input_dropout, self.dropout_rate) if self.training else (0.0, 0.0)
        norms = [Layer(norm.weight, norm.bias) for norm in (self.feature_norm, self.position_norm)]
        return fused_projection(
            features,
            norms[0],
            Layer(self.linear.weight, self.linear.bias),
            self.positions.weight[: features.shape[1]],
            norms[1],
            rates,
            product_type(features),
        )


class VideoBranch(nn.Module):
    """Frames or clips of a video through parallel Gaussian attention blocks and their mixture."""

    priors: Tensor

    # Nine: every published size is a setting of its own, and a branch has these.
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
        biases = None if sizes is None else sizes.log()[:, None]
        parts = [
            self._encode(features[part], token, None if biases is None else biases[part])
            for part in _parts(features)
        ]
        return torch.cat(parts)

    def _encode(
        self,
        features: Float[Tensor, "videos length features"],
        token: Float[Tensor, "1 1 hidden"],
        size_bias: Float[Tensor, "videos 1 length"] | None,
    ) -> Float[Tensor, "videos length hidden"]:
        rows = self.projection(features)
        blocks = [block for block in self.blocks if isinstance(block, AttentionBlock)]
        mixed: Tensor = self.mixing(parallel_blocks(rows, blocks, self.priors, size_bias), token)
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
        slices = list(_parts(tokens))
        if len(slices) == 1:
            return self._encode(tokens, tokens_valid)
        # Captions of similar length share a part, padded to its longest: less padding.
        order = tokens_valid.sum(dim=1).argsort()
        encoded = []
        for rows in (order[part] for part in slices):
            valid = tokens_valid[rows]
            length = int(valid.any(dim=0).sum())
            encoded.append(self._encode(tokens[rows, :length], valid[:, :length]))
        return torch.cat(encoded)[order.argsort()]

    def _encode(
        self,
        tokens: Float[Tensor, "captions length features"],
        tokens_valid: Bool[Tensor, "captions length"],
    ) -> Float[Tensor, "captions hidden"]:
        rows = self.projection(tokens)
        (rows,) = parallel_blocks(rows, [self.block], score_bias=padding_bias(tokens_valid))
        logits = self.pooling(rows).masked_fill(~tokens_valid.unsqueeze(-1), POOLING_PADDING_SCORE)
        pooled: Tensor = (logits.softmax(dim=1) * rows).sum(dim=1)
        return pooled


def _parts(features: Float[Tensor, "batch length features"]) -> Iterator[slice]:
    """Slices of a batch that are encoded at once; one for an empty batch."""
    num_rows = _ROWS_AT_ONCE.get(features.device.type)
    if num_rows is None or torch.compiler.is_compiling():
        return iter([slice(None)])
    step = max(1, num_rows // features.shape[1])
    return (slice(start, start + step) for start in range(0, max(len(features), 1), step))
