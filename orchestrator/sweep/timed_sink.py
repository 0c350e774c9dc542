"""Tells the stopwatch of a command what its trials do: the tracker's events say all of it."""

import time
from collections.abc import Mapping
from typing import Any

from orchestrator.base.stopwatch import TRIALS, Stopwatch, running_stopwatch
from orchestrator.tracking.outbox import EventSink


def timed(sink: EventSink) -> EventSink:
    """A sink whose events the running stopwatch hears too; the sink itself without one."""
    stopwatch = running_stopwatch()
    return sink if stopwatch is None else _TimedSink(sink, stopwatch)


class _TimedSink:
    def __init__(self, sink: EventSink, stopwatch: Stopwatch) -> None:
        self._sink = sink
        self._stopwatch = stopwatch
        self._begun_s = time.time()
        self._live: set[int] = set()
        self._has_trained = False

    def append(self, event: Mapping[str, Any]) -> None:
        self._sink.append(event)
        match event["kind"]:
            case "trial_started":
                self._live.add(event["number"])
                trials = self._stopwatch.trials
                trials.at_once = max(trials.at_once, len(self._live))
            case "trial_ended":
                self._live.discard(event["number"])
            case "epoch":
                self._epoch(event)

    def _epoch(self, event: Mapping[str, Any]) -> None:
        metrics, trials = event["metrics"], self._stopwatch.trials
        epoch_s = metrics.get("time/epoch_s", 0.0)
        if event["timestamp_ms"] / 1000 - epoch_s < self._begun_s:
            return  # copied from a trial that was trained before
        if not self._has_trained:
            self._has_trained = True
            self._stopwatch.enter(TRIALS, ago_s=epoch_s)
        evaluation_s = metrics.get("time/evaluation_s", 0.0)
        trials.evaluation_s += evaluation_s
        if event["epoch"] == 1:
            trials.first_epochs_s += epoch_s - evaluation_s
        else:
            trials.later_epochs_s += epoch_s - evaluation_s
