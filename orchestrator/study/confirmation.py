"""Runs a search's best trials again on fresh seeds: a winner's first value is optimistic."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from orchestrator.spec.ablation import SEED
from orchestrator.spec.sweep_spec import SweepSpec, fresh_seeds
from orchestrator.statistics.ranking import by_mean
from orchestrator.study.planned_trials import PlannedTrial, TrialPlan
from orchestrator.study.reader import StudyReader
from orchestrator.study.trial import TrialState, TrialSummary


@dataclass(frozen=True)
class Confirmed:
    """A configuration and its fresh runs.

    Args:
        searched: The trial of the search that found it.
        runs: Complete runs on fresh seeds, by number; one or more.
    """

    searched: TrialSummary
    runs: tuple[TrialSummary, ...]

    @property
    def values(self) -> tuple[float, ...]:
        """Best validation value of each fresh run."""
        return tuple(run.value for run in self.runs if run.value is not None)

    @property
    def mean(self) -> float:
        """Mean of the fresh runs: no seed was chosen by its value, but each best epoch was."""
        return fmean(self.values)

    @property
    def standard_deviation(self) -> float | None:
        """Standard deviation of the fresh runs; None for a single one."""
        return stdev(self.values) if len(self.values) > 1 else None


def confirmations(spec: SweepSpec, study: StudyReader) -> list[PlannedTrial]:
    """The best trials of the search, planned again seed by seed, like the rows of an ablation."""
    if spec.confirm is None:
        return []
    best = searched_best(study)[: spec.confirm.top]
    return [
        PlannedTrial({**trial.parameters, SEED: seed}, block=block, confirms=trial.number)
        for block, seed in enumerate(fresh_seeds(spec))
        for trial in best
    ]


def confirmed_configurations(study: StudyReader) -> dict[str, dict[str, Any]]:
    """Parameters of the configurations that a search ran again, the search's best first.

    Keys are names that they have as rows of a table. Empty before the confirmation is planned.
    """
    planned = TrialPlan.of(study.attributes).trials.values()
    return {
        row_name(trial.confirms): {
            path: value for path, value in trial.parameters.items() if path != SEED
        }
        for trial in planned
        if trial.confirms is not None
    }


def row_name(number: int) -> str:
    """Name of a confirmed trial's configuration as a row of a table."""
    return f"trial {number}"


def searched_best(study: StudyReader) -> tuple[TrialSummary, ...]:
    """Complete trials that the search itself made, best first."""
    return tuple(trial for trial in study.best(study.num_asked()) if trial.confirms is None)


def confirmed_trials(study: StudyReader) -> tuple[Confirmed, ...]:
    """Configurations with complete fresh runs, the best first (`by_mean`).

    A run that exceeds a measured limit does not count.
    """
    trials, goals = {trial.number: trial for trial in study.summaries()}, study.goals
    runs = _fresh_runs(trial for trial in trials.values() if goals.is_feasible(trial))
    groups = _by_mean(study, runs.values())
    return tuple(Confirmed(trials[group[0].confirms or 0], tuple(group)) for group in groups)


def _fresh_runs(trials: Iterable[TrialSummary]) -> dict[int, list[TrialSummary]]:
    runs: defaultdict[int, list[TrialSummary]] = defaultdict(list)
    for trial in trials:
        if trial.confirms is not None and _is_complete(trial):
            runs[trial.confirms].append(trial)
    return dict(runs)


def crowned(study: StudyReader, count: int) -> tuple[TrialSummary, ...]:
    """The best trials of a sweep, best first.

    Confirmed configurations, and the rows of an ablation, are ordered by their mean over seeds
    (`by_mean`). Each is represented by its best run, whose checkpoint can be registered.
    """
    groups: Sequence[Sequence[TrialSummary]]
    groups = [found.runs for found in confirmed_trials(study)] or _rows_by_mean(study)
    if not groups:
        return study.best(count)
    sign = 1 if study.direction == "maximize" else -1
    return tuple(max(group, key=lambda run: sign * (run.value or 0.0)) for group in groups[:count])


def _rows_by_mean(study: StudyReader) -> list[Sequence[TrialSummary]]:
    """Complete runs of each row of an ablation, the best row first; empty for a search."""
    runs: defaultdict[str, list[TrialSummary]] = defaultdict(list)
    for trial in study.summaries():
        if trial.variant is not None and _is_complete(trial):
            runs[trial.variant].append(trial)
    return _by_mean(study, runs.values())


def _by_mean(
    study: StudyReader, groups: Iterable[Sequence[TrialSummary]]
) -> list[Sequence[TrialSummary]]:
    return by_mean(groups, lambda run: run.value or 0.0, maximize=study.direction == "maximize")


def _is_complete(trial: TrialSummary) -> bool:
    return trial.state is TrialState.COMPLETE and trial.value is not None
