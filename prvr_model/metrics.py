"""Retrieval metrics from a score matrix: ranks by counting, recalls, SumR.

Source: the MSC paper, the task.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

RECALL_DEPTHS = (1, 5, 10, 100)


@dataclass(frozen=True)
class Relevance:
    """Correct videos of every caption, several allowed, as ragged rows.

    Args:
        videos: Correct columns, padded by repeating the row's first.
    """

    videos: Int[Tensor, "captions most_correct"]

    def block(self, rows: slice) -> "Relevance":
        """Relevance of some captions."""
        return Relevance(self.videos[rows])


def single_relevance(video_of_caption: Int[Tensor, "captions"]) -> Relevance:
    """Relevance where every caption has one correct video."""
    return Relevance(video_of_caption[:, None])


def best_ranks(
    scores: Float[Tensor, "captions videos"], relevance: Relevance
) -> Int[Tensor, "captions"]:
    """Rank of each caption's best correct video, from 1.

    A wrong video with the same score counts as ranked before it, so a model that gives every
    video one score is at the end. NaN counts against the model too. Other correct videos never
    count as ranked before.
    """
    correct_scores = scores.gather(1, relevance.videos)
    best = correct_scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).amax(1)
    before = ~(scores < best[:, None])
    before.scatter_(1, relevance.videos, value=False)
    return before.sum(dim=1) + 1


def recalls(ranks: Int[Tensor, "captions"]) -> dict[str, float]:
    """R@1, 5, 10 and 100 in percent, as `R1` ... `R100`, and their sum `SumR`.

    Raises:
        ValueError: There are no captions.
    """
    if not len(ranks):
        raise ValueError("recalls of no captions are undefined")
    found = {f"R{depth}": float((ranks <= depth).double().mean() * 100) for depth in RECALL_DEPTHS}
    return {**found, "SumR": sum(found.values())}


def relevance_of_same_text(
    video_of_caption: Int[Tensor, "captions"], text_ids: Int[Tensor, "captions"]
) -> Relevance:
    """Relevance where a caption is right for every video that has a caption of the same text.

    Args:
        video_of_caption: Column of each caption's own video.
        text_ids: Captions of equal text have equal ids, numbered from 0.
    """
    pairs = torch.unique(torch.stack([text_ids, video_of_caption]), dim=1)
    counts = torch.bincount(pairs[0])
    starts = counts.cumsum(0) - counts
    offsets = torch.arange(int(counts.max()))
    columns = torch.where(offsets < counts[:, None], starts[:, None] + offsets, starts[:, None])
    return Relevance(pairs[1][columns][text_ids])
