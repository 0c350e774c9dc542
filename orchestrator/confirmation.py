"""The best of a search, run again on fresh seeds: the first value of a winner is optimistic."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev

from orchestrator.ablation_section import SEED
from orchestrator.planned_trials import PlannedTrial
from orchestrator.study import StudyReader
from orchestrator.sweep_spec import SweepSpec
from orchestrator.trial import TrialState, TrialSummary


@dataclass(frozen=True)
class Confirmed:
    """A configuration and its fresh runs.

    Args:
        searched: The trial by which the search found it.
        runs: Complete runs on fresh seeds, by number; one or more.
    """

    searched: TrialSummary
    runs: tuple[TrialSummary, ...]

    @property
    def values(self) -> tuple[float, ...]:
        """Best validation value of each fresh run."""
        return tuple(one.value for one in self.runs if one.value is not None)

    @property
    def mean(self) -> float:
        """Mean of the fresh runs: no search chose it, so it is not too high by the choice."""
        return fmean(self.values)

    @property
    def standard_deviation(self) -> float | None:
        """Between the fresh runs; None for a single one."""
        return stdev(self.values) if len(self.values) > 1 else None


def fresh_seeds(spec: SweepSpec) -> tuple[int, ...]:
    """Seeds of the confirmation, none of them the search's."""
    if spec.confirm is None:
        return ()
    (used,) = spec.setting_values(SEED)
    return tuple(range(used + 1, used + 1 + spec.confirm.seeds))


def confirmations(spec: SweepSpec, study: StudyReader) -> list[PlannedTrial]:
    """The best trials of the search, to be run again; seed by seed, as a table's rows are."""
    if spec.confirm is None:
        return []
    best = searched_best(study)[: spec.confirm.top]
    return [
        PlannedTrial({**one.parameters, SEED: seed}, block=block, confirms=one.number)
        for block, seed in enumerate(fresh_seeds(spec))
        for one in best
    ]


def searched_best(study: StudyReader) -> tuple[TrialSummary, ...]:
    """Complete trials that the search itself made, best first."""
    return tuple(one for one in study.best(study.num_asked()) if one.confirms is None)


def confirmed_trials(study: StudyReader) -> tuple[Confirmed, ...]:
    """Configurations with fresh runs, the best mean of these first; none before there are any."""
    trials = {one.number: one for one in study.summaries()}
    runs = _fresh_runs(trials.values())
    found = [Confirmed(trials[number], tuple(some)) for number, some in runs.items()]
    sign = -1 if study.direction == "maximize" else 1
    return tuple(sorted(found, key=lambda one: (sign * one.mean, one.searched.number)))


def _fresh_runs(trials: Iterable[TrialSummary]) -> dict[int, list[TrialSummary]]:
    runs: defaultdict[int, list[TrialSummary]] = defaultdict(list)
    for one in trials:
        if one.confirms is not None and one.state is TrialState.COMPLETE and one.value is not None:
            runs[one.confirms].append(one)
    return dict(runs)


def crowned(study: StudyReader, count: int) -> tuple[TrialSummary, ...]:
    """The best trials of a sweep, best first; after a confirmation, those that stood it.

    A confirmed configuration stands for itself by the best of its fresh runs, whose checkpoint is
    what can be registered; their order is that of the means.
    """
    confirmed = confirmed_trials(study)
    if not confirmed:
        return study.best(count)
    sign = 1 if study.direction == "maximize" else -1
    return tuple(max(one.runs, key=lambda run: sign * (run.value or 0.0)) for one in confirmed)[
        :count
    ]
