"""Trials of one budget: what all of them had reached by the same epoch.

A trial that was ended early has a lower value than it would have had, so values of different
budgets say more about the pruner than about the parameters. At a rung all that came so far are
comparable. Later rungs speak of the budget that matters, but of fewer trials, and only of those
that the pruner let through.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.reader import StudyReader
from orchestrator.study.trial import TrialState, TrialSummary


@dataclass(frozen=True)
class BudgetTrials:
    """Trials at a budget.

    Args:
        epochs: The budget.
        full: Epochs of a trial that is not ended early.
        trials: Trials of the search that reached it, by number.
        values: Best objective of each within the budget.
        ended_before: Trials that ended before it, failed ones included.
    """

    epochs: int
    full: int
    trials: tuple[TrialSummary, ...]
    values: tuple[float, ...]
    ended_before: int

    @property
    def statement(self) -> str:
        """Which trials these are, as part of a sentence."""
        what = f"{len(self.trials)} trials by their first {self.epochs} of {self.full} epochs"
        if self.epochs == self.full:
            what = f"{len(self.trials)} trials of {self.full} epochs"
        return what + f" ({self.ended_before} ended before)" * bool(self.ended_before)


def rungs(spec: SweepSpec) -> tuple[int, ...]:
    """Epochs at which trials are judged, the full budget last."""
    stopping = spec.early_stopping
    full = spec.max_epochs
    if stopping.method == "none":
        return (full,)
    if stopping.method == "median":
        # It judges at every epoch; what is sure of all trials is the first.
        return tuple(sorted({min(stopping.first_rung, full), full}))
    below = []
    rung = stopping.first_rung
    while rung < full:
        below.append(rung)
        rung *= stopping.reduction
    return (*below, full)


def trials_at(spec: SweepSpec, study: StudyReader, epochs: int) -> BudgetTrials:
    """Trials of the search that reached a budget, with what each had by then.

    One that ended by its own patience, or by all its epochs, is complete: more budget would not
    have changed it, so it counts at every budget.
    """
    searched = [one for one in study.summaries() if one.confirms is None]
    reached = [(one, value) for one in searched for value in _value_at(study, one, epochs)]
    ended = {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED}
    kept = {one.number for one, _ in reached}
    return BudgetTrials(
        epochs=epochs,
        full=spec.max_epochs,
        trials=tuple(one for one, _ in reached),
        values=tuple(value for _, value in reached),
        ended_before=sum(one.state in ended and one.number not in kept for one in searched),
    )


def largest_budget(spec: SweepSpec, study: StudyReader, least: int) -> BudgetTrials:
    """The largest budget that so many trials reached; where none has them, the one with most."""
    found = [trials_at(spec, study, epochs) for epochs in reversed(rungs(spec))]
    enough = (one for one in found if len(one.trials) >= least)
    return next(enough, max(found, key=lambda one: len(one.trials)))


def _value_at(study: StudyReader, trial: TrialSummary, epochs: int) -> Iterator[float]:
    """The best objective within a budget; nothing where the trial failed or did not reach it."""
    has_reached = trial.epochs >= epochs or trial.state is TrialState.COMPLETE
    if trial.state is TrialState.FAILED or not has_reached:
        return
    values = [row.objective for row in study.rows(trial.number) if row.epoch <= epochs]
    if values:
        yield max(values) if study.direction == "maximize" else min(values)
