"""Trials of one budget: what each of them had reached by the same epoch.

A trial that was stopped early has a lower value than it could have reached, so values of different
budgets say more about the pruner than about the parameters. At a rung, all trials that reached it
can be compared. Later rungs are nearer to the full budget, but have fewer trials, and only those
that the pruner let through.
"""

from dataclasses import dataclass

from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.reader import StudyReader
from orchestrator.study.trial import TrialState, TrialSummary


@dataclass(frozen=True)
class BudgetTrials:
    """Trials at a budget.

    Args:
        epochs: The budget.
        full: Epochs of a trial that is not stopped early.
        trials: Trials of the search that reached it, by number.
        values: Best objective of each within the budget.
        ended_before: Number of trials that ended before the budget, failed ones included.
    """

    epochs: int
    full: int
    trials: tuple[TrialSummary, ...]
    values: tuple[float, ...]
    ended_before: int

    @property
    def statement(self) -> str:
        """Which trials these are, as part of a sentence."""
        trials = f"{len(self.trials)} trial{'s' * (len(self.trials) != 1)}"
        text = f"{trials} by their first {self.epochs} of {self.full} epochs"
        if self.epochs == self.full:
            text = f"{trials} of {self.full} epochs"
        return f"{text} ({self.ended_before} ended before)" if self.ended_before else text


def rungs(spec: SweepSpec) -> tuple[int, ...]:
    """Epochs at which trials are judged, the full budget last."""
    stopping = spec.early_stopping
    full = spec.max_epochs
    if stopping.method == "none":
        return (full,)
    if stopping.method == "median":
        # It judges at every epoch from the first rung on, which every trial reaches.
        return tuple(sorted({min(stopping.first_rung, full), full}))
    below = []
    rung = stopping.first_rung
    while rung < full:
        below.append(rung)
        rung *= stopping.reduction
    return (*below, full)


def trials_at(spec: SweepSpec, study: StudyReader, epochs: int) -> BudgetTrials:
    """Trials of the search that reached a budget, with the best objective of each within it.

    A trial that ended by its own patience, or by all its epochs, is complete: more budget would not
    have changed it, so it counts at every budget.
    """
    # One that exceeds a limit was never to be trained.
    trained = (trial for trial in study.summaries() if trial.over_limit is None)
    searched = [trial for trial in trained if trial.confirms is None]
    pairs = [(trial, _value_at(study, trial, epochs)) for trial in searched]
    reached = [(trial, value) for trial, value in pairs if value is not None]
    num_ended = sum(
        value is None and trial.state is not TrialState.RUNNING for trial, value in pairs
    )
    return BudgetTrials(
        epochs=epochs,
        full=spec.max_epochs,
        trials=tuple(trial for trial, _ in reached),
        values=tuple(value for _, value in reached),
        ended_before=num_ended,
    )


def largest_budget(spec: SweepSpec, study: StudyReader, least: int) -> BudgetTrials:
    """The largest budget that at least `least` trials reached; else the one with most trials."""
    budgets = [trials_at(spec, study, epochs) for epochs in reversed(rungs(spec))]
    enough = (budget for budget in budgets if len(budget.trials) >= least)
    return next(enough, max(budgets, key=lambda budget: len(budget.trials)))


def _value_at(study: StudyReader, trial: TrialSummary, epochs: int) -> float | None:
    """The best objective within a budget; None if the trial failed or did not reach it."""
    has_reached = trial.epochs >= epochs or trial.state is TrialState.COMPLETE
    if trial.state is TrialState.FAILED or not has_reached:
        return None
    values = [row.objective for row in study.rows(trial.number) if row.epoch <= epochs]
    best = max if study.direction == "maximize" else min
    return best(values, default=None)
