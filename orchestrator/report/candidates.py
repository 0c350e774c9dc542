"""What a sweep puts forward to be compared with another: rows, the confirmed best, or the best."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.spec.ablation import SEED
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.confirmation import confirmed_trials, searched_best
from orchestrator.study.reader import StudyReader
from orchestrator.study.trial import TrialState, TrialSummary

BEST = "the best"


@dataclass(frozen=True)
class Configuration:
    """A configuration and its runs.

    Args:
        name: Name of an ablation's row; `BEST` for what a search found.
        trials: Its complete runs, one for each seed.
        remark: What its value is worth by the way it was chosen; empty: it was not chosen.
    """

    name: str
    trials: tuple[TrialSummary, ...]
    remark: str = ""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seed of each run."""
        return tuple(one.seed for one in self.trials if one.seed is not None)


def candidates(spec: SweepSpec, study: StudyReader) -> tuple[Configuration, ...]:
    """Configurations of a sweep that have complete runs.

    Of an ablation every row; of a search that varies nothing but the seed all its trials; of any
    other the best, by its fresh runs where there are some.
    """
    if spec.rows:
        rows = (Configuration(one.name, _runs_of_row(study, one.name)) for one in spec.rows)
        return tuple(one for one in rows if one.trials)
    searched = _one_a_seed(searched_best(study))
    if not searched:
        return ()
    if set(spec.space) == {SEED}:
        return (Configuration(BEST, tuple(sorted(searched, key=lambda one: one.number))),)
    return (_chosen(study),)


def _chosen(study: StudyReader) -> Configuration:
    searched = searched_best(study)
    confirmed = confirmed_trials(study)
    if confirmed:
        best = confirmed[0]
        remark = f"trial {best.searched.number}, by {len(best.runs)} runs on fresh seeds"
        if len(confirmed) > 1:
            remark += f", the best of {len(confirmed)} that had such runs, which flatters it a bit"
        return Configuration(BEST, _one_a_seed(best.runs), remark)
    remark = (
        f"trial {searched[0].number}, the best of {len(searched)} on the videos that it is read "
        "on: too high by the choice"
    )
    return Configuration(BEST, searched[:1], remark)


def _runs_of_row(study: StudyReader, name: str) -> tuple[TrialSummary, ...]:
    trials = (one for one in study.summaries() if one.variant == name)
    return _one_a_seed(one for one in trials if one.state is TrialState.COMPLETE)


def _one_a_seed(trials: Iterable[TrialSummary]) -> tuple[TrialSummary, ...]:
    """The first run of every seed, as a table takes one of each."""
    first: dict[int, TrialSummary] = {}
    for one in trials:
        if one.seed is not None and one.value is not None:
            first.setdefault(one.seed, one)
    return tuple(first.values())
