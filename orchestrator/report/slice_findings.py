"""Where the winner gains and where it loses against its baseline: differences by slices of queries.

Runs are paired by seed and queries by video, as in the tables of an ablation. A single pair has an
interval for these two models on new videos, and no verdict: what holds for configurations takes two
seeds. P-values are corrected over all slices
that can be judged (Holm 1979) and over the configurations among which the winner was chosen on
these videos. Whether a slice can be judged depends on the number of its videos alone.

Among 600 simulated sweeps without any effect (seven slices, one of 12 videos) a slice was called
real in 4.7 % with 60 videos, 3 seeds and one row beside the baseline, and in at most 1.8 % with 2
or 4 rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from orchestrator.base.errors import OutcomesError
from orchestrator.report.reading import SweepData
from orchestrator.report.winner_baseline import USUAL, Opponents, opponents, strongest_form
from orchestrator.report.yardstick import FROZEN
from orchestrator.statistics.comparison import Verdict
from orchestrator.statistics.crossed import Interval, crossed_mean
from orchestrator.statistics.outcomes import (
    KeptOutcome,
    VideosOfQueries,
    branch_outcome,
    kept_outcome,
)
from orchestrator.statistics.table import LEVEL, holm, verdict_of
from orchestrator.study.outcomes import outcomes_of
from orchestrator.study.trial import TrialSummary
from prvr_model.reporting import CLIP, FRAME
from prvr_model.retrieval.query_slices import QuerySlice

FEWEST_VIDEOS = 10
"""A slice of fewer videos is not judged: the error of its mean is not known well enough."""
BRANCH = "branch"

_Both: TypeAlias = tuple[Float[np.ndarray, "seeds queries"], Float[np.ndarray, "seeds queries"]]
"""Outcomes of the winner and of its baseline, seed by seed."""


@dataclass(frozen=True)
class SliceGain:
    """The winner against its baseline on some queries.

    Args:
        kind: In which respect they are alike, e.g. `video length`.
        part: Which queries, e.g. `up to 76 s`.
        queries: Their number.
        videos: Number of their videos.
        means: Of the winner and of its baseline.
        interval: 95 % interval of the difference; None if the slice is not judged.
        p_value: P-value of this difference alone; None likewise, for a single pair of runs, or
            where nothing varies.
        corrected_p: P-value corrected over all slices and over the choice of the winner.
        verdict: What the difference shows.
    """

    kind: str
    part: str
    queries: int
    videos: int
    means: tuple[float, float]
    interval: Interval | None
    p_value: float | None
    corrected_p: float | None = None
    verdict: Verdict = Verdict.NOT_SHOWN

    @property
    def difference(self) -> float:
        """Mean of the winner minus that of its baseline."""
        return self.means[0] - self.means[1]

    @property
    def is_judged(self) -> bool:
        """Whether the slice has enough videos to be judged."""
        return self.videos >= FEWEST_VIDEOS


@dataclass(frozen=True)
class SliceFinding:
    """The winner against its baseline, slice by slice.

    Args:
        winner: Name of the winning configuration.
        baseline: Name of what it is held against.
        why: Which baseline that is, a sentence.
        metric: What is compared.
        seeds: Number of pairs of runs.
        chosen_from: See `Opponents`.
        overall: All queries together, which is judged elsewhere.
        gains: Each slice.
        without_branches: Why branches are not compared; empty if they are.
    """

    winner: str
    baseline: str
    why: str
    metric: str
    seeds: int
    chosen_from: int
    overall: SliceGain
    gains: tuple[SliceGain, ...]
    without_branches: str = ""

    @property
    def judged(self) -> tuple[SliceGain, ...]:
        """Slices that have enough videos."""
        return tuple(gain for gain in self.gains if gain.is_judged)


def find_slices(data: SweepData, look_share: float = 1.0) -> SliceFinding | None:
    """Where the winner gains and loses; None where there is nothing to compare or no data.

    Args:
        data: The sweep.
        look_share: Share of the level that this look at the runs has, as in an ablation's table.
    """
    found = opponents(data)
    if found is None or data.videos is None or not data.slices:
        return None
    objective = data.spec.objective.metric
    metric = objective if kept_outcome(objective) else USUAL
    pairs = _Pairs(data, data.videos, found)
    both = pairs.of(kept_outcome(metric), data.problems)
    if both is None:
        return None
    every = QuerySlice("all queries", "", np.ones(data.videos.num_queries, bool))
    branches, why_not = pairs.of_branches(metric)
    gains = [_gain(each, both, data.videos) for each in data.slices]
    gains += [_gain(replace(every, kind=BRANCH, part=k), v, data.videos) for k, v in branches]
    return SliceFinding(
        winner=found.winner,
        baseline=pairs.baseline,
        why=found.why,
        metric=metric,
        seeds=len(both[0]),
        chosen_from=found.chosen_from,
        overall=_gain(every, both, data.videos),
        gains=_judged(gains, found.chosen_from / look_share),
        without_branches=why_not,
    )


@dataclass(frozen=True)
class _Pairs:
    """Outcomes of the winner and its baseline, as they were kept."""

    data: SweepData
    videos: VideosOfQueries
    found: Opponents

    @property
    def baseline(self) -> str:
        """Name of the baseline."""
        return self.found.baseline or f"{FROZEN}{self._form or ''}"

    @cached_property
    def _form(self) -> str | None:
        """The form of frozen features that it is held against; None without any."""
        return strongest_form(self.data)

    def of(self, outcome: KeptOutcome | None, problems: list[str]) -> _Both | None:
        """Outcomes of the pairs of which both sides were kept; None if there is none.

        Args:
            outcome: What is compared.
            problems: Takes why a run's outcomes cannot be read.
        """
        if outcome is None:
            return None
        if self.found.others:
            sides = zip(self.found.runs, self.found.others, strict=True)
            read = [tuple(self._read(run, outcome, problems) for run in pair) for pair in sides]
        else:
            fixed = self._frozen(outcome)
            read = [(self._read(run, outcome, problems), fixed) for run in self.found.runs]
        kept = [pair for pair in read if all(side is not None for side in pair)]
        if not kept:
            return None
        own, other = (np.array(side) for side in zip(*kept, strict=True))
        return own, other

    def _read(
        self, run: TrialSummary, outcome: KeptOutcome, problems: list[str]
    ) -> Float[np.ndarray, "queries"] | None:
        try:
            return self._fitting(outcomes_of(run, outcome))
        except OutcomesError as error:
            problems.append(str(error))
            return None

    def _frozen(self, outcome: KeptOutcome) -> Float[np.ndarray, "queries"] | None:
        frozen = self.data.frozen
        if frozen is None or self._form is None:
            return None
        return self._fitting(outcome.of(frozen.kept("val", self._form)))

    def _fitting(
        self, outcomes: Float[np.ndarray, "queries"] | None
    ) -> Float[np.ndarray, "queries"] | None:
        is_of_split = outcomes is not None and len(outcomes) == self.videos.num_queries
        return outcomes if is_of_split else None

    def of_branches(self, metric: str) -> tuple[list[tuple[str, _Both]], str]:
        """Outcomes by each branch alone, or why there are none."""
        if branch_outcome(metric, CLIP) is None:
            return [], f"Branches have no {metric.removeprefix('val/')} of their own."
        found = [(name, self.of(branch_outcome(metric, name), [])) for name in (CLIP, FRAME)]
        known = [(name, both) for name, both in found if both is not None]
        if known:
            return known, ""
        why = "were not kept" if self.found.others else "do not exist for the frozen features"
        return [], f"Ranks by each branch alone {why}."


def _gain(each: QuerySlice, both: _Both, videos: VideosOfQueries) -> SliceGain:
    rows = each.captions
    some = VideosOfQueries(videos.index[rows])
    own, other = (outcomes[:, rows] for outcomes in both)
    means = float(own.mean()), float(other.mean())
    gain = SliceGain(each.kind, each.part, int(rows.sum()), len(some.counts), means, None, None)
    if not gain.is_judged:
        return gain
    found = crossed_mean(some.totals(own - other), some.counts)
    if found.num_seeds > 1:
        return replace(gain, interval=found.interval(LEVEL), p_value=found.p_value())
    return replace(gain, interval=found.interval_of_videos(LEVEL))


def _judged(gains: Sequence[SliceGain], factor: float) -> tuple[SliceGain, ...]:
    """The gains with verdicts, from p-values times a factor."""
    p_values = [None if gain.p_value is None else min(1.0, gain.p_value * factor) for gain in gains]
    corrected = iter(holm([p for p, gain in zip(p_values, gains, strict=True) if gain.is_judged]))
    every = [next(corrected) if gain.is_judged else None for gain in gains]
    return tuple(
        replace(gain, corrected_p=p, verdict=verdict_of(gain.difference, p))
        for gain, p in zip(gains, every, strict=True)
    )
