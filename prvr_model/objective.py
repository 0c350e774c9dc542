"""The training objective: every loss term of a batch, weighted.

Source: the MSC paper, losses.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from prvr_model.batching import Batch
from prvr_model.encoding import Encoders
from prvr_model.losses.cbva import cbva
from prvr_model.losses.infonce import infonce
from prvr_model.losses.tcpl import angle_loss, distance_loss
from prvr_model.losses.triplet import NegativeDraws, triplet
from prvr_model.model import EncodedVideos, MscModel
from prvr_model.settings import LossSettings
from prvr_model.similarity import score_both


@dataclass(frozen=True)
class LossTerms:
    """Loss terms after weighting, scalars on the model's device; 0 for a term that is off."""

    clip_infonce: Float[Tensor, ""]
    frame_infonce: Float[Tensor, ""]
    clip_triplet: Float[Tensor, ""]
    frame_triplet: Float[Tensor, ""]
    tcpl_distance: Float[Tensor, ""]
    tcpl_angle: Float[Tensor, ""]
    cbva: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """Sum of all terms."""
        return self.stacked().sum()

    def stacked(self) -> Float[Tensor, "terms"]:
        """Terms in the order of `loss_term_names`."""
        return torch.stack([getattr(self, name) for name in loss_term_names()])


@dataclass(frozen=True)
class BranchDraws:
    """Draws of each branch's triplets."""

    clip: NegativeDraws
    frame: NegativeDraws


def loss_term_names() -> tuple[str, ...]:
    """Names of the loss terms."""
    return tuple(field.name for field in fields(LossTerms))


def compute_losses(
    model: MscModel,
    batch: Batch,
    settings: LossSettings,
    draws: BranchDraws,
    hard_negatives: bool,
    encoders: Encoders | None = None,
) -> LossTerms:
    """Encode a batch and compute its loss terms.

    Args:
        model: In training or evaluation mode; that decides on dropout alone.
        batch: Videos with all their captions.
        settings: Weights and parameters; a term of weight 0 is not computed.
        draws: Choice of the triplets' negatives.
        hard_negatives: Whether the epoch draws hard negatives.
        encoders: How the model encodes; None: in the precision of its weights, not compiled.
    """
    encoders = encoders or Encoders(model)
    videos = encoders.videos(batch.frames, batch.clips, batch.clip_sizes)
    queries = encoders.captions(batch.tokens, batch.tokens_valid)
    hard_pool = settings.hard_negative_pool if hard_negatives else None
    clip_infonce, clip_triplet = _retrieval(
        queries, videos.clips, batch, settings, draws.clip, hard_pool
    )
    frame_infonce, frame_triplet = _retrieval(
        queries, videos.frames, batch, settings, draws.frame, hard_pool
    )
    return LossTerms(
        clip_infonce=settings.infonce_clip_weight * clip_infonce,
        frame_infonce=settings.infonce_frame_weight * frame_infonce,
        clip_triplet=settings.triplet_weight * clip_triplet,
        frame_triplet=settings.triplet_weight * frame_triplet,
        tcpl_distance=_preservation(distance_loss, settings.tcpl_distance_weight, queries, batch),
        tcpl_angle=_preservation(angle_loss, settings.tcpl_angle_weight, queries, batch),
        cbva=_alignment(model, videos, batch, settings),
    )


def _retrieval(
    queries: Float[Tensor, "captions hidden"],
    rows: Float[Tensor, "videos rows hidden"],
    batch: Batch,
    settings: LossSettings,
    draws: NegativeDraws,
    hard_pool: int | None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """InfoNCE and triplet of one branch, before weighting."""
    scores = score_both(queries, rows)
    owners = batch.video_of_caption
    return (
        infonce(scores.product, owners),
        triplet(scores.cosine, owners, settings.margin, draws, hard_pool),
    )


def _preservation(
    loss: Callable[[Tensor, Tensor], Tensor],
    weight: float,
    queries: Float[Tensor, "captions hidden"],
    batch: Batch,
) -> Float[Tensor, ""]:
    """A weighted TCPL term, not computed at weight 0."""
    return weight * loss(queries, batch.teacher) if weight else queries.new_zeros(())


def _alignment(
    model: MscModel, videos: EncodedVideos, batch: Batch, settings: LossSettings
) -> Float[Tensor, ""]:
    """The weighted CBVA term, not computed where it is off."""
    if not settings.uses_cbva:
        return videos.clips.new_zeros(())
    return settings.cbva_weight * cbva(
        model.align(videos.frames),
        model.align(videos.clips),
        batch.clip_sizes,
        batch.segment_of_clip,
        batch.frame_to_clip,
    )
