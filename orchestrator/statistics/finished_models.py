"""Numbers of finished models and their differences: for these very weights on new videos.

A sweep asks which configuration is better, so its intervals are for new seeds too. A model that is
used, or moved to other data, is one set of weights: what remains uncertain is on which videos it
was scored. Queries of one video succeed and fail together, so the video is the unit; two models
are compared video by video, so what is hard for both cancels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from orchestrator.statistics.comparison import Verdict
from orchestrator.statistics.crossed import Interval, one_model_mean
from orchestrator.statistics.outcomes import VideosOfQueries
from orchestrator.statistics.table import LEVEL, holm, verdict_of


@dataclass(frozen=True)
class Measured:
    """A mean over queries.

    Args:
        value: The mean.
        interval: 95 % interval for this model on new videos; None for one video.
    """

    value: float
    interval: Interval | None


def measured(outcomes: Float[np.ndarray, "queries"], videos: VideosOfQueries) -> Measured:
    """Mean of the outcomes of each query."""
    found = one_model_mean(outcomes, videos)
    return Measured(found.mean, found.interval_of_videos(LEVEL))


@dataclass(frozen=True)
class ModelDifference:
    """A model against another on the same queries, higher outcomes being better.

    Args:
        value: Mean difference.
        interval: 95 % interval of this difference alone, for these models on new videos; None for
            one video.
        p_value: P-value of this difference alone; None for one video, or where nothing varies.
        corrected_p: P-value corrected over all differences that were judged together.
        verdict: What the difference shows.
    """

    value: float
    interval: Interval | None
    p_value: float | None
    corrected_p: float | None = None
    verdict: Verdict = Verdict.NOT_SHOWN


def model_difference(
    model: Float[np.ndarray, "queries"],
    reference: Float[np.ndarray, "queries"],
    videos: VideosOfQueries,
) -> ModelDifference:
    """Difference of two models' outcomes; `judged_together` gives the verdict."""
    found = one_model_mean(model - reference, videos)
    return ModelDifference(found.mean, found.interval_of_videos(LEVEL), found.p_value_of_videos())


def judged_together(differences: Sequence[ModelDifference]) -> tuple[ModelDifference, ...]:
    """The differences with verdicts, corrected over all of them (Holm 1979)."""
    corrected = holm([each.p_value for each in differences])
    return tuple(
        replace(each, corrected_p=p, verdict=verdict_of(each.value, p))
        for each, p in zip(differences, corrected, strict=True)
    )
