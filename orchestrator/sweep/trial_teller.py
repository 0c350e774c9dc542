"""Tells the tracker and the user what happens to trials, each thing once."""

import time
from collections.abc import Mapping
from typing import Any

from orchestrator.study.history import checkpoint_rows
from orchestrator.study.planned_trials import TrialPlan
from orchestrator.study.searcher import RefusedTrial
from orchestrator.study.trial import TrialRequest, TrialSummary
from orchestrator.sweep.context import SafeSink
from orchestrator.sweep.progress import Progress
from orchestrator.tracking.events import (
    StartedTrial,
    ended_event,
    epoch_event,
    moved_event,
    origin_of,
)
from orchestrator.tracking.missing_events import Told
from prvr_model.reporting import EpochReport


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class TrialTeller:
    """Sends the events of trials and shows them as progress.

    Args:
        sink: Takes events.
        progress: Shows what happens.
        tags: Tags of every trial, e.g. the code version.
        told: What earlier drivers told the tracker.
    """

    def __init__(
        self,
        sink: SafeSink,
        progress: Progress,
        tags: Mapping[str, str],
        told: Told,
    ) -> None:
        self._sink = sink
        self._progress = progress
        self._tags = dict(tags)
        self._told = told

    def refused(self, trial: RefusedTrial, plan: TrialPlan) -> None:
        """A trial begins that will not be trained: invalid settings, or a limit of cost."""
        origin = origin_of(trial.number, plan)
        started = StartedTrial(trial.number, trial.parameters, origin=origin)
        self._send(started.event(self._tags, now_ms()))
        if trial.cause is not None:
            self._progress.started(trial.number)

    def started(self, request: TrialRequest, trial: TrialSummary, plan: TrialPlan) -> None:
        """A trial begins or continues."""
        started = StartedTrial(
            request.number,
            request.parameters,
            request.key,
            request.settings,
            continued=trial.continued_from_epochs is not None,
            origin=origin_of(request.number, plan, trial.taken_from),
        )
        self._send(started.event(self._tags, now_ms()))
        self._progress.started(request.number)

    def epoch(self, number: int, report: EpochReport, value: float, *, is_new: bool) -> None:
        """An epoch was reported; one that the study knew already is not shown as progress."""
        if report.epoch not in self._told.epochs[number]:
            self._send(epoch_event(number, report))
        if is_new:
            self._progress.epoch(number, report.epoch, value)

    def catch_up(self, request: TrialRequest, epochs: set[int]) -> bool:
        """Send the epochs that the tracker lacks, read from the trial's checkpoint.

        Returns:
            False: the checkpoint lacks one of them too, so only training can make it again.
        """
        lacking = epochs - self._told.epochs[request.number]
        kept = {row.epoch: row for row in checkpoint_rows(request.folder)} if lacking else {}
        if not lacking <= kept.keys():
            return False
        for epoch in sorted(lacking):
            self._send(epoch_event(request.number, kept[epoch]))
        return True

    def evicted(self, number: int, evictions: int) -> None:
        """A trial was evicted for the `evictions`-th time and continues in another slot."""
        self._send(moved_event(number, evictions, now_ms()))

    def ended(self, trial: TrialSummary) -> None:
        """A trial ended, at the study's time: an event that is made again later is the same."""
        self._send(ended_event(trial, trial.ended_ms or now_ms()))
        # Another one is drawn for a trial that exceeds a limit.
        if trial.over_limit is None:
            self._progress.ended(trial.number, trial.state, trial.cause)

    def warn(self, line: str) -> None:
        """Show the user a line."""
        self._progress.warn(line)

    def _send(self, event: dict[str, Any]) -> None:
        self._told.add(event)
        self._sink.append(**event)
