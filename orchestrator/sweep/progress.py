"""Progress of a sweep on stderr: bars on a terminal, lines at intervals in a log."""

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol, TextIO, cast

from orchestrator.study.trial import FailureCause, TrialState, TrialSummary
from orchestrator.sweep.tally import Tally, failure_line

# A log file is read afterwards: a line every 15 s says enough.
_LOG_INTERVAL_S = 15.0


class Progress(Protocol):
    """Hears what happens in a sweep."""

    def begin(self, num_trials: int, max_epochs: int, maximize: bool) -> None:
        """The sweep begins; `num_trials` are wanted in all."""

    def resumed(self, trials: Iterable[TrialSummary]) -> None:
        """The sweep goes on after these trials of earlier drivers."""

    def started(self, number: int) -> None:
        """A trial begins."""

    def epoch(self, number: int, epoch: int, value: float) -> None:
        """A trial completed an epoch with this objective."""

    def ended(self, number: int, state: TrialState, cause: FailureCause | None) -> None:
        """A trial has ended."""

    def warn(self, message: str) -> None:
        """The user should know this."""

    def close(self) -> None:
        """The sweep is over; that of another data set may begin."""


class SilentProgress:
    """Shows nothing."""

    def begin(self, num_trials: int, max_epochs: int, maximize: bool) -> None:
        """See `Progress`."""

    def resumed(self, trials: Iterable[TrialSummary]) -> None:
        """See `Progress`."""

    def started(self, number: int) -> None:
        """See `Progress`."""

    def epoch(self, number: int, epoch: int, value: float) -> None:
        """See `Progress`."""

    def ended(self, number: int, state: TrialState, cause: FailureCause | None) -> None:
        """See `Progress`."""

    def warn(self, message: str) -> None:
        """See `Progress`."""

    def close(self) -> None:
        """See `Progress`."""


class _LastingStream:
    """A stream whose reader may go away, or whose disk may fill up; the sweep goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._stream, name)


# Of a terminal that cannot draw a line again.
_PLAIN_TERMINALS = ("dumb", "unknown")


def progress_on(stream: TextIO) -> Progress:
    """Progress that fits a stream: bars where it is a terminal, lines elsewhere."""
    is_plain = os.environ.get("TERM", "").lower() in _PLAIN_TERMINALS
    lasting = cast(TextIO, _LastingStream(stream))
    if is_plain or not stream.isatty():
        return LogProgress(lasting)
    # rich is loaded only where its bars are seen.
    from orchestrator.sweep.terminal_progress import TerminalProgress

    return TerminalProgress(lasting)


class LogProgress:
    """Shows progress in a log: a line after a change, at most one per interval.

    Args:
        stream: The log.
        clock: Monotonic time in seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._tally = Tally(clock)
        self._shown_s: float | None = None

    def begin(self, num_trials: int, max_epochs: int, maximize: bool) -> None:
        """See `Progress`."""
        self._tally.num_trials = num_trials
        self._tally.max_epochs = max_epochs
        self._tally.maximize = maximize

    def resumed(self, trials: Iterable[TrialSummary]) -> None:
        """See `Progress`."""
        self._tally.resumed(trials)

    def started(self, number: int) -> None:
        """See `Progress`."""
        self._tally.started(number)
        self._show()

    def epoch(self, number: int, epoch: int, value: float) -> None:
        """See `Progress`."""
        self._tally.epoch(number, epoch, value)
        self._show()

    def ended(self, number: int, state: TrialState, cause: FailureCause | None) -> None:
        """See `Progress`; a failure gets a line of its own."""
        self._tally.finished(number, state)
        if cause is not None:
            self.warn(failure_line(number, cause))
        self._show()

    def warn(self, message: str) -> None:
        """See `Progress`."""
        self._stream.write(f"{message}\n")
        self._stream.flush()

    def close(self) -> None:
        """See `Progress`; the last state ends the log."""
        if self._tally.begun_s is not None:
            self._show(always=True)
        self._tally, self._shown_s = Tally(self._tally.clock), None

    def _show(self, *, always: bool = False) -> None:
        now_s = self._tally.clock()
        if not always and self._shown_s is not None and now_s - self._shown_s < _LOG_INTERVAL_S:
            return
        self._shown_s = now_s
        tally = self._tally
        # `submit` and scripts search the log for lines that begin like this.
        counts = f"{tally.num_ended}/{tally.num_trials} trials", f"{len(tally.running)} running"
        parts = [*counts, *tally.cut_short(), *tally.best_text(), *tally.left()]
        self.warn(" | ".join(parts))
