"""The time that trials took, from what the study records of their epochs, starts and losses.

Everything is computed from the study, not from a clock of the driver: the work of all drivers
counts, and the time between a driver's death and a resume costs nothing. An epoch that seems far
longer than the others contained such a pause and counts like a typical one. An epoch that seems to
end before it began, since a clock was set back, counts as no time.

What a trial lost with its slot, or failed in, counts from its start or its last epoch. Not known,
and not counted, is the part of an epoch that a driver's death cut off, and the waiting for a slot.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal, TypeAlias

from orchestrator.study.reader import StudyReader
from orchestrator.study.trial import TrialState, TrialSummary
from orchestrator.study.work_record import Workers, WorkRecord

WorkKind: TypeAlias = Literal["epoch", "lost", "failed"]
"""A whole epoch, or a part of one that was lost with a slot, or that the trial failed in."""

# Epochs of a sweep differ because it searches sizes; by more than this factor only if they contain
# something other than training.
_LONGEST_IN_MEDIANS = 10


@dataclass(frozen=True)
class Work:
    """Time in which a trial occupied its resources.

    Args:
        trial: Number of the trial.
        kind: What it did.
        begin_s: Unix time of the begin.
        end_s: Unix time of the end.
        workers: What its workers ran on.
        is_exact: Whether its begin was recorded as such: then it contains no pause of the driver.
    """

    trial: int
    kind: WorkKind
    begin_s: float
    end_s: float
    workers: Workers
    is_exact: bool = False

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_s - self.begin_s


def work_of(study: StudyReader) -> list[Work]:
    """All work of a sweep's trials, pauses cut out; nothing of results that were copied."""
    records = study.work_records()
    raw = [
        work
        for trial in study.summaries()
        if not trial.is_taken
        for work in _work(trial, records[trial.number])
    ]
    whole = [work.seconds for work in raw if work.kind == "epoch" and work.seconds > 0]
    typical_s = median(whole) if whole else None
    return [_counted(work, typical_s) for work in raw]


def _counted(work: Work, typical_s: float | None) -> Work:
    """The work, as long as it counts."""
    may_pause = work.kind == "epoch" or not work.is_exact
    if may_pause and typical_s is not None and work.seconds > _LONGEST_IN_MEDIANS * typical_s:
        return replace(work, begin_s=work.end_s - typical_s)
    return replace(work, begin_s=work.end_s) if work.seconds < 0 else work


def _work(trial: TrialSummary, record: WorkRecord) -> Iterator[Work]:
    """A trial's work in the order in which it was done."""
    boundary_s = _seconds(trial.started_ms)
    # Since when it runs, and on what; None: it waits for a slot, or its start is not known.
    since_s: float | None = None
    workers: Workers = ()
    is_exact = bool(record.events)
    for epochs in range(len(record.rows) + 1):
        for event in record.events_after(epochs):
            at_s = event.at_ms / 1000
            if not event.workers and since_s is not None:
                yield Work(trial.number, "lost", since_s, at_s, workers, is_exact)
            since_s, boundary_s = (at_s if event.workers else None), at_s
            workers = event.workers or workers
        if epochs == len(record.rows) or epochs < (trial.taken_epochs or 0):
            continue
        begin_s = boundary_s if since_s is None else since_s
        end_s = record.rows[epochs].timestamp_ms / 1000
        if begin_s is not None:
            yield Work(trial.number, "epoch", begin_s, end_s, workers)
        since_s = boundary_s = end_s
    ended_s = _seconds(trial.ended_ms)
    if trial.state is TrialState.FAILED and since_s is not None and ended_s is not None:
        yield Work(trial.number, "failed", since_s, ended_s, workers, is_exact)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
