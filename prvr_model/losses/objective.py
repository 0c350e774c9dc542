"""The training objective: every loss term of a batch, weighted.

Source: the MSC paper, losses.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from prvr_model.inputs.batching import Batch
from prvr_model.losses.cbva import cbva
from prvr_model.losses.infonce import infonce
from prvr_model.losses.tcpl import angle_loss, distance_loss
from prvr_model.losses.triplet import NegativeDraws, triplet
from prvr_model.network.encoding import Encoders
from prvr_model.network.model import EncodedVideos, MscModel
from prvr_model.network.similarity import score_both
from prvr_model.process_group import ALONE, Shards, Workers
from prvr_model.settings import LossSettings

# Terms that every worker computes whole, from all scores; of the others it computes its share.
_SHARED_TERMS = frozenset({"clip_infonce", "frame_infonce", "clip_triplet", "frame_triplet"})


@dataclass(frozen=True)
class LossTerms:
    """Loss terms after weighting, scalars on the model's device; 0 for a term that is off.

    With several workers these are one worker's terms: its gradients are a part of the global
    loss's, and `all_workers` gives the global values.
    """

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

    def all_workers(self, workers: Workers) -> Float[Tensor, "terms"]:
        """Values of the global batch in the order of `loss_term_names`, without gradient."""
        shares = [1 / workers.size if name in _SHARED_TERMS else 1.0 for name in loss_term_names()]
        return workers.sum(self.stacked().detach() * self.total.new_tensor(shares))


@dataclass(frozen=True)
class BranchDraws:
    """Draws of each branch's triplets."""

    clip: NegativeDraws
    frame: NegativeDraws


def loss_term_names() -> tuple[str, ...]:
    """Names of the loss terms."""
    return tuple(field.name for field in fields(LossTerms))


# Seven: what is trained, on what, and how the step runs; the last two have defaults.
def compute_losses(
    model: MscModel,
    batch: Batch,
    settings: LossSettings,
    draws: BranchDraws,
    hard_negatives: bool,
    encoders: Encoders | None = None,
    workers: Workers = ALONE,
) -> LossTerms:
    """Encode a batch and compute its loss terms.

    Args:
        model: In training or evaluation mode; that decides on dropout alone.
        batch: Videos with all their captions.
        settings: Weights and parameters; a term of weight 0 is not computed.
        draws: Choice of the triplets' negatives, for the global batch.
        hard_negatives: Whether the epoch draws hard negatives.
        encoders: How the model encodes; None: in the precision of its weights, not compiled, all
            at once.
        workers: The processes that train together; the batch says how it is spread over them.
    """
    encoders = encoders or Encoders(model)
    videos, own_queries = encoders.batch(batch)
    queries = workers.gather_rows(own_queries, batch.spread.captions)
    hard_pool = settings.hard_negative_pool if hard_negatives else None
    both = batch, settings, hard_pool, workers
    clip_infonce, clip_triplet = _retrieval(queries, videos.clips, draws.clip, *both)
    frame_infonce, frame_triplet = _retrieval(queries, videos.frames, draws.frame, *both)
    anchors = Shards.even(len(queries), workers.size).rows(workers.rank)
    return LossTerms(
        clip_infonce=settings.infonce_clip_weight * clip_infonce,
        frame_infonce=settings.infonce_frame_weight * frame_infonce,
        clip_triplet=settings.triplet_weight * clip_triplet,
        frame_triplet=settings.triplet_weight * frame_triplet,
        tcpl_distance=_distance_term(queries, batch, settings) / workers.size,
        tcpl_angle=_angle_term(queries, batch, settings, anchors),
        cbva=_alignment(model, videos, batch, settings),
    )


# Seven: a branch's queries, rows and draws, and what both branches share.
def _retrieval(
    queries: Float[Tensor, "captions hidden"],
    rows: Float[Tensor, "videos rows hidden"],
    draws: NegativeDraws,
    batch: Batch,
    settings: LossSettings,
    hard_pool: int | None,
    workers: Workers,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """InfoNCE and triplet of one branch, before weighting."""
    scores = score_both(queries, rows)
    cosine, product = (
        workers.gather_columns(score, batch.spread.videos)
        for score in (scores.cosine, scores.product)
    )
    owners, ignored = batch.video_of_caption, batch.ignored
    return (
        infonce(product, owners, ignored),
        triplet(cosine, owners, settings.margin, draws, hard_pool, ignored),
    )


def _distance_term(
    queries: Float[Tensor, "captions hidden"], batch: Batch, settings: LossSettings
) -> Float[Tensor, ""]:
    """The weighted distance term of TCPL, not computed at weight 0."""
    weight = settings.tcpl_distance_weight
    return weight * distance_loss(queries, batch.teacher) if weight else queries.new_zeros(())


def _angle_term(
    queries: Float[Tensor, "captions hidden"], batch: Batch, settings: LossSettings, anchors: slice
) -> Float[Tensor, ""]:
    """The weighted angle term of TCPL for some anchors, not computed at weight 0."""
    weight = settings.tcpl_angle_weight
    return weight * angle_loss(queries, batch.teacher, anchors) if weight else queries.new_zeros(())


def _alignment(
    model: MscModel, videos: EncodedVideos, batch: Batch, settings: LossSettings
) -> Float[Tensor, ""]:
    """The weighted CBVA term of this worker's videos, not computed if it is off."""
    if not settings.uses_cbva:
        return videos.clips.new_zeros(())
    aligned = model.align(videos.frames), model.align(videos.clips)
    if not len(videos.clips):
        # A worker without a video adds nothing, but every parameter needs a gradient.
        return aligned[0].sum() + aligned[1].sum()
    loss = cbva(*aligned, batch.clip_sizes, batch.segment_of_clip, batch.frame_to_clip)
    return settings.cbva_weight * loss * (len(videos.clips) / batch.spread.videos.total)
