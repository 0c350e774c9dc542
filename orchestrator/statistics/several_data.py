"""Verdicts over several data sets: the mean effect on them, and whether it differs between them.

Data sets are few and were chosen, not drawn: three do not tell how an effect varies over all data
sets that there are, and a signed-rank test over data sets (Demsar 2006, Statistical comparisons of
classifiers over multiple data sets) cannot reach p < 0.05 with fewer than six. So data sets are
fixed here, seeds and videos are random within each (a mixed model), and the claim is about the
named data sets: the plain mean of their differences, a point counting the same on each. It may be
real where the effects differ, since it assumes no common effect (Rice, Higgins and Lumley 2018, A
re-evaluation of fixed effect(s) meta-analysis); `DataSetDifference` says where they do.

Its squared error is the sum of those of the data sets, each with its own spread of seeds and of
videos, over the squared number of data sets. The seeds of all data sets are one part of it and the
videos of all are the other, each with Satterthwaite's degrees of freedom (1946), which take uneven
data sets into account; `two_part_law` joins both parts. Satterthwaite's t law for the whole sum is
too bold (5.7 to 7.5 % of null tables, in `tests.calibration`); a law that mixes over every part by
itself keeps its level too, and finds less (0 to 2 %). Runs on different data count as independent
even if their seeds have the same numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float

from orchestrator.statistics.comparison import Comparison, Contrast, Criterion, Verdict
from orchestrator.statistics.crossed import CrossedMean, Interval, around
from orchestrator.statistics.outcomes import VariantRuns
from orchestrator.statistics.power import Need, PairedVariance, what_is_needed
from orchestrator.statistics.racing import Extension
from orchestrator.statistics.table import LEVEL, ComparisonTable, holm, make_table, verdict_of
from orchestrator.statistics.two_part_law import ErrorParts, half_width, two_sided_p

METHOD = (
    "The verdict is on the mean of the differences on the data sets that are named, each counting "
    "the same. Data sets are fixed; new seeds and new videos of each are what intervals hold for. "
    "The squared error is the sum of those of the data sets, each from its own seeds and videos."
)
"""What a report says of its verdicts over all data sets."""


@dataclass(frozen=True)
class DataSetDifference:
    """By how much more a variant gains on one data set than on the others on average.

    Args:
        data: The data set that differs most.
        difference: Its gain minus the mean gain of the others.
        parts: Parts of its squared error.
        p_value: P-value, corrected over the data sets, of which the most different was taken.
        corrected_p: P-value corrected over the table too.
        is_shown: Whether the gains are shown to differ between data sets.
    """

    data: str
    difference: float
    parts: ErrorParts
    p_value: float
    corrected_p: float | None = None
    is_shown: bool = False

    @cached_property
    def interval(self) -> Interval:
        """95 % interval of this difference alone."""
        return around(self.difference, half_width(self.parts, LEVEL))


@dataclass(frozen=True)
class JointComparison:
    """A variant against a reference, over all data sets.

    Args:
        contrast: What is compared.
        estimates: Mean difference on each data set, with its variance.
        criterion: How it is judged.
        parts: Parts of the squared error of the mean; None if a data set has fewer than two shared
            seeds or videos, or where nothing varies.
        p_value: P-value of this comparison alone; None without these parts.
        corrected_p: P-value corrected over the looks and, once judged, over the whole table.
        verdict: What the comparison shows.
        between: How the gain differs between data sets; None without these parts.
    """

    contrast: Contrast
    estimates: Mapping[str, CrossedMean]
    criterion: Criterion
    parts: ErrorParts | None
    p_value: float | None
    corrected_p: float | None
    verdict: Verdict = Verdict.NOT_SHOWN
    between: DataSetDifference | None = None

    @property
    def difference(self) -> float:
        """Mean over data sets of the differences; NaN where one has no shared seed."""
        return float(np.mean([estimate.mean for estimate in self.estimates.values()]))

    @cached_property
    def interval(self) -> Interval | None:
        """95 % interval of the mean over data sets, of this comparison alone."""
        if self.parts is None:
            return None
        return around(self.difference, half_width(self.parts, self.criterion.level))

    @property
    def need(self) -> Need | None:
        """Seeds on each data set that would show the difference, or a few more than that.

        All seeds are taken as those of one data set; None if it is shown, or without a p-value.
        """
        if self.verdict is not Verdict.NOT_SHOWN or self.p_value is None:
            return None
        found, count = self.estimates.values(), len(self.estimates)
        spread = PairedVariance(
            sum(estimate.seed_variance for estimate in found) / count**2,
            sum(estimate.video_variance for estimate in found) / count**2,
            min(estimate.num_videos for estimate in found),
        )
        return what_is_needed(self.difference, spread, self.criterion.own_level)


@dataclass(frozen=True)
class JointTable:
    """The comparisons of several data sets.

    Args:
        of_data: Table of each data set alone, corrected over itself.
        comparisons: Every comparison over all of them, corrected over this table.
        extension: The earlier looks, if seeds were added after the table was judged.
    """

    of_data: Mapping[str, ComparisonTable]
    comparisons: tuple[JointComparison, ...]
    extension: Extension | None = None

    @property
    def level(self) -> float:
        """Share of joint tables without any effect that may call a mean difference real."""
        return LEVEL


def make_joint_table(
    runs: Mapping[str, Sequence[VariantRuns]],
    counts: Mapping[str, Float[np.ndarray, "videos"]],
    contrasts: Sequence[Contrast],
    extensions: Mapping[str, Extension | None] | None = None,
) -> JointTable:
    """The table of each data set, and the comparisons over all of them.

    Args:
        runs: Variants on each data set, the same in all.
        counts: Queries of each video, by data set.
        contrasts: What is compared.
        extensions: Earlier looks at each data set's table, if seeds were added after it was judged.

    Raises:
        StatisticsError: A variant that is compared has no runs.
    """
    looks = extensions or {}
    tables = {
        data: make_table(of_data, counts[data], contrasts, extension=looks.get(data))
        for data, of_data in runs.items()
    }
    extension = max(
        (found for found in looks.values() if found is not None),
        key=lambda found: len(found.judged),
        default=None,
    )
    unique = tuple(dict.fromkeys(contrasts))
    criterion = Criterion(LEVEL, len(unique), extension.share if extension else 1.0)
    compared = [
        _compared({data: table.of(each.variant, each.reference) for data, table in tables.items()},
                  criterion)
        for each in unique
    ]  # fmt: skip
    return JointTable(tables, _judged(compared), extension)


def _compared(of_data: Mapping[str, Comparison], criterion: Criterion) -> JointComparison:
    """The comparison without its verdict."""
    contrast = next(iter(of_data.values())).contrast
    estimates = {data: comparison.estimate for data, comparison in of_data.items()}
    parts = _combined(estimates, dict.fromkeys(estimates, 1 / len(estimates)))
    if parts is None:
        return JointComparison(contrast, estimates, criterion, None, None, None)
    mean = float(np.mean([estimate.mean for estimate in estimates.values()]))
    p_value = two_sided_p(mean, parts)
    return JointComparison(
        contrast,
        estimates,
        criterion,
        parts,
        p_value,
        min(1.0, p_value / criterion.look_share),
        between=_between(estimates, criterion),
    )


def _combined(
    estimates: Mapping[str, CrossedMean], weights: Mapping[str, float]
) -> ErrorParts | None:
    """Parts of the squared error of a weighted sum; None without one on some data set."""
    if any(estimate.error_parts is None for estimate in estimates.values()):
        return None
    seeds, videos = [], []
    for data, estimate in estimates.items():
        weight = weights[data] ** 2
        seed_part = weight * estimate.seed_variance / estimate.num_seeds
        seeds.append((seed_part, estimate.num_seeds - 1))
        videos.append((weight * estimate.video_variance, estimate.num_videos - 1))
    parts = ErrorParts(*_as_one(seeds), *_as_one(videos))
    return parts if parts.standard_error else None


def _as_one(parts: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The sum of parts with Satterthwaite's degrees of freedom."""
    whole = sum(part for part, _ in parts)
    spread = sum(part**2 / freedom for part, freedom in parts)
    return whole, whole**2 / spread if spread else 1.0


def _between(
    estimates: Mapping[str, CrossedMean], criterion: Criterion
) -> DataSetDifference | None:
    """The data set that differs most from the mean of the others."""
    # Of two, one minus the other says all.
    names = list(estimates)[: None if len(estimates) > 2 else 1]
    found = [_against_others(data, estimates) for data in names]
    if len(estimates) < 2 or any(each is None for each in found):
        return None
    most = min((each for each in found if each is not None), key=lambda each: each.p_value)
    p_value = min(1.0, len(names) * most.p_value)
    return replace(most, p_value=p_value, corrected_p=min(1.0, p_value / criterion.look_share))


def _against_others(data: str, estimates: Mapping[str, CrossedMean]) -> DataSetDifference | None:
    weights = {
        other: 1.0 if other == data else -1 / (len(estimates) - 1 or 1) for other in estimates
    }
    parts = _combined(estimates, weights)
    if parts is None:
        return None
    difference = sum(weights[other] * each.mean for other, each in estimates.items())
    return DataSetDifference(data, difference, parts, two_sided_p(difference, parts))


def _judged(compared: Sequence[JointComparison]) -> tuple[JointComparison, ...]:
    """The comparisons with verdicts; those between data sets are a table of their own."""
    corrected = holm([each.corrected_p for each in compared])
    between = holm([each.between.corrected_p if each.between else None for each in compared])
    judged = []
    for each, p, p_between in zip(compared, corrected, between, strict=True):
        shown = p_between is not None and p_between <= LEVEL
        differs = each.between and replace(each.between, corrected_p=p_between, is_shown=shown)
        verdict = verdict_of(each.difference, p)
        judged.append(replace(each, corrected_p=p, verdict=verdict, between=differs))
    return tuple(judged)
