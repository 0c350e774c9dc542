"""Two sweeps against each other: paired where seeds and split allow, else unpaired, and said so."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np

from orchestrator.base.errors import OutcomesError
from orchestrator.report.candidates import Configuration, candidates
from orchestrator.report.reading import SweepData
from orchestrator.spec.ablation import SEED
from orchestrator.spec.setting_schema import base_value
from orchestrator.statistics.comparison import Verdict
from orchestrator.statistics.crossed import CrossedMean, Interval, crossed_mean
from orchestrator.statistics.outcomes import (
    VariantRuns,
    VideosOfQueries,
    depths_of,
    recall_outcomes,
    variant_runs,
)
from orchestrator.statistics.table import LEVEL, holm
from orchestrator.statistics.unpaired import (
    UnpairedDifference,
    of_other_videos,
    of_same_videos,
    of_values,
)
from orchestrator.study.outcomes import ranks_of
from orchestrator.study.trial import TrialSummary

_NOT_SAID = (None, "")
# Attributes of a sweep that make its numbers another's, beside the spec.
_CIRCUMSTANCES = ("data_fingerprint", "code_version", "packages", "hardware")


Difference: TypeAlias = tuple[str, str, str]
"""Name of what differs, its value here, its value there."""


class Pairing(StrEnum):
    """What the runs of two configurations share."""

    SEEDS_AND_VIDEOS = "paired by seed and video"
    VIDEOS = "unpaired seeds, same videos"
    NOTHING = "unpaired, other videos"
    SEEDS = "paired by seed, videos not known"
    VALUES = "unpaired seeds, videos not known"


@dataclass(frozen=True)
class SweepComparison:
    """A configuration of this sweep against one of the other.

    Args:
        name: The configuration here.
        other: The configuration there.
        means: Mean here and there, over the seeds that are compared.
        seeds: Seeds that are compared, here and there.
        left_out: Seeds that count for nothing, since only one side has them.
        same_trials: Runs that have the same key in both: they are one result, not two.
        pairing: What the runs share.
        difference: Here minus there.
        interval: Of this difference alone, at 95 %; None: it cannot be had.
        p_value: Of this difference alone; None: it cannot be had.
        corrected_p: Corrected over all comparisons of the two sweeps.
        verdict: Whether this sweep is shown to be better (`REAL`) or worse.
        remarks: What else is to be known, a sentence each.
        differing: Settings in which the two differ, the seed apart.
    """

    name: str
    other: str
    means: tuple[float, float]
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    left_out: tuple[int, ...]
    same_trials: int
    pairing: Pairing
    difference: float
    interval: Interval | None
    p_value: float | None
    corrected_p: float | None = None
    verdict: Verdict = Verdict.NOT_SHOWN
    remarks: tuple[str, ...] = ()
    differing: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class ComparedSweeps:
    """Two sweeps against each other.

    Args:
        here: Name of this sweep.
        there: Name of the other.
        metric: What is compared, of this sweep.
        comparisons: Each configuration that has a counterpart.
        unmatched: Configurations without one, here and there.
        differing: What was used otherwise, settings apart.
        problems: What could not be read or compared, a sentence each.
        under_paper: Which of the two are under `protocol: paper`.
    """

    here: str
    there: str
    metric: str
    comparisons: tuple[SweepComparison, ...]
    unmatched: tuple[tuple[str, ...], tuple[str, ...]]
    differing: tuple[Difference, ...]
    problems: tuple[str, ...]
    under_paper: tuple[str, ...] = ()


def compare_sweeps(here: SweepData, there: SweepData) -> ComparedSweeps:
    """Compare what two sweeps put forward, in the objective of the first."""
    own, others = candidates(here.spec, here.study), candidates(there.spec, there.study)
    pairs = counterparts(own, others)
    problems = [*_refusals(here, there, own, others, pairs), *there.problems]
    compared = [_compared(here, there, *pair, problems) for pair in pairs]
    found = [one for one in compared if one is not None]
    return ComparedSweeps(
        here.spec.name,
        there.spec.name,
        here.spec.objective.metric,
        _judged(found, here.study.direction),
        (_without(own, [one for one, _ in pairs]), _without(others, [one for _, one in pairs])),
        differing(here, there),
        tuple(dict.fromkeys(problems)),
        tuple(one.spec.name for one in (here, there) if one.spec.protocol == "paper"),
    )


def counterparts(
    own: Sequence[Configuration], others: Sequence[Configuration]
) -> list[tuple[Configuration, Configuration]]:
    """Which is compared with which: those of one name; a single one with all of the other sweep."""
    by_name = {one.name: one for one in others}
    if shared := [(one, by_name[one.name]) for one in own if one.name in by_name]:
        return shared
    if len(own) == 1 or len(others) == 1:
        return [(one, other) for one in own for other in others]
    return []


def _without(all_of: Sequence[Configuration], matched: Sequence[Configuration]) -> tuple[str, ...]:
    names = {one.name for one in matched}
    return tuple(one.name for one in all_of if one.name not in names)


def _refusals(
    here: SweepData,
    there: SweepData,
    own: Sequence[Configuration],
    others: Sequence[Configuration],
    pairs: Sequence[object],
) -> list[str]:
    missing = [
        f"sweep {data.spec.name} has no complete trial to compare"
        for data, some in ((here, own), (there, others))
        if not some
    ]
    one, other = here.spec.objective.metric, there.spec.objective.metric
    if one != other:
        missing.append(f"epochs of {there.spec.name} were chosen by {other}, not by {one}")
    if own and others and not pairs:
        missing.append("the two sweeps have no row of one name: nothing is compared")
    return missing


@dataclass(frozen=True)
class _Side:
    """Runs of a configuration with their outcomes, and the videos these are of."""

    runs: VariantRuns
    videos: VideosOfQueries


def _compared(
    here: SweepData, there: SweepData, one: Configuration, other: Configuration, problems: list[str]
) -> SweepComparison | None:
    own = _side(here, here, one, problems)
    found = _found(here, there, (one, other), (own, _side(here, there, other, problems)))
    if found is None:
        problems.append(
            f"{one.name} against {other.name}: outcomes of queries are missing, and values of "
            "seeds say nothing across other data or another metric"
        )
        return None
    keys = {trial.key for trial in one.trials if trial.key}
    return replace(
        found,
        name=one.name,
        other=other.name,
        same_trials=sum(trial.key in keys for trial in other.trials),
        remarks=tuple(_remarks(here, there, one, other)),
        differing=_parameters(here, there, one, other),
    )


def _found(
    here: SweepData,
    there: SweepData,
    pair: tuple[Configuration, Configuration],
    sides: tuple["_Side | None", "_Side | None"],
) -> SweepComparison | None:
    """By outcomes of queries where both have them, else by values if these mean the same."""
    one, other = sides
    if one is not None and other is not None:
        return _of_outcomes(one, other, is_same_data(here, there))
    is_same_metric = here.spec.objective.metric == there.spec.objective.metric
    return _of_values(*pair) if is_same_metric and is_same_data(here, there) else None


def _parameters(
    here: SweepData, there: SweepData, one: Configuration, other: Configuration
) -> tuple[Difference, ...]:
    """Settings that differ between two configurations, those of the sweeps included."""
    sides = (
        (here.spec, {**here.spec.settings, **one.trials[0].parameters}),
        (there.spec, {**there.spec.settings, **other.trials[0].parameters}),
    )
    paths = dict.fromkeys(path for _, values in sides for path in values if path != SEED)
    here_said, there_said = (
        {path: _said(base_value(path, spec.preset, values)) for path in paths}
        for spec, values in sides
    )
    resolved = [(path, here_said[path], there_said[path]) for path in paths]
    return tuple(each for each in resolved if each[1] != each[2])


def _remarks(
    here: SweepData, there: SweepData, one: Configuration, other: Configuration
) -> list[str]:
    sides = ((here.spec.name, one.remark), (there.spec.name, other.remark))
    return [f"{name}: {text}" for name, text in sides if text]


def is_same_data(here: SweepData, there: SweepData) -> bool:
    """Whether both were evaluated on the same queries of the same videos."""
    prints = [one.attributes.get("data_fingerprint") for one in (here, there)]
    return prints[0] == prints[1] and prints[0] not in _NOT_SAID


def _side(
    asking: SweepData, data: SweepData, one: Configuration, problems: list[str]
) -> _Side | None:
    """Outcomes of a configuration's runs; None: they are not kept, or not here."""
    videos = data.videos
    if videos is None and is_same_data(asking, data):
        videos = asking.videos
    depths = depths_of(asking.spec.objective.metric)
    if videos is None or depths is None:
        return None
    outcomes = {}
    for trial in one.trials:
        try:
            ranks = ranks_of(trial)
        except OutcomesError as error:
            problems.append(f"{data.spec.name}: {error}")
            continue
        if len(ranks) != videos.num_queries:
            problems.append(
                f"{data.spec.name}: trial {trial.number} ranked {len(ranks)} queries, the split "
                f"has {videos.num_queries}: it counts for nothing"
            )
        elif trial.seed is not None:
            outcomes[trial.seed] = recall_outcomes(ranks, depths)
    return _Side(variant_runs(one.name, outcomes, videos), videos) if outcomes else None


def shared_seeds(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """Seeds to pair by; none where pairing would leave out more than half of the smaller side.

    The rule looks at seeds only, never at values, so that it favours no answer.
    """
    shared = tuple(seed for seed in one if seed in other)
    enough = len(shared) >= 2 and 2 * len(shared) >= min(len(one), len(other))
    return shared if enough else ()


def _of_outcomes(one: _Side, other: _Side, is_same: bool) -> SweepComparison:
    counts = one.videos.counts
    shared = shared_seeds(one.runs.seeds, other.runs.seeds) if is_same else ()
    if shared:
        totals = one.runs.of_seeds(shared), other.runs.of_seeds(shared)
        found = crossed_mean(totals[0] - totals[1], counts)
        means = tuple(crossed_mean(each, counts).mean for each in totals)
        left = tuple(sorted(set(one.runs.seeds) ^ set(other.runs.seeds)))
        return _made(found, means, (shared, shared), left, Pairing.SEEDS_AND_VIDEOS)
    alone = (
        crossed_mean(one.runs.totals, counts),
        crossed_mean(other.runs.totals, other.videos.counts),
    )
    apart = (
        of_same_videos(one.runs.totals, other.runs.totals, counts, alone)
        if is_same
        else of_other_videos(*alone)
    )
    pairing = Pairing.VIDEOS if is_same else Pairing.NOTHING
    means = (alone[0].mean, alone[1].mean)
    return _made(apart, means, (one.runs.seeds, other.runs.seeds), (), pairing)


def _of_values(one: Configuration, other: Configuration) -> SweepComparison:
    """By the best value of each seed alone, which speaks of new seeds only."""
    values = _by_seed(one.trials), _by_seed(other.trials)
    shared = shared_seeds(one.seeds, other.seeds)
    if shared:
        paired = [np.array([each[seed] for seed in shared]) for each in values]
        found = _of_differences(paired[0] - paired[1])
        means = (float(paired[0].mean()), float(paired[1].mean()))
        left = tuple(sorted(set(one.seeds) ^ set(other.seeds)))
        return _made(found, means, (shared, shared), left, Pairing.SEEDS)
    apart = [np.array(list(each.values())) for each in values]
    means = (float(apart[0].mean()), float(apart[1].mean()))
    return _made(of_values(*apart), means, (one.seeds, other.seeds), (), Pairing.VALUES)


def _by_seed(trials: Sequence[TrialSummary]) -> dict[int, float]:
    return {one.seed: one.value for one in trials if one.seed is not None and one.value is not None}


def _of_differences(differences: np.ndarray) -> CrossedMean:
    # Two videos without variance: the law is then Student's over the seeds.
    return CrossedMean(
        float(differences.mean()), float(differences.var(ddof=1)), 0.0, len(differences), 2
    )


def _made(
    found: CrossedMean | UnpairedDifference,
    means: Sequence[float],
    seeds: tuple[tuple[int, ...], tuple[int, ...]],
    left_out: tuple[int, ...],
    pairing: Pairing,
) -> SweepComparison:
    return SweepComparison(
        name="",
        other="",
        means=(means[0], means[1]),
        seeds=seeds,
        left_out=left_out,
        same_trials=0,
        pairing=pairing,
        difference=found.mean,
        interval=found.interval(LEVEL),
        p_value=found.p_value(),
    )


def _judged(found: Sequence[SweepComparison], direction: str) -> tuple[SweepComparison, ...]:
    sign = 1 if direction == "maximize" else -1
    corrected = holm([one.p_value for one in found])
    return tuple(
        replace(one, corrected_p=p, verdict=_verdict(sign * one.difference, p))
        for one, p in zip(found, corrected, strict=True)
    )


def _verdict(gain: float, corrected_p: float | None) -> Verdict:
    if corrected_p is None or corrected_p > LEVEL:
        return Verdict.NOT_SHOWN
    return Verdict.REAL if gain > 0 else Verdict.WORSE


def differing(here: SweepData, there: SweepData) -> tuple[Difference, ...]:
    """What the two sweeps used otherwise, settings apart: objective, protocol, data, code."""
    sides = _described(here), _described(there)
    names = dict.fromkeys((*sides[0], *sides[1]))
    texts = [(name, _said(sides[0].get(name)), _said(sides[1].get(name))) for name in names]
    return tuple(one for one in texts if one[1] != one[2])


def _described(data: SweepData) -> dict[str, Any]:
    spec = data.spec
    described: dict[str, Any] = {
        "protocol": spec.protocol,
        "objective": f"{spec.objective.direction} {spec.objective.metric}",
    }
    for name in _CIRCUMSTANCES:
        value = data.attributes.get(name)
        parts = value.items() if isinstance(value, dict) else ((None, value),)
        described |= {f"{name}.{key}" if key else name: one for key, one in parts}
    return described


def _said(value: Any) -> str:  # noqa: ANN401
    return "–" if value in _NOT_SAID else str(value)  # noqa: RUF001
