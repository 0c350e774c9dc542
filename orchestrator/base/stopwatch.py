"""Where the wall time of a command goes: each second belongs to one phase.

Code names its phase by `phase`, however deep below the command it is. Where no stopwatch runs, and
on threads beside the command's, that does nothing. What trials do in processes of their own is
added up beside the phases.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from orchestrator.base.collector import collector_off

IMPORTS = "imports"
TRIALS = "trials"
REST = "rest"


@dataclass
class TrialTimes:
    """What trials did, in seconds added up over all of them; they run beside each other.

    Args:
        at_once: How many ran at once, at most.
        first_epochs_s: Training in first epochs.
        later_epochs_s: Training in all other epochs.
        evaluation_s: Evaluation after epochs.
    """

    at_once: int = 0
    first_epochs_s: float = 0.0
    later_epochs_s: float = 0.0
    evaluation_s: float = 0.0

    @property
    def epochs_s(self) -> float:
        """All epochs together."""
        return self.first_epochs_s + self.later_epochs_s + self.evaluation_s


class Stopwatch:
    """Adds up the seconds of phases; together they are the whole time.

    Args:
        before_s: Seconds that went before it was made, as imports.
        clock: Monotonic time in seconds.
    """

    def __init__(self, before_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.trials = TrialTimes()
        self._clock = clock
        self._seconds = {IMPORTS: before_s}
        self._phase = REST
        self._since_s = clock()

    @classmethod
    def of_process(cls) -> "Stopwatch":
        """One that began with this process: until now it started and imported."""
        import psutil

        # Linux knows when it was started to the second only, and the rest since then exactly.
        started_s, boot_s = psutil.Process().create_time(), psutil.boot_time()
        if sys.platform == "linux":
            age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - (started_s - boot_s)
        else:
            age_s = time.time() - started_s
        return cls(max(0.0, age_s))

    def enter(self, name: str, ago_s: float = 0.0) -> str:
        """Begin a phase; returns the one that it ends.

        Args:
            name: Its name.
            ago_s: How long ago it began, at most as long as the phase that it ends.
        """
        at_s = max(self._clock() - ago_s, self._since_s)
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + at_s - self._since_s
        ended, self._phase, self._since_s = self._phase, name, at_s
        return ended

    def seconds(self) -> dict[str, float]:
        """Seconds of each phase so far in the order in which they ended, the rest last."""
        self.enter(self._phase)
        return {name: spent for name, spent in self._seconds.items() if name != REST} | {
            REST: self._seconds[REST]
        }

    def profile(self) -> dict[str, Any]:
        """Everything for JSON; `other_s` is what slots of trials did beside epochs."""
        phases, trials = self.seconds(), self.trials
        slots_s = trials.at_once * phases.get(TRIALS, 0.0)
        return {
            "wall_s": sum(phases.values()),
            "phases": phases,
            "trials": {**vars(trials), "other_s": max(0.0, slots_s - trials.epochs_s)},
        }


_running: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


def running_stopwatch() -> Stopwatch | None:
    """The stopwatch that runs in this thread."""
    return _running.get()


@contextmanager
def running(stopwatch: Stopwatch) -> Iterator[None]:
    """Let a stopwatch take the time of what the block does in this thread."""
    token = _running.set(stopwatch)
    try:
        yield
    finally:
        _running.reset(token)


@contextmanager
def importing() -> Iterator[None]:
    """Around imports of much: one phase, without Python's collector.

    It would look at all that is imported again and again, which is a third of the time.
    """
    with collector_off(), phase(IMPORTS):
        yield


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Count the block's time, less that of phases within it, as this phase."""
    stopwatch = _running.get()
    if stopwatch is None:
        yield
        return
    before = stopwatch.enter(name)
    try:
        yield
    finally:
        stopwatch.enter(before)
