"""When and on what machines a trial ran, as one attribute of the study.

Its entries are in the order in which things happened. A start is `[epochs, ms, [workers,
accelerator, instance, is spot], ...]`: how many epochs the trial had when it began in a slot, when
that was, and how many of its workers run on each kind of machine. A loss is `[epochs, ms]`: when it
left a slot in the middle of an epoch, since it was evicted, out of memory or interrupted.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from orchestrator.spec.prices import MachineKind
from orchestrator.study.epoch_log import EpochLog, EpochRow

WORK = "work"
"""Attribute of a trial with its starts and losses; trials of older versions have none."""
Workers: TypeAlias = tuple[tuple[int, MachineKind], ...]
"""How many workers run on machines of each kind; empty: not known."""


@dataclass(frozen=True)
class TrialStart:
    """A trial began in a slot, for the first time or again.

    Args:
        begun_ms: Milliseconds since 1970, by the clock that stamps its epochs.
        machines: The machine of each of its workers.
    """

    begun_ms: int
    machines: tuple[MachineKind, ...]

    def to_json(self, epochs: int) -> list[Any]:
        """The entry of a trial that has so many epochs."""
        counts = Counter(self.machines).items()
        workers = [[n, kind.accelerator, kind.instance, kind.is_spot] for kind, n in counts]
        return [epochs, self.begun_ms, *workers]


@dataclass(frozen=True)
class WorkEvent:
    """A start or a loss as the study keeps it.

    Args:
        epochs: Epochs that the trial had.
        at_ms: When it was.
        workers: What its workers run on from then on; empty: it was a loss.
    """

    epochs: int
    at_ms: int
    workers: Workers

    @classmethod
    def of_json(cls, entry: Sequence[Any]) -> "WorkEvent":
        """The event of an entry."""
        epochs, at_ms, *workers = entry
        return cls(epochs, at_ms, tuple((n, MachineKind(*names)) for n, *names in workers))


@dataclass(frozen=True)
class WorkRecord:
    """What the study knows of a trial's time.

    Args:
        rows: Its epochs.
        events: Its starts and losses, in order; empty: not known, or it never began.
    """

    rows: tuple[EpochRow, ...]
    events: tuple[WorkEvent, ...]

    def events_after(self, epochs: int) -> Iterator[WorkEvent]:
        """Events between the last of so many epochs and the next one."""
        return (event for event in self.events if event.epochs == epochs)

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> "WorkRecord":
        """The record among a trial's attributes."""
        events = tuple(map(WorkEvent.of_json, attributes.get(WORK, ())))
        return cls(EpochLog.of(attributes).rows, events)
