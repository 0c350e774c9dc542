"""The network: two video branches, a caption encoder and the projection of CBVA."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from prvr_model.network.encoders import CaptionEncoder, VideoBranch
from prvr_model.settings import ModelSettings


@dataclass(frozen=True)
class EncodedVideos:
    """A video's two encodings; every row is valid, none is normalised."""

    clips: Float[Tensor, "videos clips hidden"]
    frames: Float[Tensor, "videos frames hidden"]


class MscModel(nn.Module):
    """MSC for features of given dimensions.

    Args:
        settings: Sizes of the network.
        video_dim: Dimension of a frame's features.
        text_dim: Dimension of a token's features.
    """

    def __init__(self, settings: ModelSettings, video_dim: int, text_dim: int) -> None:
        super().__init__()
        self.settings = settings
        self.video_dim = video_dim
        self.text_dim = text_dim
        hidden = settings.hidden_size
        self.clip_branch = self._branch(settings.num_clips)
        self.frame_branch = self._branch(settings.num_frames)
        self.caption_encoder = CaptionEncoder(
            text_dim,
            hidden,
            settings.num_heads,
            settings.max_caption_tokens,
            settings.input_dropout,
            settings.dropout,
        )
        self.mixing_token = nn.Parameter(torch.empty(1, 1, hidden))
        self.alignment = nn.Linear(hidden, hidden)
        self._initialise()

    def _branch(self, length: int) -> VideoBranch:
        settings = self.settings
        return VideoBranch(
            self.video_dim,
            settings.hidden_size,
            settings.num_heads,
            length,
            # As released, the clip branch too has a position for each frame, but uses the first.
            settings.num_frames,
            settings.widths,
            settings.mixing_temperature,
            settings.input_dropout,
            settings.dropout,
        )

    @torch.no_grad()
    def _initialise(self) -> None:
        """Weights from a normal distribution, biases at zero, LayerNorm at one.

        Source: MSC, training. As released, the mixing token is standard normal: it belongs to no
        layer, so `initializer_std` does not reach it.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.normal_(0.0, self.settings.initializer_std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()
        self.mixing_token.normal_()

    def encode_videos(
        self,
        frames: Float[Tensor, "videos frames features"],
        clips: Float[Tensor, "videos clips features"],
        clip_sizes: Float[Tensor, "videos clips"],
    ) -> EncodedVideos:
        """Encode resampled frames and their clips, rows of norm 1."""
        return EncodedVideos(
            clips=self.clip_branch(clips, self.mixing_token, clip_sizes),
            frames=self.frame_branch(frames, self.mixing_token),
        )

    def encode_captions(
        self,
        tokens: Float[Tensor, "captions length features"],
        tokens_valid: Bool[Tensor, "captions length"],
    ) -> Float[Tensor, "captions hidden"]:
        """Query vectors of captions, not normalised."""
        queries: Tensor = self.caption_encoder(tokens, tokens_valid)
        return queries

    def align(
        self, rows: Float[Tensor, "videos length hidden"]
    ) -> Float[Tensor, "videos length hidden"]:
        """The shared projection of frames and clips that CBVA alone uses."""
        aligned: Tensor = self.alignment(rows)
        return aligned

    def decayed_parameters(self) -> list[nn.Parameter]:
        """Parameters under weight decay.

        Source: MSC, training. Biases and the norms of the input projections are not decayed;
        the weights of the blocks' own norms are.
        """
        free = {
            id(norm.weight)
            for name, norm in self.named_modules()
            if name.endswith((".feature_norm", ".position_norm")) and isinstance(norm, nn.LayerNorm)
        }
        return [
            parameter
            for name, parameter in self.named_parameters()
            if not name.endswith(".bias") and id(parameter) not in free
        ]
