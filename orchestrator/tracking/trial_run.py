"""A trial as its events describe it, and what each event adds to its run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.study.front import OVER_LIMIT
from orchestrator.study.goals import Goals
from orchestrator.study.trial import TrialState, TrialSummary
from orchestrator.tracking.run_change import (
    STATUS_OF_STATE,
    MetricRow,
    RunChange,
    RunIdentity,
    as_texts,
    prefixed_tags,
)
from orchestrator.tracking.tags import (
    FAILURE_TAG,
    KEY_TAG,
    ORIGIN_TAGS,
    OVER_LIMIT_TAG,
    ROLE_TAG,
    SEED_TAG,
    SHORT_SEED_TAG,
    STATE_TAG,
)

FAILURE_FILE = "failure.txt"
BEST_VALUE = "best_value"
BEST_EPOCH = "best_epoch"

_KEY_LETTERS_IN_NAME = 6


@dataclass(frozen=True)
class Goal:
    """The objective of a sweep: the metric's name and its direction."""

    metric: str = "value"
    minimize: bool = False

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value is better than another."""
        return value < than if self.minimize else value > than


@dataclass
class TrialRun:
    """A trial and its run."""

    number: int
    key: str = ""
    seed: int | None = None
    start_ms: int = 0
    end_ms: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 0
    state: str = "running"
    value: float | None = None
    best_epoch: int | None = None
    cause: str = ""
    variant: str | None = None
    confirms: int | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    over_limit: str = ""
    front: str = ""

    @property
    def summary(self) -> TrialSummary:
        """The trial as the study sees it, as far as goals need it."""
        known = {state.value: state for state in TrialState}
        return TrialSummary(
            self.number,
            known.get(self.state, TrialState.RUNNING),
            {},
            self.value,
            self.best_epoch,
            self.epochs,
            self.key,
            "",
            confirms=self.confirms,
            costs=self.costs,
        )

    @property
    def run(self) -> RunIdentity:
        """The run's identity; its name shows the row or key, or that the trial was pruned."""
        # A pruned trial's run is FINISHED, and lists and legends show nothing but the name; they
        # would cut a longer one.
        known_by = self.variant or self.key[:_KEY_LETTERS_IN_NAME]
        ended_as = OVER_LIMIT if self.over_limit and not self.epochs else self.state
        word = ended_as if self.state == "pruned" else known_by
        return RunIdentity(self.number, f"{self.number:03d} {word}".strip(), self.start_ms)

    def start(self, event: Mapping[str, Any], change: RunChange) -> None:
        """The trial begins or continues."""
        self.key = str(event.get("key") or "")
        self.seed = event.get("seed")
        self.parameters = event.get("parameters") or {}
        self.variant = event.get("variant")
        self.confirms = event.get("confirms")
        # After a crash the start of an ended trial comes again; the trial runs again only if it
        # got more epochs.
        was_continued = bool(event.get("continued")) and self.state != "running"
        if self.state == "interrupted" or was_continued:
            self.state = "running"
        # A trial with more epochs has another key, which its name shows.
        change.renamed |= was_continued
        change.params |= as_texts(event.get("params") or {})
        change.tags |= prefixed_tags(event.get("tags") or {})
        change.tags |= {ROLE_TAG: "trial", KEY_TAG: self.key, STATE_TAG: self.state}
        if self.seed is not None:
            change.tags |= {SEED_TAG: str(self.seed), SHORT_SEED_TAG: str(self.seed)}
        change.tags |= as_texts({tag: event[tag] for tag in ORIGIN_TAGS if tag in event})
        if self.state == "running":
            change.status = "RUNNING"
            change.end_ms = None

    def add_epoch(self, event: Mapping[str, Any], goal: Goal, change: RunChange) -> None:
        """The trial has completed an epoch."""
        step, timestamp_ms = int(event["epoch"]), int(event["timestamp_ms"])
        metrics: dict[str, float] = dict(event["metrics"])
        if step > self.epochs:
            self.epochs = step
            metrics = {**self._best_so_far(metrics, goal), **metrics}
        change.metrics += [
            MetricRow(key, float(value), timestamp_ms, step) for key, value in metrics.items()
        ]

    def _best_so_far(self, metrics: Mapping[str, float], goal: Goal) -> dict[str, float]:
        # MLflow's tables show a metric's last value, but a trial's value is its best. The best is
        # logged first, since plots that compare runs start with the first metric logged.
        value = metrics.get(goal.metric)
        if value is not None and (self.value is None or goal.is_better(value, self.value)):
            self.value = value
        return {} if self.value is None else {BEST_VALUE: self.value}

    def end(self, event: Mapping[str, Any], goals: Goals, change: RunChange) -> None:
        """The trial has ended."""
        self.state = str(event["state"])
        self.value = event.get("value")
        self.best_epoch = event.get("best_epoch")
        self.end_ms = int(event["timestamp_ms"])
        self.costs = event.get("costs") or {}
        over_limit = str(event.get("over_limit") or goals.over_limit(self.costs) or "")
        if over_limit or self.over_limit:
            change.tags[OVER_LIMIT_TAG] = over_limit or "no"
        self.over_limit = over_limit
        change.renamed |= self.state == "pruned"
        change.tags[STATE_TAG] = self.state
        change.status = STATUS_OF_STATE.get(self.state, "FINISHED")
        change.end_ms = self.end_ms
        change.metrics += self._final_rows(self.end_ms)
        self._add_cause(event.get("cause"), change)

    def _final_rows(self, end_ms: int) -> list[MetricRow]:
        found = {BEST_VALUE: self.value, BEST_EPOCH: self.best_epoch}
        return [
            MetricRow(key, float(value), end_ms, self.epochs)
            for key, value in found.items()
            if value is not None
        ]

    def test_rows(self, version: Mapping[str, Any]) -> list[MetricRow]:
        """Numbers of its registered version, at the epoch of the weights.

        The time is that of the trial's end: a sweep that registers again sends the same rows.
        """
        found = version.get("metrics") or {}
        at_ms, epoch = self.end_ms or self.start_ms, int(version.get("epoch") or 0)
        return [MetricRow(key, float(value), at_ms, epoch) for key, value in found.items()]

    def _add_cause(self, cause: Mapping[str, Any] | None, change: RunChange) -> None:
        if not cause:
            return
        self.cause = f"{cause['kind']}: {cause['message']}"
        change.tags[FAILURE_TAG] = self.cause
        change.texts[FAILURE_FILE] = f"{self.cause}\n\n{cause.get('traceback') or ''}"

    def interrupt(self, end_ms: int, change: RunChange) -> None:
        """The sweep ended before the trial did."""
        self.state = "interrupted"
        change.tags[STATE_TAG] = self.state
        change.status, change.end_ms = STATUS_OF_STATE[self.state], end_ms
