"""Turns the driver's events into a tracker's runs with parameters, metrics, tags and texts.

A pure fold: the same events always give the same changes with the same timestamps, so events may
come twice, and a view can be rebuilt from the outbox. This module does not know MLflow.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.study.goals import Goals
from orchestrator.tracking.run_change import (
    STATUS_OF_STATE,
    DataRecord,
    MetricRow,
    RunChange,
    RunIdentity,
    as_texts,
    prefixed_tags,
)
from orchestrator.tracking.standings import ENDED_STATES, Standings
from orchestrator.tracking.tags import (
    BEST_TRIAL_TAG,
    FRONT_TAG,
    JOINT_TAG,
    MOVES_TAG,
    NOTE_TAG,
    PROTOCOL_TAG,
    REGISTERED_TAG,
    ROLE_TAG,
    STATE_TAG,
    SWEEP_ID_TAG,
    SWEEP_TAG,
    TABLES_TAG,
    TRIAL_TAG,
    USER_TAG,
)
from orchestrator.tracking.trial_run import BEST_VALUE, Goal, TrialRun

SPEC_FILE = "sweep.yaml"
TABLE_FILE = "trials.json"
JOINT_PREFIX = "joint-"
"""Begins the names of the joint report's files, which lie beside those of the sweep's own."""


class SweepView:
    """A sweep and its trials as the events describe them, and the changes not yet taken.

    Args:
        sweep_id: Identity of the sweep among others of its name, see `Outbox.identity`.
    """

    def __init__(self, sweep_id: str) -> None:
        self._sweep_id = sweep_id
        self._name = ""
        self._question = ""
        self._answer = ""
        self._joint_answer = ""
        self._goal = Goal()
        self._goals = Goals({}, {})
        self._start_ms = 0
        self._num_ends = 0
        self._labels: dict[str, str] = {}
        self._user: str | None = None
        self._data: DataRecord | None = None
        self._trials: dict[int, TrialRun] = {}
        self._standings = Standings(self._trials, self._goal, self._goals)
        self._changes: dict[int | None, RunChange] = {}
        self._handlers: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "sweep_started": self._sweep_started,
            "trial_started": self._trial_started,
            "epoch": self._epoch,
            "trial_moved": self._trial_moved,
            "trial_ended": self._trial_ended,
            "sweep_ended": self._sweep_ended,
            "report": self._report,
            "joint_report": self._joint_report,
            "registered": self._registered,
        }

    def apply(self, event: Mapping[str, Any]) -> None:
        """Apply one event; unknown kinds are ignored."""
        handler = self._handlers.get(str(event.get("kind")))
        if handler is not None:
            handler(event)

    def take_changes(self) -> list[RunChange]:
        """The changes since the last call, those of the sweep's own run first."""
        changes = self._changes
        self._changes = {}
        numbers = sorted(changes, key=lambda number: -1 if number is None else number)
        return [changes[number] for number in numbers]

    def take_ended(self) -> list[RunChange]:
        """The changes of runs that have ended, without their status, for a comparison.

        Their status, which may change again, is left for `take_changes`. Of other runs, the last
        row of each metric is kept.
        """
        taken = []
        for number, change in self._changes.items():
            change.metrics = list({row.key: row for row in change.metrics}.values())
            if change.end_ms is not None and (change.params or change.metrics):
                self._changes[number] = RunChange(
                    change.run, status=change.status, end_ms=change.end_ms
                )
                change.status = None
                taken.append(change)
        return taken

    @property
    def sweep_run(self) -> RunIdentity:
        """The sweep's own run, parent of all others."""
        return RunIdentity(None, self._name, self._start_ms)

    def _sweep_started(self, event: Mapping[str, Any]) -> None:
        self._start_ms = self._start_ms or int(event["timestamp_ms"])
        self._name = str(event["sweep"])
        self._question = str(event.get("question") or "")
        params = event.get("params") or {}
        metric = str(params.get("objective.metric", self._goal.metric))
        self._goal = Goal(metric, params.get("objective.direction") == "minimize")
        self._goals = Goals.of(event)
        self._standings = Standings(self._trials, self._goal, self._goals)
        self._labels = as_texts(event.get("labels") or {})
        change = self._change(None)
        change.params |= as_texts(params)
        change.tags |= self._sweep_tags(event)
        change.texts[SPEC_FILE] = str(event.get("spec_yaml") or "")
        change.status = "RUNNING"
        change.end_ms = None
        self._take_data(event.get("data"))

    def _sweep_tags(self, event: Mapping[str, Any]) -> dict[str, str]:
        tags = prefixed_tags(event.get("tags") or {})
        # Another user may resume the sweep; its run was created by the first.
        self._user = self._user or tags.get(USER_TAG)
        created_by = {USER_TAG: self._user} if self._user else {}
        now = {ROLE_TAG: "sweep", STATE_TAG: "running", NOTE_TAG: self._note()}
        return tags | created_by | self._labels | now

    def _take_data(self, fields: Mapping[str, Any] | None) -> None:
        """Note the data set on all runs; outboxes of older versions do not name it."""
        if not fields:
            return
        data = DataRecord(
            str(fields["name"]),
            str(fields["fingerprint"]),
            str(fields.get("source") or ""),
            fields.get("generated"),
        )
        self._change(None).data = data
        if data != self._data:
            for trial in self._trials.values():
                self._change(trial).data = data
        self._data = data

    def _trial_started(self, event: Mapping[str, Any]) -> None:
        trial = self._trial(event)
        before, change = trial.state, self._change(trial)
        trial.start(event, change)
        self._standings.changed(trial, before)
        if PROTOCOL_TAG in self._labels:
            change.tags[PROTOCOL_TAG] = self._labels[PROTOCOL_TAG]
        change.data = self._data
        # The name comes from the row or the key, which only this event has.
        change.run = trial.run

    def _epoch(self, event: Mapping[str, Any]) -> None:
        trial = self._trial(event)
        trial.add_epoch(event, self._goal, self._change(trial))

    def _trial_moved(self, event: Mapping[str, Any]) -> None:
        self._change(self._trial(event)).tags[MOVES_TAG] = str(event["moves"])

    def _trial_ended(self, event: Mapping[str, Any]) -> None:
        trial = self._trial(event)
        if trial.state == str(event["state"]):
            return  # A repeated event: the later one's timestamps would add rows.
        before, change = trial.state, self._change(trial)
        trial.end(event, self._goals, change)
        self._standings.changed(trial, before)
        change.run = trial.run
        self._add_progress(int(event["timestamp_ms"]))

    def _add_progress(self, timestamp_ms: int) -> None:
        # The sweep's own curves run over trials ended, not over epochs. A continued trial ends
        # twice, and no step may have two values.
        self._num_ends += 1
        standings, change = self._standings, self._change(None)
        best, counts = standings.best(), standings.counts()
        # The front of several objectives is made once, at the end.
        winner = None if self._goals.objectives else standings.winner()
        values: dict[str, float] = {}
        if best is not None and best.value is not None:
            values[BEST_VALUE] = best.value
        if winner is not None:
            change.tags[BEST_TRIAL_TAG] = str(winner.number)
        values |= {f"trials/{state}": counts[state] for state in ENDED_STATES}
        change.metrics += [
            MetricRow(key, float(value), timestamp_ms, self._num_ends)
            for key, value in values.items()
        ]

    def _sweep_ended(self, event: Mapping[str, Any]) -> None:
        state, timestamp_ms = str(event["state"]), int(event["timestamp_ms"])
        for trial in self._trials.values():
            if trial.state == "running":
                trial.interrupt(timestamp_ms, self._change(trial))
                self._standings.changed(trial, "running")
        self._mark_front()
        change = self._change(None)
        change.tags |= {STATE_TAG: state, NOTE_TAG: self._note()}
        # Without this tag the UI shows the file as text instead of a table.
        change.tags[TABLES_TAG] = json.dumps([{"path": TABLE_FILE, "type": "table"}])
        change.texts[TABLE_FILE] = json.dumps(self._standings.table())
        change.status = STATUS_OF_STATE.get(state, "FINISHED")
        change.end_ms = timestamp_ms

    def _mark_front(self) -> None:
        """Say which trials of several objectives are on the front, and which one wins."""
        if not self._goals.objectives:
            return
        standings = self._standings
        members, _ = standings.front()
        for number, trial in self._trials.items():
            word = members.get(number, "")
            if word != trial.front:
                self._change(trial).tags[FRONT_TAG] = word or "no"
                trial.front = word
        if (winner := standings.winner()) is not None:
            self._change(None).tags[BEST_TRIAL_TAG] = str(winner.number)

    def _report(self, event: Mapping[str, Any]) -> None:
        self._answer = str(event.get("answer") or "")
        change = self._change(None)
        change.texts |= {str(name): str(text) for name, text in event["files"].items()}
        change.tags[NOTE_TAG] = self._note()

    def _joint_report(self, event: Mapping[str, Any]) -> None:
        joint = str(event["joint"])
        files = {f"{JOINT_PREFIX}{name}": str(text) for name, text in event["files"].items()}
        page = next(iter(files))
        self._joint_answer = f"{joint}, all data sets (file {page}): {event.get('answer') or ''}"
        change = self._change(None)
        change.texts |= files
        change.tags |= {JOINT_TAG: joint, NOTE_TAG: self._note()}

    def _registered(self, event: Mapping[str, Any]) -> None:
        """Link the versions on the runs of their trials and, best first, on the sweep's."""
        names = []
        for version in event["versions"]:
            names.append(f"{version['model']}/{version['version']}")
            trial = self._trials[int(version["number"])]
            change = self._change(trial)
            change.tags[REGISTERED_TAG] = names[-1]
            change.metrics += trial.test_rows(version)
            if model_id := version.get("model_id"):
                change.models[model_id] = int(version["epoch"])
                self._change(None).models[model_id] = int(version["epoch"])
        self._change(None).tags[REGISTERED_TAG] = ", ".join(names)

    def _note(self) -> str:
        answers = [text for text in (self._answer, self._joint_answer) if text]
        return self._standings.note(self._question, "\n\n".join(answers))

    def _trial(self, event: Mapping[str, Any]) -> TrialRun:
        number = int(event["number"])
        if number not in self._trials:
            self._trials[number] = TrialRun(number, start_ms=int(event["timestamp_ms"]))
            self._standings.changed(self._trials[number], None)
        return self._trials[number]

    def _change(self, trial: TrialRun | None) -> RunChange:
        """The change of a trial's run, or of the sweep's own."""
        number = None if trial is None else trial.number
        run = self.sweep_run if trial is None else trial.run
        if number not in self._changes:
            tags = {SWEEP_TAG: self._name, SWEEP_ID_TAG: self._sweep_id}
            if number is not None:
                tags[TRIAL_TAG] = str(number)
            self._changes[number] = RunChange(run, tags=tags)
        change = self._changes[number]
        change.run = run
        return change
