"""Hinge losses against one negative per caption and per video.

Source: the MSC paper, losses.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from prvr_model.losses.infonce import own_pairs


@dataclass(frozen=True)
class NegativeDraws:
    """Uniform draws in [0, 1) that choose the negatives, made outside the loss.

    They are a function of (seed, epoch, step), so the choice does not depend on the device or
    on how a batch is spread over processes.
    """

    video_for_caption: Float[Tensor, "captions"]
    caption_for_video: Float[Tensor, "videos"]


# Six: scores, whose they are, what is ignored, and the settings of the draw.
def triplet(
    scores: Float[Tensor, "captions videos"],
    video_of_caption: Int[Tensor, "captions"],
    margin: float,
    draws: NegativeDraws,
    hard_pool: int | None,
    ignored: Bool[Tensor, "captions videos"] | None = None,
) -> Float[Tensor, ""]:
    """Margin losses text to video and video to text, each averaged over its rows.

    With v(i) the video of caption i, P_j the captions of video j, and I the ignored pairs:

        mean_i [margin + S_{i,n(i)} - S_{i,v(i)}]_+ + mean_j [margin + S_{n(j),j} - mean_{P_j} S]_+

    where n(i) is drawn from {j: j != v(i), (i,j) not in I} and n(j) from {i: i not in P_j, (i,j)
    not in I}. A row without any negative adds 0 to its mean.

    Args:
        scores: Cosine scores S.
        video_of_caption: Column of each caption's video.
        margin: Wanted distance between positive and negative.
        draws: Choice of the negatives.
        hard_pool: With None negatives are drawn from all others. Else a caption's negative is drawn
            from this many hardest videos, and a video's negative is the hardest caption.
        ignored: Pairs I that are neither positive nor negative; None: there are none. Deliberate
            difference from the paper.

    Returns:
        Sum of both directions; 0 for a single video, which has no negatives.
    """
    own = own_pairs(scores, video_of_caption)
    if scores.shape[1] < 2:
        return scores.sum() * 0
    barred = own if ignored is None else own | ignored
    to_video = _text_to_video(scores, barred, draws.video_for_caption, hard_pool)
    to_text = _video_to_text(scores, barred, draws.caption_for_video, hard_pool)
    text_margin = margin + to_video - scores.gather(1, video_of_caption[:, None])[:, 0]
    own_mean = (scores * own).sum(dim=0) / own.sum(dim=0)
    return text_margin.relu().mean() + (margin + to_text - own_mean).relu().mean()


def _text_to_video(
    scores: Float[Tensor, "captions videos"],
    barred: Bool[Tensor, "captions videos"],
    draws: Float[Tensor, "captions"],
    hard_pool: int | None,
) -> Float[Tensor, "captions"]:
    """Score of each caption's negative video; minus infinity where it has none."""
    if hard_pool is None:
        return _draw_other(scores, barred, draws)
    hardest = scores.masked_fill(barred, -torch.inf)
    hardest = hardest.topk(min(hard_pool, scores.shape[1] - 1), dim=1).values
    pool = (~barred).sum(dim=1).clamp_max(hard_pool)
    # A row without negatives has minus infinity in all places.
    choice = torch.minimum((draws * pool).long(), pool - 1).clamp_min(0)
    return hardest.gather(1, choice[:, None])[:, 0]


def _video_to_text(
    scores: Float[Tensor, "captions videos"],
    barred: Bool[Tensor, "captions videos"],
    draws: Float[Tensor, "videos"],
    hard_pool: int | None,
) -> Float[Tensor, "videos"]:
    """Score of each video's negative caption; minus infinity where it has none."""
    if hard_pool is None:
        return _draw_other(scores.T, barred.T, draws)
    return scores.masked_fill(barred, -torch.inf).amax(dim=0)


def _draw_other(
    scores: Float[Tensor, "rows columns"],
    barred: Bool[Tensor, "rows columns"],
    draws: Float[Tensor, "rows"],
) -> Float[Tensor, "rows"]:
    """Score in a column drawn uniformly from those that are not barred for the row."""
    order = (~barred).cumsum(dim=1)
    num_others = order[:, -1]
    wanted = torch.minimum((draws * num_others).long(), num_others - 1) + 1
    # The first column at which the count of others reaches the wanted one.
    column = (order < wanted[:, None]).sum(dim=1)
    drawn = scores.gather(1, column[:, None])[:, 0]
    return drawn.masked_fill(num_others == 0, -torch.inf)
