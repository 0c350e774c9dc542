"""How well a selected trial's windows meet the moments of test, in a form that the study keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.statistics.crossed import one_model_mean
from orchestrator.statistics.outcomes import VideosOfQueries
from orchestrator.statistics.table import LEVEL

if TYPE_CHECKING:
    from prvr_model.retrieval.moment_evaluation import MomentOutcomes

JUDGED_IOU = 0.5
"""Intersection over union at which windows are compared with what knows nothing."""


@dataclass(frozen=True)
class MomentGain:
    """How much more often the refined window meets the moment than something simpler does.

    Args:
        over: What it is compared with, e.g. `whole`.
        difference: Of R@1 at `JUDGED_IOU`, in points.
        interval: For this model on new videos; None for a single video.
    """

    over: str
    difference: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class MomentScores:
    """What the study keeps of a trial's moments on test.

    Args:
        captions: Captions with known moments.
        metrics: Percentages by name, see `MomentOutcomes.metrics`.
        gains: Over the plain clip and the two baselines that know nothing.
    """

    captions: int
    metrics: Mapping[str, float]
    gains: tuple[MomentGain, ...]

    @classmethod
    def of(cls, outcomes: "MomentOutcomes") -> "MomentScores":
        """Summary of the outcomes of all captions."""
        from prvr_model.retrieval.moment_evaluation import WINDOW

        others = [what for what in outcomes.best_window if what != WINDOW]
        gains = tuple(_gain(outcomes, WINDOW, other) for other in others)
        return cls(len(outcomes.captions), outcomes.metrics(), gains)

    @classmethod
    def parse(cls, kept: Mapping[str, Any]) -> "MomentScores":
        """From the JSON that the study keeps."""
        gains = (
            MomentGain(gain["over"], gain["difference"], _pair(gain["interval"]))
            for gain in kept["gains"]
        )
        return cls(kept["captions"], kept["metrics"], tuple(gains))


def _gain(outcomes: "MomentOutcomes", window: str, other: str) -> MomentGain:
    met = [outcomes.best_window[what] >= JUDGED_IOU for what in (window, other)]
    differences = 100.0 * (met[0].astype(float) - met[1])
    mean = one_model_mean(differences, VideosOfQueries(outcomes.videos))
    interval = mean.interval_of_videos(LEVEL)
    return MomentGain(other, mean.mean, (interval.low, interval.high) if interval else None)


def _pair(values: list[float] | None) -> tuple[float, float] | None:
    return (values[0], values[1]) if values else None
