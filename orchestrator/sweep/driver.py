"""The sweep's side of its trials: study, searcher, events and progress, one call at a time.

It decides what a trial's end is called: pruned only if the pruner ended it, failed with its cause,
complete otherwise. What an earlier driver of the sweep had decided and not told is told here,
without training; what it had not brought to the tracker is brought there.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.executors.retries import LEFT, OUT_OF_MEMORY, STORAGE
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.reader import OVER_BUDGET
from orchestrator.study.reuse import KnownResults, TakenOver
from orchestrator.study.searcher import RefusedTrial, Searcher
from orchestrator.study.study import SweepStudy
from orchestrator.study.trial import FailureCause, TrialRequest, TrialState
from orchestrator.sweep.budget import refusal
from orchestrator.sweep.duplicates import HeldTrials
from orchestrator.sweep.progress import Progress
from orchestrator.tracking.events import (
    ReadRows,
    Told,
    checkpoint_rows,
    ended_event,
    epoch_event,
    moved_event,
    origin_of,
    started_event,
)
from orchestrator.tracking.outbox import EventSink
from prvr_model.reporting import Decision, EpochReport

# What training reports of an epoch in a group.
WORKERS_METRIC = "workers"


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class SafeSink:
    """Events for the tracker, whose troubles are shown and hurt no trial.

    Args:
        sink: Where events go; None: nowhere.
        warn: Takes a line for the user; an error is shown when it is new.
    """

    def __init__(self, sink: EventSink | None, warn: Callable[[str], None]) -> None:
        self._sink = sink
        self._warn = warn
        self.errors: list[str] = []

    def append(self, kind: str, **fields: Any) -> None:  # noqa: ANN401
        """Send an event of this kind."""
        if self._sink is None:
            return
        try:
            self._sink.append({"kind": kind, **fields})
        except Exception as error:  # noqa: BLE001  (shown, and the sweep goes on)
            self._show(f"tracking: {type(error).__name__}: {error}")

    def _show(self, message: str) -> None:
        if message not in self.errors:
            self._warn(message)
            self.errors.append(message)


class SweepDriver:
    """The `TrialSource` of a sweep.

    Args:
        spec: The sweep.
        study: Its study, open for writing.
        searcher: Hands out its trials.
        sink: Takes events.
        progress: Shows what happens.
        tags: Tags of every trial, e.g. the code version.
        told: What the tracker was told by earlier drivers; None: there were none.
        read_rows: Reads the rows in a trial's checkpoint.
        plan_more: Plans the next round once every trial has ended; False: there is none.
        known: Results that need no training; None: every trial is trained.
    """

    def __init__(
        self,
        spec: SweepSpec,
        study: SweepStudy,
        searcher: Searcher,
        sink: SafeSink,
        progress: Progress,
        tags: Mapping[str, str],
        told: Told | None = None,
        read_rows: ReadRows = checkpoint_rows,
        plan_more: Callable[[], bool] | None = None,
        known: KnownResults | None = None,
    ) -> None:
        self._spec = spec
        self._study = study
        self._searcher = searcher
        self._sink = sink
        self._progress = progress
        self._tags = dict(tags)
        self._told = told or Told()
        self._read_rows = read_rows
        self._plan_more = plan_more or (lambda: False)
        self._known = known
        self._held = HeldTrials()
        self._taken: dict[int, TakenOver] = {}
        self._running: dict[int, TrialRequest] = {}
        self._stopped: set[int] = set()
        self._refused: dict[int, FailureCause] = {}
        self._is_budget_spent = False
        self._broken: dict[int, FailureCause] = {}

    @property
    def broken_storage(self) -> str | None:
        """Why trials could not write or read their folders; None: they could."""
        if not self._broken:
            return None
        numbers = ", ".join(map(str, sorted(self._broken)))
        first = next(iter(self._broken.values()))
        return f"trials {numbers}: {first.message}"

    def next_trial(self) -> TrialRequest | None:
        """The next trial that is to be trained; others are told as ended on the way."""
        while (found := self._next()) is not None or self._begins_round():
            if found is None:
                continue
            if isinstance(found, RefusedTrial):
                origin = origin_of(found.number, self._searcher.planned)
                event = started_event(
                    found.number, now_ms(), self._tags, found.parameters, origin=origin
                )
                self._send(event)
                self._progress.started(found.number)
                self._ended(found.number)
                continue
            if self._is_held(found):
                continue
            self._take_over(found)
            self._begin(found)
            if not self._was_over(found) and not self._was_known(found):
                return found
        return None

    def _next(self) -> TrialRequest | RefusedTrial | None:
        """One that waited for another of its key, which has ended; else the searcher's next."""
        if self._broken:
            return None
        free = self._held.next({one.key for one in self._running.values()})
        if free is not None or self._held.is_full:
            return free
        if not self._searcher.has_unfinished and self._is_over_budget():
            return None
        return self._searcher.next()

    def _is_over_budget(self) -> bool:
        """Whether no further trial can finish within the budget; said when it is decided.

        While trials run it may still change: one that ends early leaves what it was granted.
        """
        if self._is_budget_spent:
            return True
        why = refusal(self._spec, self._study)
        if why is not None and not self._running:
            self._is_budget_spent = True
            self._progress.warn(f"budget: {why}; no further trial is begun")
            self._study.set_attribute(OVER_BUDGET, why)
        return why is not None

    def _begins_round(self) -> bool:
        """Whether there is another round, which is planned on what all trials came to."""
        if self._running or self._held or self._is_budget_spent or self._broken:
            return False
        return self._plan_more()

    def _is_held(self, request: TrialRequest) -> bool:
        """Keep a duplicate of a running trial back: what that comes to is its result as well."""
        if self._known is None or request.key not in {one.key for one in self._running.values()}:
            return False
        self._held.hold(request)
        return True

    def _take_over(self, request: TrialRequest) -> None:
        """Bring results that are there already into the trial's folder, and say so in the study.

        The folder comes first, then the study: a driver killed in between finds both again, or
        trains. A trial that has begun by itself goes on by itself.
        """
        number = request.number
        origin = self._study.summary(number).taken_from
        if self._known is None or (origin is None and self._study.rows(number)):
            return
        found = self._known.own(request, origin) if origin else None
        found = found or self._known.take_over(request)
        if found is not None:
            self._taken[number] = found
        if (found.origin if found else None) != origin:
            self._study.set_taken_from(number, found.origin if found else None)

    def _was_known(self, request: TrialRequest) -> bool:
        """Tell a trial that was taken over as if it had been trained; False: it is to be trained.

        The pruner is not asked: what ran to its end elsewhere is complete here.
        """
        if request.number not in self._taken:
            return False
        for report in self._taken[request.number].reports:
            self.on_report(request.number, report)
        self.on_end(request.number)
        return True

    def _begin(self, request: TrialRequest) -> None:
        self._running[request.number] = request
        summary = self._study.summary(request.number)
        continued = summary.continued_from_epochs is not None
        event = started_event(
            request.number,
            now_ms(),
            self._tags,
            request.parameters,
            key=request.key,
            settings=request.settings,
            continued=continued,
            origin=origin_of(request.number, self._searcher.planned, summary.taken_from),
        )
        self._send(event)
        self._progress.started(request.number)

    def _was_over(self, request: TrialRequest) -> bool:
        """Tell the end of a trial that an earlier driver knew; False: it is to be trained."""
        number = request.number
        cause = self._study.summary(number).cause
        if cause is not None:
            self.on_failure(number, cause)
            return True
        rows = self._study.rows(number)
        if not rows or not self._is_end(rows[-1].decision, rows[-1].epoch, request):
            return False
        if not self._catch_up(request, {one.epoch for one in rows}):
            return False
        if rows[-1].decision is Decision.STOP:
            self._stopped.add(number)
        self.on_end(number)
        return True

    def _is_end(self, decision: Decision, epoch: int, request: TrialRequest) -> bool:
        return decision is Decision.STOP or epoch >= request.settings.training.epochs

    def _catch_up(self, request: TrialRequest, epochs: set[int]) -> bool:
        """Send rows that the tracker lacks; False: only training can make some of them again."""
        lacking = epochs - self._told.epochs[request.number]
        kept = {row.epoch: row for row in self._read_rows(request.folder)} if lacking else {}
        if not lacking <= kept.keys():
            return False
        for epoch in sorted(lacking):
            self._send(epoch_event(request.number, kept[epoch]))
        return True

    def on_report(self, number: int, report: EpochReport) -> Decision:
        """Record an epoch; STOP is the pruner's, or a value that cannot be used."""
        value = report.metrics.get(self._spec.objective.metric)
        if value is None or not math.isfinite(value):
            self._refused[number] = self._unusable(report, value)
            return Decision.STOP
        epochs = self._running[number].settings.training.epochs
        recorded = self._study.record_epoch(
            number,
            report.epoch,
            value,
            report.timestamp_ms,
            # A planned trial is there to be compared with others of its budget.
            is_judged=report.epoch < epochs
            and number not in self._searcher.planned.trials
            and number not in self._taken,
        )
        if recorded.decision is Decision.STOP:
            self._stopped.add(number)
        if report.epoch not in self._told.epochs[number]:
            self._send(epoch_event(number, report))
        if recorded.is_new:
            if WORKERS_METRIC in report.metrics:
                self._study.note_workers(number, int(report.metrics[WORKERS_METRIC]))
            self._progress.epoch(number, report.epoch, value)
        return recorded.decision

    def on_end(self, number: int) -> None:
        """A trial ended without an error of its own."""
        if number in self._refused:
            self._fail(number, self._refused.pop(number))
        elif not self._study.rows(number):
            message = "the trial ended without reporting an epoch"
            self._fail(number, FailureCause("NoEpochError", message, ""))
        elif number in self._stopped:
            self._study.tell_pruned(number)
            self._finish(number)
        else:
            self._study.tell_complete(number)
            self._finish(number)

    def on_move(self, number: int, cause: FailureCause) -> None:
        """A trial goes on from its last checkpoint after a loss, and the user is told."""
        rows = self._study.rows(number)
        where = f"after epoch {rows[-1].epoch}" if rows else "before its first epoch"
        if cause.kind == OUT_OF_MEMORY:
            how = "it goes on with smaller micro-batches"
            self._progress.warn(f"trial {number} ran out of memory {where}; {how}")
            return
        if cause.kind == STORAGE:
            first = cause.message.partition("\n")[0]
            self._progress.warn(f"trial {number} tries again {where}: {first}")
            return
        moves = self._study.note_move(number)
        why = "its node is being drained" if cause.kind == LEFT else cause.kind
        self._progress.warn(f"trial {number} lost its place {where} ({why}); it goes on elsewhere")
        self._send(moved_event(number, moves, now_ms()))

    def on_failure(self, number: int, cause: FailureCause) -> None:
        """A trial raised an error; the one that made its value unusable comes first.

        A storage that cannot be used is no failure of the trial: it stays unfinished, as do all
        that would come after it, and goes on from its checkpoint when the sweep is resumed.
        """
        if cause.kind == STORAGE and number not in self._refused:
            self._broken[number] = cause
            del self._running[number]
            self._progress.warn(f"trial {number} stays unfinished: {cause.message}")
            return
        self._fail(number, self._refused.pop(number, cause))

    def on_wait(self, message: str) -> None:
        """Trials wait for a place and none runs, and the user is told."""
        self._progress.warn(message)

    def _fail(self, number: int, cause: FailureCause) -> None:
        """Tell a failure; a trial that was complete before it was continued stays complete."""
        before = self._study.summary(number).continued_from_epochs
        if before is None:
            self._study.tell_failed(number, cause)
        else:
            self._progress.warn(
                f"trial {number} stays complete as it was after {before} epochs; going on failed: "
                f"{cause.kind}: {cause.message.partition(chr(10))[0]}"
            )
            self._study.tell_complete(number)
        self._finish(number)

    def _finish(self, number: int) -> None:
        del self._running[number]
        self._stopped.discard(number)
        self._taken.pop(number, None)
        self._ended(number)

    def _ended(self, number: int) -> None:
        summary = self._study.summary(number)
        # As the study has it, so that an event which is made again later is the same one.
        self._send(ended_event(summary, summary.ended_ms or now_ms()))
        self._progress.ended(number, summary.state, summary.cause)
        if self._known is not None and summary.state is TrialState.COMPLETE:
            self._known.completed(summary)

    def _send(self, event: dict[str, Any]) -> None:
        self._told.add(event)
        self._sink.append(**event)

    def _unusable(self, report: EpochReport, value: float | None) -> FailureCause:
        metric = self._spec.objective.metric
        if value is None:
            names = ", ".join(sorted(report.metrics))
            message = f"epoch {report.epoch} reported no {metric}; reported: {names}"
            return FailureCause("MissingMetricError", message, "")
        message = f"{metric} was {value} at epoch {report.epoch}; a lower learning rate may help"
        return FailureCause("NonFiniteObjectiveError", message, "")
