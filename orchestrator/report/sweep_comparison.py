"""Compares two sweeps: which configurations differ, by how much, and in which settings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from orchestrator.base.errors import OutcomesError
from orchestrator.report.candidates import Configuration, candidates
from orchestrator.report.formatting import NO_NUMBER
from orchestrator.report.reading import SweepData
from orchestrator.report.sweep_pairing import (
    Difference,
    Pairing,
    RankedRuns,
    by_outcomes,
    by_values,
)
from orchestrator.spec.ablation import SEED
from orchestrator.spec.setting_schema import base_value
from orchestrator.statistics.comparison import Verdict
from orchestrator.statistics.crossed import Interval
from orchestrator.statistics.outcomes import kept_outcome, variant_runs
from orchestrator.statistics.table import LEVEL, holm, verdict_of
from orchestrator.study.outcomes import outcomes_of

_NOT_SAID = (None, "")
# Attributes of a sweep, beside its spec, that its numbers depend on.
_CIRCUMSTANCES = ("data_fingerprint", "code_version", "packages", "hardware")

Differing: TypeAlias = tuple[str, str, str]
"""Name of what differs, its value in this sweep, its value in the other."""


@dataclass(frozen=True)
class SweepComparison:
    """A configuration of this sweep against one of the other.

    Args:
        name: This sweep's configuration.
        other: The other sweep's configuration.
        means: Means of this sweep and the other, over the seeds that are compared.
        seeds: Seeds that are compared, of this sweep and the other.
        left_out: Seeds that only one side has, which pairing leaves out.
        same_trials: Number of runs with the same key in both: they are one result, not two.
        pairing: What the runs share.
        difference: This sweep's mean minus the other's.
        interval: 95 % interval of this difference alone; None with too few seeds or videos.
        p_value: P-value of this difference alone; None with too few seeds or videos, or without
            variation.
        corrected_p: P-value corrected over all comparisons of the two sweeps.
        verdict: Whether this sweep is shown to be better (`REAL`) or worse.
        remarks: What else the reader must know, a sentence each.
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
    differing: tuple[Differing, ...] = ()


@dataclass(frozen=True)
class ComparedSweeps:
    """Two sweeps against each other.

    Args:
        here: Name of this sweep.
        there: Name of the other.
        metric: The metric that is compared, the objective of this sweep.
        comparisons: Each configuration that has a counterpart.
        unmatched: Configurations without one, of this sweep and the other.
        differing: What differs between the sweeps, settings apart.
        problems: What could not be read or compared, a sentence each.
        under_paper: Which of the two are under `protocol: paper`.
    """

    here: str
    there: str
    metric: str
    comparisons: tuple[SweepComparison, ...]
    unmatched: tuple[tuple[str, ...], tuple[str, ...]]
    differing: tuple[Differing, ...]
    problems: tuple[str, ...]
    under_paper: tuple[str, ...] = ()


def compare_sweeps(here: SweepData, there: SweepData) -> ComparedSweeps:
    """Compare the `candidates` of two sweeps by the objective of the first."""
    own, others = candidates(here.spec, here.study), candidates(there.spec, there.study)
    pairs = counterparts(own, others)
    problems = [*_refusals(here, there, own, others), *there.problems]
    compared = [_compared(here, there, *pair, problems) for pair in pairs]
    comparisons = [comparison for comparison in compared if comparison is not None]
    return ComparedSweeps(
        here.spec.name,
        there.spec.name,
        here.spec.objective.metric,
        _judged(comparisons, here.study.direction),
        (
            _unmatched(own, [pair[0] for pair in pairs]),
            _unmatched(others, [pair[1] for pair in pairs]),
        ),
        differing(here, there),
        tuple(dict.fromkeys(problems)),
        tuple(data.spec.name for data in (here, there) if data.spec.protocol == "paper"),
    )


def counterparts(
    own: Sequence[Configuration], others: Sequence[Configuration]
) -> list[tuple[Configuration, Configuration]]:
    """Pairs to compare: those of the same name; a single one with all of the other sweep's."""
    by_name = {there.name: there for there in others}
    if same_name := [(here, by_name[here.name]) for here in own if here.name in by_name]:
        return same_name
    if len(own) == 1 or len(others) == 1:
        return [(here, there) for here in own for there in others]
    return []


def _unmatched(every: Sequence[Configuration], matched: Sequence[Configuration]) -> tuple[str, ...]:
    names = {configuration.name for configuration in matched}
    return tuple(each.name for each in every if each.name not in names)


def _refusals(
    here: SweepData,
    there: SweepData,
    own: Sequence[Configuration],
    others: Sequence[Configuration],
) -> list[str]:
    """Why the two sweeps, or some of their configurations, cannot be compared."""
    problems = [
        f"sweep {data.spec.name} has no complete trial to compare"
        for data, configurations in ((here, own), (there, others))
        if not configurations
    ]
    asked, chosen_by = here.spec.objective.metric, there.spec.objective.metric
    if asked != chosen_by:
        problems.append(f"epochs of {there.spec.name} were chosen by {chosen_by}, not by {asked}")
    if own and others and not counterparts(own, others):
        problems.append("the two sweeps have no row of the same name: nothing is compared")
    return problems


def _compared(
    here: SweepData,
    there: SweepData,
    own: Configuration,
    other: Configuration,
    problems: list[str],
) -> SweepComparison | None:
    """The comparison without its verdict; None if it cannot be made, and `problems` says why."""
    difference = _difference(here, there, own, other, problems)
    if difference is None:
        problems.append(
            f"{own.name} against {other.name}: ranks of queries are missing, and values of "
            "seeds cannot be compared across other data or another metric"
        )
        return None
    keys = {trial.key for trial in own.trials if trial.key}
    remarks = ((here.spec.name, own.remark), (there.spec.name, other.remark))
    return SweepComparison(
        name=own.name,
        other=other.name,
        means=difference.means,
        seeds=difference.seeds,
        left_out=difference.left_out,
        same_trials=sum(trial.key in keys for trial in other.trials),
        pairing=difference.pairing,
        difference=difference.estimate.mean,
        interval=difference.estimate.interval(LEVEL),
        p_value=difference.estimate.p_value(),
        remarks=tuple(f"{sweep}: {remark}" for sweep, remark in remarks if remark),
        differing=_settings(here, there, own, other),
    )


def _difference(
    here: SweepData,
    there: SweepData,
    own: Configuration,
    other: Configuration,
    problems: list[str],
) -> Difference | None:
    """By outcomes of queries if both sides have them, else by values if these are comparable."""
    same_data = is_same_data(here, there)
    ranked = ranked_runs(here, here, own, problems), ranked_runs(here, there, other, problems)
    if ranked[0] is not None and ranked[1] is not None:
        return by_outcomes(ranked[0], ranked[1], same_data=same_data)
    is_same_metric = here.spec.objective.metric == there.spec.objective.metric
    return by_values(own, other) if is_same_metric and same_data else None


def ranked_runs(
    asking: SweepData, data: SweepData, configuration: Configuration, problems: list[str]
) -> RankedRuns | None:
    """Outcomes of a configuration's runs, by the metric of `asking`; None if ranks are missing."""
    videos = data.videos
    if videos is None and is_same_data(asking, data):
        videos = asking.videos
    outcome = kept_outcome(asking.spec.objective.metric)
    if videos is None or outcome is None:
        return None
    outcomes = {}
    for trial in configuration.trials:
        try:
            found = outcomes_of(trial, outcome)
        except OutcomesError as error:
            problems.append(f"{data.spec.name}: {error}")
            continue
        if len(found) != videos.num_queries:
            problems.append(
                f"{data.spec.name}: trial {trial.number} ranked {len(found)} queries, the split "
                f"has {videos.num_queries}: the trial is left out"
            )
        elif trial.seed is not None:
            outcomes[trial.seed] = found
    if not outcomes:
        return None
    return RankedRuns(variant_runs(configuration.name, outcomes, videos), videos)


def is_same_data(here: SweepData, there: SweepData) -> bool:
    """Whether both were evaluated on the same queries of the same videos."""
    fingerprints = [data.attributes.get("data_fingerprint") for data in (here, there)]
    return fingerprints[0] == fingerprints[1] and fingerprints[0] not in _NOT_SAID


def _judged(comparisons: Sequence[SweepComparison], direction: str) -> tuple[SweepComparison, ...]:
    """The comparisons with verdicts, corrected over all of them."""
    sign = 1 if direction == "maximize" else -1
    corrected = holm([comparison.p_value for comparison in comparisons])
    return tuple(
        replace(comparison, corrected_p=p, verdict=verdict_of(sign * comparison.difference, p))
        for comparison, p in zip(comparisons, corrected, strict=True)
    )


def _settings(
    here: SweepData, there: SweepData, own: Configuration, other: Configuration
) -> tuple[Differing, ...]:
    """Settings that differ between two configurations, those of the sweeps included."""
    sides = (
        (here.spec, {**here.spec.settings, **own.trials[0].parameters}),
        (there.spec, {**there.spec.settings, **other.trials[0].parameters}),
    )
    paths = dict.fromkeys(path for _, values in sides for path in values if path != SEED)
    resolved = [
        {path: base_value(path, spec.preset, values) for path in paths} for spec, values in sides
    ]
    return _differing(*resolved)


def differing(here: SweepData, there: SweepData) -> tuple[Differing, ...]:
    """What differs between the sweeps, settings apart: objective, protocol, data, code."""
    return _differing(_described(here), _described(there))


def _described(data: SweepData) -> dict[str, Any]:
    spec = data.spec
    described: dict[str, Any] = {
        "protocol": spec.protocol,
        "objective": f"{spec.objective.direction} {spec.objective.metric}",
    }
    for name in _CIRCUMSTANCES:
        value = data.attributes.get(name)
        parts = value.items() if isinstance(value, dict) else ((None, value),)
        described |= {f"{name}.{key}" if key else name: part for key, part in parts}
    return described


def _differing(here: dict[str, Any], there: dict[str, Any]) -> tuple[Differing, ...]:
    names = dict.fromkeys((*here, *there))
    texts = [(name, _text(here.get(name)), _text(there.get(name))) for name in names]
    return tuple(text for text in texts if text[1] != text[2])


def _text(value: Any) -> str:  # noqa: ANN401
    return NO_NUMBER if value in _NOT_SAID else str(value)
