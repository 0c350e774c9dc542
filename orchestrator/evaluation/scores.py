"""The numbers of one subject on one split, with intervals for new videos."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from orchestrator.statistics.finished_models import Measured, measured
from orchestrator.statistics.outcomes import VideosOfQueries, recall_outcomes
from orchestrator.study.moment_scores import MomentScores
from prvr_model.reporting import MAP, NDCG, OWN, RECALL_DEPTHS, VERIFIED
from prvr_model.retrieval.metrics import CorrectRanks
from prvr_model.retrieval.query_slices import QuerySlice

if TYPE_CHECKING:
    from prvr_model.retrieval.evaluation import Evaluation

SUM = "SumR"


@dataclass(frozen=True)
class View:
    """Numbers by one notion of what is correct.

    Args:
        metrics: Percentages by name: R1 ... R100 and SumR, and of several correct videos nDCG10
            and mAP.
        outcomes: Of each query what SumR is the mean of.
    """

    metrics: Mapping[str, Measured]
    outcomes: Float[np.ndarray, "queries"]


@dataclass(frozen=True)
class SliceScore:
    """SumR of some queries, by their own videos.

    Args:
        slice: The queries.
        videos: Number of their videos.
        sum_of_recalls: Their SumR.
    """

    slice: QuerySlice
    videos: int
    sum_of_recalls: Measured

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        counts = {"captions": int(self.slice.captions.sum()), "videos": self.videos}
        names = {"kind": self.slice.kind, "part": self.slice.part}
        return {**names, **counts, SUM: asdict(self.sum_of_recalls)}


@dataclass(frozen=True)
class SplitScores:
    """What a subject scores on a split.

    Args:
        ranks: Rank of each caption's own video, from 1.
        views: Numbers by what is correct, `OWN` first; `VERIFIED` where the split has labels.
        others: Recalls of each branch and diagnostics of collapse by name, none of frozen features.
        moments: How windows meet moments; None where none are known, or the subject has no windows.
        slices: SumR by slice.
    """

    ranks: Int[np.ndarray, "captions"]
    views: Mapping[str, View]
    others: Mapping[str, float]
    moments: MomentScores | None
    slices: tuple[SliceScore, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; without the ranks."""
        views = {
            name: {metric: asdict(found) for metric, found in view.metrics.items()}
            for name, view in self.views.items()
        }
        return {
            **views,
            "others": dict(self.others),
            "moments": asdict(self.moments) if self.moments else None,
            "slices": [each.to_dict() for each in self.slices],
        }


def split_scores(
    found: "Evaluation", videos: VideosOfQueries, slices: Sequence[QuerySlice]
) -> SplitScores:
    """Measure an evaluation by own videos.

    Args:
        found: The evaluation.
        videos: The video of each caption.
        slices: Slices of the split.
    """
    own = _view(found.ranks, videos)
    views = {OWN: own}
    if found.verified is not None:
        views[VERIFIED] = _view_of_several(found.verified, videos)
    return SplitScores(
        ranks=found.ranks,
        views=views,
        others=_others(found.metrics),
        moments=MomentScores.of(found.moments) if found.moments else None,
        slices=tuple(_slice_score(each, own, videos) for each in slices),
    )


def _others(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics that are in no view."""
    below = (name.partition("/") for name in metrics)
    return {
        f"{group}/{name}": metrics[f"{group}/{name}"]
        for group, _, name in below
        if name and group not in (OWN, VERIFIED)
    }


def _view(ranks: Int[np.ndarray, "captions"], videos: VideosOfQueries) -> View:
    metrics = {
        f"R{depth}": measured(recall_outcomes(ranks, [depth]), videos) for depth in RECALL_DEPTHS
    }
    outcomes = recall_outcomes(ranks)
    return View({**metrics, SUM: measured(outcomes, videos)}, outcomes)


def _view_of_several(ranks: CorrectRanks, videos: VideosOfQueries) -> View:
    best = _view(ranks.best.numpy(), videos)
    more = {
        NDCG: measured(100 * ranks.ndcg().numpy(), videos),
        MAP: measured(100 * ranks.average_precisions().numpy(), videos),
    }
    return View({**best.metrics, **more}, best.outcomes)


def _slice_score(each: QuerySlice, own: View, videos: VideosOfQueries) -> SliceScore:
    some = videos_of(each, videos)
    return SliceScore(each, len(some.counts), measured(own.outcomes[each.captions], some))


def videos_of(each: QuerySlice, videos: VideosOfQueries) -> VideosOfQueries:
    """The video of each caption of a slice."""
    return VideosOfQueries(videos.index[each.captions])
