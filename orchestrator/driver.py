"""The sweep's side of its trials: study, searcher, events and progress, one call at a time.

It decides what a trial's end is called: pruned only if the pruner ended it, failed with its cause,
complete otherwise.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.outbox import EventSink
from orchestrator.progress import Progress
from orchestrator.searcher import RefusedTrial, Searcher
from orchestrator.study import SweepStudy
from orchestrator.sweep_spec import SweepSpec
from orchestrator.trial import FailureCause, TrialRequest, TrialState
from prvr_model.reporting import Decision, EpochReport
from prvr_model.settings import flat_settings


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
    """

    def __init__(
        self,
        spec: SweepSpec,
        study: SweepStudy,
        searcher: Searcher,
        sink: SafeSink,
        progress: Progress,
        tags: Mapping[str, str],
    ) -> None:
        self._spec = spec
        self._study = study
        self._searcher = searcher
        self._sink = sink
        self._progress = progress
        self._tags = dict(tags)
        self._running: dict[int, TrialRequest] = {}
        self._stopped: set[int] = set()
        self._refused: dict[int, FailureCause] = {}

    def next_trial(self) -> TrialRequest | None:
        """The next trial that can be trained; others are told as failed on the way."""
        while isinstance(found := self._searcher.next(), RefusedTrial):
            self._started(found.number, parameters=found.parameters)
            self._ended(found.number, TrialState.FAILED, found.cause)
        if found is None:
            return None
        self._running[found.number] = found
        self._started(
            found.number,
            key=found.key,
            seed=found.settings.training.seed,
            params=flat_settings(found.settings),
            parameters=found.parameters,
        )
        return found

    def on_report(self, number: int, report: EpochReport) -> Decision:
        """Record an epoch; STOP is the pruner's, or a value that cannot be used."""
        value = report.metrics.get(self._spec.objective.metric)
        if value is None or not math.isfinite(value):
            self._refused[number] = self._unusable(report, value)
            return Decision.STOP
        epochs = self._running[number].settings.training.epochs
        recorded = self._study.record_epoch(
            number, report.epoch, value, report.timestamp_ms, is_last=report.epoch >= epochs
        )
        if recorded.decision is Decision.STOP:
            self._stopped.add(number)
        if recorded.is_new:
            self._sink.append(
                "epoch",
                number=number,
                epoch=report.epoch,
                timestamp_ms=report.timestamp_ms,
                metrics=dict(report.metrics),
            )
            self._progress.epoch(number, report.epoch, value)
        return recorded.decision

    def on_end(self, number: int) -> None:
        """A trial ended without an error of its own."""
        if number in self._refused:
            self._finish(number, TrialState.FAILED, self._refused.pop(number))
        elif not self._study.rows(number):
            message = "the trial ended without reporting an epoch"
            self._finish(number, TrialState.FAILED, FailureCause("NoEpochError", message, ""))
        elif number in self._stopped:
            self._study.tell_pruned(number)
            self._finish(number, TrialState.PRUNED)
        else:
            self._study.tell_complete(number)
            self._finish(number, TrialState.COMPLETE)

    def on_failure(self, number: int, cause: FailureCause) -> None:
        """A trial raised an error; the one that made its value unusable comes first."""
        self._finish(number, TrialState.FAILED, self._refused.pop(number, cause))

    def _finish(self, number: int, state: TrialState, cause: FailureCause | None = None) -> None:
        if cause is not None:
            self._study.tell_failed(number, cause)
        del self._running[number]
        self._stopped.discard(number)
        self._ended(number, state, cause)

    def _started(self, number: int, **fields: Any) -> None:  # noqa: ANN401
        described = {"key": "", "seed": None, "params": {}, **fields}
        self._sink.append(
            "trial_started", number=number, tags=self._tags, timestamp_ms=now_ms(), **described
        )
        self._progress.started(number)

    def _ended(self, number: int, state: TrialState, cause: FailureCause | None) -> None:
        summary = self._study.summary(number)
        self._sink.append(
            "trial_ended",
            number=number,
            state=str(state),
            value=summary.value,
            best_epoch=summary.best_epoch,
            cause=vars(cause) if cause else None,
            timestamp_ms=now_ms(),
        )
        self._progress.ended(number, state, cause)

    def _unusable(self, report: EpochReport, value: float | None) -> FailureCause:
        metric = self._spec.objective.metric
        if value is None:
            names = ", ".join(sorted(report.metrics))
            message = f"epoch {report.epoch} reported no {metric}; reported: {names}"
            return FailureCause("MissingMetricError", message, "")
        message = f"{metric} was {value} at epoch {report.epoch}; a lower learning rate may help"
        return FailureCause("NonFiniteObjectiveError", message, "")
