"""Live progress of a sweep on stderr: one line that is rewritten, or a line now and then."""

import time
from collections.abc import Callable
from typing import Protocol, TextIO

from orchestrator.study.trial import FailureCause, TrialState

# A log file is read afterwards; a terminal is watched.
_LOG_INTERVAL_S = 15.0
_TERMINAL_INTERVAL_S = 0.1
_CLEAR_LINE = "\r\x1b[2K"


class Progress(Protocol):
    """Is told what happens in a sweep."""

    def begin(self, num_trials: int, max_epochs: int, maximize: bool) -> None:
        """The sweep begins; `num_trials` are wanted in all."""

    def started(self, number: int) -> None:
        """A trial was handed out."""

    def epoch(self, number: int, epoch: int, value: float) -> None:
        """A trial completed an epoch with this objective."""

    def ended(self, number: int, state: TrialState, cause: FailureCause | None) -> None:
        """A trial has ended."""

    def warn(self, message: str) -> None:
        """Something the user should know."""

    def close(self) -> None:
        """The sweep is over."""


class SilentProgress:
    """Shows nothing."""

    def begin(self, num_trials: int, max_epochs: int, maximize: bool) -> None:
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


class StreamProgress:
    """Shows progress on a stream, usually stderr.

    Args:
        stream: Where to; a terminal gets one line that is rewritten.
        clock: Seconds that only grow.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._interval_s = _TERMINAL_INTERVAL_S if self._is_terminal else _LOG_INTERVAL_S
        self._clock = clock
        self._num_trials = 0
        self._max_epochs = 1
        self._maximize = True
        self._ended = dict.fromkeys(TrialState, 0)
        self._running: dict[int, int] = {}
        self._best: tuple[float, int] | None = None
        self._begun_s: float | None = None
        self._shown_s: float | None = None

    def begin(self, num_trials: int, max_epochs: int, maximize: bool) -> None:
        """See `Progress`."""
        self._num_trials = num_trials
        self._max_epochs = max_epochs
        self._maximize = maximize

    def started(self, number: int) -> None:
        """See `Progress`; time is counted from the first trial on."""
        if self._begun_s is None:
            self._begun_s = self._clock()
        self._running[number] = 0
        self._show()

    def epoch(self, number: int, epoch: int, value: float) -> None:
        """See `Progress`."""
        self._running[number] = epoch
        sign = 1 if self._maximize else -1
        if self._best is None or sign * value > sign * self._best[0]:
            self._best = (value, number)
        self._show()

    def ended(self, number: int, state: TrialState, cause: FailureCause | None) -> None:
        """See `Progress`; failures are told in a line of their own."""
        self._running.pop(number, None)
        self._ended[state] += 1
        if cause is not None:
            first_line = cause.message.partition("\n")[0]
            self.warn(f"trial {number} failed: {cause.kind}: {first_line}")
        self._show()

    def warn(self, message: str) -> None:
        """See `Progress`."""
        self._stream.write(f"{_CLEAR_LINE if self._is_terminal else ''}{message}\n")
        self._stream.flush()

    def close(self) -> None:
        """See `Progress`; the last state stays on the screen."""
        if self._begun_s is not None:
            self._show(always=True)
            self._stream.write("\n" if self._is_terminal else "")
            self._stream.flush()

    def _show(self, *, always: bool = False) -> None:
        now_s = self._clock()
        if not always and self._shown_s is not None and now_s - self._shown_s < self._interval_s:
            return
        self._shown_s = now_s
        line = self._line(now_s)
        self._stream.write(f"{_CLEAR_LINE}{line}" if self._is_terminal else f"{line}\n")
        self._stream.flush()

    def _line(self, now_s: float) -> str:
        done = sum(self._ended.values())
        parts = [f"{done}/{self._num_trials} trials", f"{len(self._running)} running"]
        for state in (TrialState.PRUNED, TrialState.FAILED):
            if self._ended[state]:
                parts.append(f"{self._ended[state]} {state}")
        if self._best is not None:
            parts.append(f"best {self._best[0]:.4g} (trial {self._best[1]})")
        left_s = self._left_s(now_s)
        if left_s is not None and done < self._num_trials:
            parts.append(f"about {_duration(left_s)} left")
        return " | ".join(parts)

    def _left_s(self, now_s: float) -> float | None:
        """Time left if trials keep their pace; None before there is one."""
        part = sum(epoch / self._max_epochs for epoch in self._running.values())
        done = sum(self._ended.values()) + part
        if self._begun_s is None or done == 0:
            return None
        return (now_s - self._begun_s) / done * max(0.0, self._num_trials - done)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
