"""Who asks for trials and who runs them: neither knows more of the other than this."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol, TypeAlias

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
        """A trial lost its place or ran out of memory, and goes on under its number: no failure."""

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


class Interruption:
    """Ctrl-C (and SIGTERM) as a wish that is granted where nothing is half written.

    Python would raise KeyboardInterrupt anywhere, also between two writes to the study.
    """

    def __init__(self) -> None:
        self.requested = False
        self._raises_at_once = False
        self._is_listening = False

    @contextmanager
    def listening(self) -> Iterator["Interruption"]:
        """Take the signals over; only the main thread can, others leave them alone."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = {one: signal.getsignal(one) for one in _SIGNALS}
        self._is_listening = True
        self.listen_again()
        try:
            yield self
        finally:
            self._is_listening = False
            for one, handler in previous.items():
                signal.signal(one, handler)

    def listen_again(self) -> None:
        """After something else took the signals, as Ray does on its start; only while listening."""
        if self._is_listening:
            for one in _SIGNALS:
                signal.signal(one, self._on_signal)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Around work that may be left anywhere: a wish is granted at once."""
        self.check()
        self._raises_at_once = True
        try:
            yield
        finally:
            self._raises_at_once = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Around writing inside of such work: a wish waits until it is done."""
        before, self._raises_at_once = self._raises_at_once, False
        try:
            yield
        finally:
            self._raises_at_once = before
        self.check()

    def check(self) -> None:
        """Grant a wish.

        Raises:
            KeyboardInterrupt: There was one.
        """
        if self.requested:
            raise KeyboardInterrupt

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True
        if self._raises_at_once:
            # Only once: cleaning up, which is bounded in time, must not be left in its middle.
            self._raises_at_once = False
            raise KeyboardInterrupt


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
