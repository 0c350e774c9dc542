"""Configurations that a sweep is compared by: its rows, the confirmed best, or the best."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.spec.ablation import SEED
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.confirmation import confirmed_trials, searched_best
from orchestrator.study.reader import StudyReader
from orchestrator.study.trial import TrialState, TrialSummary

BEST = "the best"
KNEE = "the knee"
"""Names of what a search found, by how it was chosen."""


@dataclass(frozen=True)
class Configuration:
    """A configuration and its runs.

    Args:
        name: Name of an ablation's row; `BEST` for what a search found.
        trials: Its complete runs, one for each seed.
        remark: Why its value is too high; empty if the configuration was not chosen by that value.
    """

    name: str
    trials: tuple[TrialSummary, ...]
    remark: str = ""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seed of each run."""
        return tuple(trial.seed for trial in self.trials if trial.seed is not None)


def found_name(study: StudyReader) -> str:
    """Name of what a search found: `BEST` or `KNEE`."""
    return KNEE if study.goals.crown == "knee" else BEST


def candidates(spec: SweepSpec, study: StudyReader) -> tuple[Configuration, ...]:
    """Configurations of a sweep that have complete runs.

    Every row of an ablation; all trials together of a search that varies only the seed; the best
    of any other search, with its fresh runs if there are some.
    """
    if spec.rows:
        rows = (Configuration(row.name, _runs_of_row(study, row.name)) for row in spec.rows)
        return tuple(row for row in rows if row.trials)
    searched = _one_per_seed(searched_best(study))
    if not searched:
        return ()
    if set(spec.space) == {SEED}:
        return (Configuration(BEST, tuple(sorted(searched, key=lambda trial: trial.number))),)
    return (_chosen(study),)


def _runs_of_row(study: StudyReader, row: str) -> tuple[TrialSummary, ...]:
    trials = (trial for trial in study.summaries() if trial.variant == row)
    return _one_per_seed(trial for trial in trials if trial.state is TrialState.COMPLETE)


def _one_per_seed(trials: Iterable[TrialSummary]) -> tuple[TrialSummary, ...]:
    """The first run of every seed, since a table takes one of each."""
    first: dict[int, TrialSummary] = {}
    for trial in trials:
        if trial.seed is not None and trial.value is not None:
            first.setdefault(trial.seed, trial)
    return tuple(first.values())


def _chosen(study: StudyReader) -> Configuration:
    """The best of a search."""
    searched = searched_best(study)
    confirmed = confirmed_trials(study)
    if confirmed:
        best = confirmed[0]
        remark = f"trial {best.searched.number}, by {len(best.runs)} runs on fresh seeds"
        if len(confirmed) > 1:
            remark += (
                f", the best of {len(confirmed)} that had such runs, so its value is a bit too high"
            )
        return Configuration(BEST, _one_per_seed(best.runs), remark)
    why = study.goals.reason(len(study.front())) if study.goals else f"the best of {len(searched)}"
    remark = (
        f"trial {searched[0].number}, {why}, chosen on the same videos that "
        "its value is read on: the value is too high"
    )
    return Configuration(BEST, searched[:1], remark)
