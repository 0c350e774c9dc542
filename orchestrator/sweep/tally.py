"""Counts what the progress of a sweep shows, on a terminal and in a log."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from orchestrator.base.text import duration_text
from orchestrator.study.trial import FailureCause, TrialState, TrialSummary


@dataclass
class Tally:
    """How far a sweep is.

    Args:
        clock: Monotonic time in seconds.
        num_trials: Trials that are wanted in all.
        max_epochs: Epochs of a trial at most.
        maximize: Whether larger values are better.
        ended: Number of trials that ended in each state.
        running: Last epoch of each running trial.
        best: Best value so far, and its trial.
        begun_s: When the first trial of this driver began.
        unfinished: Epochs of trials that an earlier driver began, until they continue.
        done_before: Of `num_done`, what earlier drivers did; it took none of this driver's time.
    """

    clock: Callable[[], float] = time.monotonic
    num_trials: int = 0
    max_epochs: int = 1
    maximize: bool = True
    ended: dict[TrialState, int] = field(default_factory=lambda: dict.fromkeys(TrialState, 0))
    running: dict[int, int] = field(default_factory=dict)
    best: tuple[float, int] | None = None
    begun_s: float | None = None
    unfinished: dict[int, int] = field(default_factory=dict)
    done_before: float = 0.0

    def resumed(self, trials: Iterable[TrialSummary]) -> None:
        """The sweep goes on after these trials of earlier drivers."""
        for trial in trials:
            if trial.state is TrialState.RUNNING:
                self.unfinished[trial.number] = trial.epochs
            else:
                self.ended[trial.state] += 1
            if trial.value is not None:
                self._note(trial.number, trial.value)
        self.done_before = float(self.num_ended)

    def started(self, number: int) -> None:
        """A trial begins or continues; time counts from the first one."""
        if self.begun_s is None:
            self.begun_s = self.clock()
        self.running[number] = self.unfinished.pop(number, 0)
        self.done_before += self.running[number] / self.max_epochs

    def epoch(self, number: int, epoch: int, value: float) -> None:
        """A trial completed an epoch."""
        self.running[number] = epoch
        self._note(number, value)

    def finished(self, number: int, state: TrialState) -> None:
        """A trial has ended."""
        self.running.pop(number, None)
        self.ended[state] += 1

    def _note(self, number: int, value: float) -> None:
        if self.best is None or self.is_better(value, self.best[0]):
            self.best = (value, number)

    def is_better(self, value: float, than: float) -> bool:
        """Whether one value beats another."""
        return value > than if self.maximize else value < than

    @property
    def num_ended(self) -> int:
        """Trials that have ended."""
        return sum(self.ended.values())

    @property
    def num_done(self) -> float:
        """Trials that have ended, and the parts of running ones that are done."""
        return self.num_ended + sum(epoch / self.max_epochs for epoch in self.running.values())

    def cut_short(self) -> list[str]:
        """How many trials were pruned and how many failed, unless none."""
        return [
            f"{self.ended[state]} {state}"
            for state in (TrialState.PRUNED, TrialState.FAILED)
            if self.ended[state]
        ]

    def best_text(self) -> list[str]:
        """The best value and its trial; empty before the first."""
        return [f"best {self.best[0]:.4g} (trial {self.best[1]})"] if self.best else []

    def left(self) -> list[str]:
        """The time left; empty before a pace is known, and at the end."""
        left_s = self._left_s()
        if left_s is None or self.num_ended >= self.num_trials:
            return []
        return [f"about {duration_text(left_s)} left"]

    def _left_s(self) -> float | None:
        """Time left if trials keep their pace; None before a pace is known."""
        done = self.num_done - self.done_before
        if self.begun_s is None or done <= 0:
            return None
        return (self.clock() - self.begun_s) / done * max(0.0, self.num_trials - self.num_done)


def failure_line(number: int, cause: FailureCause) -> str:
    """One line that says which trial failed and why."""
    return f"trial {number} failed: {cause.kind}: {cause.message.partition(chr(10))[0]}"
