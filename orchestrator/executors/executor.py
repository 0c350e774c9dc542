"""The interface between a sweep, which hands out trials, and an executor, which runs them."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from orchestrator.executors.interruption import Interruption
from orchestrator.study.trial import FailureCause, TrialRequest
from prvr_model.reporting import Decision, EpochReport, Report

TrialFunction: TypeAlias = Callable[[TrialRequest, Report], None]
"""Runs one trial to its end, or until it is told to stop."""


class TrialSource(Protocol):
    """Hands out trials and takes their results; its calls are made by one thread."""

    def next_trial(self) -> TrialRequest | None:
        """The next trial; None: wait for those that run and ask again, or end where none does."""

    def on_report(self, number: int, report: EpochReport) -> Decision:
        """A trial has completed an epoch, perhaps one that was reported before."""

    def on_end(self, number: int) -> None:
        """A trial returned by itself, or was ended after STOP."""

    def on_move(self, number: int, cause: FailureCause) -> None:
        """A trial was evicted or ran out of memory, and continues under its number: no failure."""

    def on_failure(self, number: int, cause: FailureCause) -> None:
        """A trial raised an error, or its process is gone."""

    def on_wait(self, message: str) -> None:
        """Trials wait for a place and none runs: what the user should know of it."""


class Executor(Protocol):
    """Runs trials until the source has no more.

    An error of a trial goes to the source and ends nothing. An error of the source ends the run
    and is raised. Whatever ends it, no process is left behind.
    """

    def run(
        self, source: TrialSource, concurrency: int | None, interruption: "Interruption"
    ) -> None:
        """Run all trials.

        Args:
            source: Where trials come from and results go.
            concurrency: Trials at once; None: as many as fit.
            interruption: Looked at between two calls of the source at least.

        Raises:
            KeyboardInterrupt: The user wants an end; unfinished trials are told nothing.
            SpecError: Not one trial fits.
        """
