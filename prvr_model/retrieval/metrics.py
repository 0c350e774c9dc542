"""Retrieval metrics from a score matrix: ranks by counting, recalls, SumR, nDCG and mAP.

Source: the MSC paper, the task; nDCG with gains of 0 and 1: Jarvelin and Kekalainen 2002.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from prvr_model.process_group import ALONE, Shards, Workers
from prvr_model.reporting import MAP, NDCG, NDCG_DEPTH, RECALL_DEPTHS


@dataclass(frozen=True)
class Relevance:
    """Correct videos of every caption, several allowed, as ragged rows.

    Args:
        videos: Correct columns, padded by repeating the row's first.
        beside: Other notions of what is correct by name, of which all videos are ranked as well.
    """

    videos: Int[Tensor, "captions most_correct"]
    beside: Mapping[str, "Relevance"] = field(default_factory=dict)

    def block(self, rows: slice) -> "Relevance":
        """Relevance of some captions."""
        beside = {name: other.block(rows) for name, other in self.beside.items()}
        return Relevance(self.videos[rows], beside)

    def to(self, device: torch.device) -> "Relevance":
        """The same on another device."""
        beside = {name: other.to(device) for name, other in self.beside.items()}
        return Relevance(self.videos.to(device), beside)


def single_relevance(video_of_caption: Int[Tensor, "captions"]) -> Relevance:
    """Relevance where every caption has one correct video."""
    return Relevance(video_of_caption[:, None])


def listed_relevance(videos: Sequence[Sequence[int]]) -> Relevance:
    """Relevance from the columns of each caption's correct videos, at least one each."""
    widest = max(map(len, videos), default=1)
    rows = [[*columns, *[columns[0]] * (widest - len(columns))] for columns in videos]
    return Relevance(torch.tensor(rows, dtype=torch.int64).reshape(len(videos), widest))


def best_ranks(
    scores: Float[Tensor, "captions videos"], relevance: Relevance
) -> Int[Tensor, "captions"]:
    """Rank of each caption's best correct video, from 1.

    A wrong video with the same score counts as ranked before it, so a model that gives every video
    the same score gets the last ranks. NaN counts against the model too. Other correct videos never
    count as ranked before it.
    """
    best = _usable(scores.gather(1, relevance.videos)).amax(dim=1)
    before = ~(scores < best[:, None])
    before.scatter_(1, relevance.videos, value=False)
    return before.sum(dim=1) + 1


def best_ranks_of_workers(
    scores: Float[Tensor, "captions own_videos"],
    relevance: Relevance,
    workers: Workers,
    videos: Shards,
) -> Int[Tensor, "captions"]:
    """`best_ranks` over the videos of all workers, each of which knows the scores of its own.

    Args:
        scores: Scores of all captions against this worker's videos, of which there may be none.
        relevance: Correct videos, counted over all workers.
        workers: The processes that rank together.
        videos: How the videos are spread over them.
    """
    captions, _, columns = _own_columns(relevance, videos.rows(workers.rank))
    best = scores.new_full((len(scores),), -torch.inf)
    best.scatter_reduce_(0, captions, _usable(scores[captions, columns]), "amax")
    before = ~(scores < workers.largest(best)[:, None])
    before[captions, columns] = False
    return workers.sum(before.sum(dim=1)) + 1


def _own_columns(
    relevance: Relevance, own: slice
) -> tuple[Int[Tensor, "own"], Int[Tensor, "own"], Int[Tensor, "own"]]:
    """Caption, place and own column of each correct video among a worker's own."""
    is_own = (relevance.videos >= own.start) & (relevance.videos < own.stop)
    captions, places = is_own.nonzero(as_tuple=True)
    return captions, places, relevance.videos[captions, places] - own.start


def _usable(scores: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Scores with NaN as the worst."""
    return scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def recalls(ranks: Int[Tensor, "captions"]) -> dict[str, float]:
    """R@1, 5, 10 and 100 in percent, as `R1` ... `R100`, and their sum `SumR`.

    Raises:
        ValueError: There are no captions.
    """
    if not len(ranks):
        raise ValueError("recalls of no captions are undefined")
    found = {f"R{depth}": float((ranks <= depth).double().mean() * 100) for depth in RECALL_DEPTHS}
    return {**found, "SumR": sum(found.values())}


@dataclass(frozen=True)
class CorrectRanks:
    """Rank of every correct video of each caption, from 1, ascending; 0 where it has no more.

    A wrong video with the same score counts as ranked before a correct one, and NaN against the
    model, as in `best_ranks`, which gives the first column.
    """

    ranks: Int[Tensor, "captions most_correct"]

    @property
    def best(self) -> Int[Tensor, "captions"]:
        """Rank of each caption's best correct video."""
        return self.ranks[:, 0]

    def average_precisions(self) -> Float[Tensor, "captions"]:
        """Mean over a caption's correct videos of the precision at its rank, in [0, 1]."""
        found = self.ranks > 0
        precisions = self._places() / self.ranks.clamp(min=1) * found
        return precisions.sum(dim=1) / found.sum(dim=1)

    def ndcg(self, depth: int = NDCG_DEPTH) -> Float[Tensor, "captions"]:
        """Discounted gain of the correct videos in the first `depth`, over the largest possible."""
        found = self.ranks > 0
        gains = (found & (self.ranks <= depth)) / torch.log2(self.ranks.clamp(min=1).double() + 1)
        ideal = (found & (self._places() <= depth)) / torch.log2(self._places() + 1)
        return gains.sum(dim=1) / ideal.sum(dim=1)

    def metrics(self) -> dict[str, float]:
        """Recalls of the best correct video, nDCG and mAP, in percent."""
        more = {NDCG: self.ndcg(), MAP: self.average_precisions()}
        return recalls(self.best) | {name: float(100 * of.mean()) for name, of in more.items()}

    def _places(self) -> Float[Tensor, "most_correct"]:
        """Number of each column, from 1: its rank if no wrong video came before."""
        return torch.arange(1, self.ranks.shape[1] + 1, dtype=torch.float64)


def correct_ranks(
    scores: Float[Tensor, "captions own_videos"],
    relevance: Relevance,
    workers: Workers = ALONE,
    videos: Shards | None = None,
) -> CorrectRanks:
    """Rank of every correct video of each caption, on the host.

    Args:
        scores: Scores of all captions against this worker's videos, of which there may be none.
        relevance: Correct videos, counted over all workers.
        workers: The processes that rank together.
        videos: How the videos are spread over them; None if `scores` is of all videos.
    """
    shards = videos or Shards((scores.shape[1],))
    captions, places, columns = _own_columns(relevance, shards.rows(workers.rank))
    found = scores.new_full(relevance.videos.shape, -torch.inf)
    found[captions, places] = _usable(scores[captions, columns])
    is_more = torch.ones_like(relevance.videos, dtype=torch.bool)
    is_more[:, 1:] = relevance.videos[:, 1:] != relevance.videos[:, :1]
    # Repeats of the first column are no more videos; they sort behind all others.
    known = workers.largest(found).masked_fill(~is_more, -torch.inf)
    order = known.sort(dim=1, descending=True, stable=True)
    is_wrong = torch.ones_like(scores, dtype=torch.bool)
    is_wrong[captions, columns] = False
    before = workers.sum(_wrong_before(scores, is_wrong, order.values))
    ranks = before + torch.arange(1, before.shape[1] + 1, device=scores.device)
    return CorrectRanks(torch.where(is_more.gather(1, order.indices), ranks, 0).cpu())


def _wrong_before(
    scores: Float[Tensor, "captions videos"],
    is_wrong: Bool[Tensor, "captions videos"],
    values: Float[Tensor, "captions most_correct"],
) -> Int[Tensor, "captions most_correct"]:
    """Number of wrong videos that score at least each of some values."""
    # NaN of a wrong video counts as ranked before everything.
    wrong = scores.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    ascending = wrong.masked_fill(~is_wrong, -torch.inf).sort(dim=1).values
    before = scores.shape[1] - torch.searchsorted(ascending, values)
    # Correct videos stand at the lower end of the sorted ones and are counted only there.
    return torch.minimum(before, is_wrong.sum(dim=1, keepdim=True))


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
