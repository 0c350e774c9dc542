"""The interface between a sweep, which hands out trials, and an executor, which runs them."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from orchestrator.executors.interruption import Interruption
from orchestrator.study.trial import FailureCause, TrialRequest
from orchestrator.study.work_record import TrialStart
from prvr_model.reporting import Decision, EpochReport, Report

TrialFunction: TypeAlias = Callable[[TrialRequest, Report], None]
"""Runs one trial to its end, or until it is told to stop."""


class TrialSource(Protocol):
    """Hands out trials and takes their results; its calls are made by one thread."""

    def next_trial(self) -> TrialRequest | None:
        """The next trial; None: ask again when a running trial ends, or end if none runs."""

    def on_start(self, number: int, start: TrialStart) -> None:
        """A trial began in a slot, for the first time or again after a move."""

    def on_report(self, number: int, report: EpochReport) -> Decision:
        """A trial has completed an epoch, perhaps one that was reported before."""

    def on_end(self, number: int) -> None:
        """A trial returned by itself, or was ended after STOP."""

    def on_move(self, number: int, cause: FailureCause) -> None:
        """A trial was evicted or ran out of memory, and continues under its number."""

    def on_failure(self, number: int, cause: FailureCause) -> None:
        """A trial has failed: it raised an error, or was evicted too often."""

    def on_wait(self, message: str) -> None:
        """Trials wait for a slot and none runs; the message is for the user."""


class Executor(Protocol):
    """Runs trials until the source has no more.

    An error of a trial goes to the source, and other trials continue. An error of the source ends
    the run and is raised. However the run ends, no process is left behind.
    """

    def run(
        self, source: TrialSource, concurrency: int | None, interruption: "Interruption"
    ) -> None:
        """Run all trials.

        Args:
            source: Where trials come from and results go.
            concurrency: Trials at once; None: as many as fit.
            interruption: Checked at least between two calls of the source.

        Raises:
            KeyboardInterrupt: The user interrupted; the source hears nothing of unfinished trials.
            SpecError: No trial fits.
        """
