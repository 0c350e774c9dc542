"""From the driver's events to what a tracker shows: runs with parameters, metrics, tags and texts.

A pure fold. The same events always give the same changes with the same timestamps, so that
events may come twice, and a view can be rebuilt from the outbox. Nothing here knows MLflow.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from orchestrator.statistics.ranking import by_mean

Event: TypeAlias = Mapping[str, Any]
RunStatus: TypeAlias = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

# A pruned trial did what it should, and MLflow paints KILLED like an error; the tag tells.
STATUS_OF_STATE: Mapping[str, RunStatus] = {
    "complete": "FINISHED",
    "pruned": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "finished": "FINISHED",
}
ENDED_STATES = ("complete", "pruned", "failed")
SPEC_FILE = "sweep.yaml"
TABLE_FILE = "trials.json"
FAILURE_FILE = "failure.txt"
BEST_VALUE = "best_value"
BEST_EPOCH = "best_epoch"

SWEEP_TAG = "prvr.sweep"
SWEEP_ID_TAG = "prvr.sweep_id"
ROLE_TAG = "prvr.role"
TRIAL_TAG = "prvr.trial"
KEY_TAG = "prvr.trial_key"
SEED_TAG = "prvr.seed"
STATE_TAG = "prvr.state"
FAILURE_TAG = "prvr.failure"
BEST_TRIAL_TAG = "prvr.best_trial"
# What a user looks for by hand; short, as MLflow's search box is.
VARIANT_TAG = "variant"
RUN_PROTOCOL_TAG = "protocol"
MOVES_TAG = "moves"
_ORIGIN_TAGS = (VARIANT_TAG, "block", "confirms", "taken_from")
_SHORT_SEED_TAG = "seed"
NOTE_TAG = "mlflow.note.content"
TABLES_TAG = "mlflow.loggedArtifacts"

_KEY_LETTERS_IN_NAME = 6


@dataclass(frozen=True)
class MetricRow:
    """One value of one metric."""

    key: str
    value: float
    timestamp_ms: int
    step: int


@dataclass(frozen=True)
class RunIdentity:
    """What a run needs to be found or made; `trial` is None for the sweep's own run."""

    trial: int | None
    name: str
    start_ms: int


@dataclass
class RunChange:
    """What is to be added to a run; every field may be sent again without harm."""

    run: RunIdentity
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[MetricRow] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    status: RunStatus | None = None
    end_ms: int | None = None
    renamed: bool = False
    """Whether the run's name is another than when it was made."""


@dataclass
class _Trial:
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

    @property
    def run(self) -> RunIdentity:
        # A pruned trial's run is FINISHED, and lists and legends of plots show names only; a
        # longer name would be cut there.
        known_by = self.variant or self.key[:_KEY_LETTERS_IN_NAME]
        word = self.state if self.state == "pruned" else known_by
        return RunIdentity(self.number, f"{self.number:03d} {word}".strip(), self.start_ms)


class SweepView:
    """A sweep and its trials as far as the events tell, and the changes not yet taken.

    Args:
        sweep_id: What tells this sweep from others of the same name, see `Outbox.identity`.
    """

    def __init__(self, sweep_id: str) -> None:
        self._sweep_id = sweep_id
        self._name = ""
        self._question = ""
        self._metric = "value"
        self._minimize = False
        self._start_ms = 0
        self._num_ends = 0
        self._labels: dict[str, str] = {}
        self._answer = ""
        self._trials: dict[int, _Trial] = {}
        self._changes: dict[int | None, RunChange] = {}

    def apply(self, event: Event) -> None:
        """Take up one event; kinds that are not known are passed over."""
        match event.get("kind"):
            case "sweep_started":
                self._sweep_started(event)
            case "trial_started":
                self._trial_started(event)
            case "epoch":
                self._epoch(event)
            case "trial_moved":
                self._change(self._trial(event)).tags[MOVES_TAG] = str(event["moves"])
            case "trial_ended":
                self._trial_ended(event)
            case "sweep_ended":
                self._sweep_ended(event)
            case "report":
                self._report(event)

    def take_changes(self) -> list[RunChange]:
        """What came up since the last call, the sweep's own run first."""
        changes = self._changes
        self._changes = {}
        return [
            changes[trial] for trial in sorted(changes, key=lambda one: -1 if one is None else one)
        ]

    @property
    def sweep_run(self) -> RunIdentity:
        """The sweep's own run, parent of all others."""
        return RunIdentity(None, self._name, self._start_ms)

    def _sweep_started(self, event: Event) -> None:
        timestamp_ms = int(event["timestamp_ms"])
        self._start_ms = self._start_ms or timestamp_ms
        self._name = str(event["sweep"])
        self._question = str(event.get("question") or "")
        params = event.get("params") or {}
        self._metric = str(params.get("objective.metric", self._metric))
        self._minimize = params.get("objective.direction") == "minimize"
        change = self._change(None)
        change.params |= _texts(params)
        self._labels = _texts(event.get("labels") or {})
        change.tags |= _tags(event.get("tags") or {}) | self._labels
        change.tags |= {ROLE_TAG: "sweep", STATE_TAG: "running", NOTE_TAG: self._note()}
        change.texts[SPEC_FILE] = str(event.get("spec_yaml") or "")
        change.status = "RUNNING"
        change.end_ms = None

    def _trial_started(self, event: Event) -> None:
        trial = self._trial(event)
        trial.key = str(event.get("key") or "")
        trial.seed = event.get("seed")
        trial.parameters = event.get("parameters") or {}
        trial.variant = event.get("variant")
        trial.confirms = event.get("confirms")
        # One that ended is told again after a crash, and goes on only where it got more epochs.
        was_continued = bool(event.get("continued")) and trial.state != "running"
        if trial.state == "interrupted" or was_continued:
            trial.state = "running"
        change = self._change(trial)
        # More epochs are another key, and the name shows it.
        change.renamed |= was_continued
        change.params |= _texts(event.get("params") or {})
        change.tags |= _tags(event.get("tags") or {})
        change.tags |= {ROLE_TAG: "trial", KEY_TAG: trial.key, STATE_TAG: trial.state}
        if trial.seed is not None:
            change.tags |= {SEED_TAG: str(trial.seed), _SHORT_SEED_TAG: str(trial.seed)}
        change.tags |= _texts({one: event[one] for one in _ORIGIN_TAGS if one in event})
        if RUN_PROTOCOL_TAG in self._labels:
            change.tags[RUN_PROTOCOL_TAG] = self._labels[RUN_PROTOCOL_TAG]
        if trial.state == "running":
            change.status = "RUNNING"
            change.end_ms = None

    def _epoch(self, event: Event) -> None:
        trial = self._trial(event)
        step, timestamp_ms = int(event["epoch"]), int(event["timestamp_ms"])
        metrics: dict[str, float] = dict(event["metrics"])
        if step > trial.epochs:
            trial.epochs = step
            metrics = {**self._best_so_far(trial, metrics), **metrics}
        self._change(trial).metrics += [
            MetricRow(key, float(value), timestamp_ms, step) for key, value in metrics.items()
        ]

    def _best_so_far(self, trial: _Trial, metrics: Mapping[str, float]) -> dict[str, float]:
        # MLflow's tables show a metric's last value, a trial's value is its best. It goes first,
        # since plots that compare runs start with the metric that was logged first.
        value = metrics.get(self._metric)
        if value is not None and (trial.value is None or self._is_better(value, trial.value)):
            trial.value = value
        return {} if trial.value is None else {BEST_VALUE: trial.value}

    def _is_better(self, value: float, than: float) -> bool:
        return value < than if self._minimize else value > than

    def _trial_ended(self, event: Event) -> None:
        trial = self._trial(event)
        state = str(event["state"])
        if trial.state == state:
            return  # Told twice: the later one's timestamps would add rows.
        trial.state = state
        trial.value = event.get("value")
        trial.best_epoch = event.get("best_epoch")
        trial.end_ms = int(event["timestamp_ms"])
        change = self._change(trial)
        change.renamed |= state == "pruned"
        change.tags[STATE_TAG] = state
        change.status = STATUS_OF_STATE.get(state, "FINISHED")
        change.end_ms = trial.end_ms
        change.metrics += _final_rows(trial, trial.end_ms)
        self._add_cause(trial, change, event.get("cause"))
        self._add_progress(trial.end_ms)

    def _add_cause(self, trial: _Trial, change: RunChange, cause: Event | None) -> None:
        if not cause:
            return
        trial.cause = f"{cause['kind']}: {cause['message']}"
        change.tags[FAILURE_TAG] = trial.cause
        change.texts[FAILURE_FILE] = f"{trial.cause}\n\n{cause.get('traceback') or ''}"

    def _add_progress(self, timestamp_ms: int) -> None:
        # The sweep's own curves: over trials ended, not over epochs.
        # A trial that was continued ends twice, and no step has two values.
        self._num_ends += 1
        step = self._num_ends
        best = self._best()
        change = self._change(None)
        values: dict[str, float] = {}
        if best is not None and best.value is not None:
            values[BEST_VALUE] = best.value
        crowned = self._crowned()
        if crowned is not None and crowned.value is not None:
            change.tags[BEST_TRIAL_TAG] = str(crowned.number)
        for state in ENDED_STATES:
            values[f"trials/{state}"] = self.counts()[state]
        change.metrics += [
            MetricRow(key, float(value), timestamp_ms, step) for key, value in values.items()
        ]

    def _sweep_ended(self, event: Event) -> None:
        state, timestamp_ms = str(event["state"]), int(event["timestamp_ms"])
        for trial in self._trials.values():
            if trial.state == "running":
                trial.state = "interrupted"
                change = self._change(trial)
                change.tags[STATE_TAG] = trial.state
                change.status, change.end_ms = STATUS_OF_STATE[trial.state], timestamp_ms
        change = self._change(None)
        change.tags |= {STATE_TAG: state, NOTE_TAG: self._note()}
        # Without this tag the UI shows the file as text instead of a table.
        change.tags[TABLES_TAG] = json.dumps([{"path": TABLE_FILE, "type": "table"}])
        change.texts[TABLE_FILE] = json.dumps(self.table())
        change.status = STATUS_OF_STATE.get(state, "FINISHED")
        change.end_ms = timestamp_ms

    def _report(self, event: Event) -> None:
        self._answer = str(event.get("answer") or "")
        change = self._change(None)
        change.texts |= {str(name): str(text) for name, text in event["files"].items()}
        change.tags[NOTE_TAG] = self._note()

    def counts(self) -> dict[str, int]:
        """Number of trials by state; complete, pruned and failed are always there."""
        counts = dict.fromkeys(ENDED_STATES, 0)
        for trial in self._trials.values():
            counts[trial.state] = counts.get(trial.state, 0) + 1
        return counts

    def table(self) -> dict[str, list[Any]]:
        """The trials as MLflow's table files want them: names of columns, and rows."""
        searched = list(dict.fromkeys(p for one in self._ordered() for p in one.parameters))
        columns = ["trial", "state", self._metric, "best_epoch", "epochs", *searched]
        columns += ["seconds", "seed", "trial_key", "cause"]
        return {"columns": columns, "data": [_row(one, searched) for one in self._ordered()]}

    def _ordered(self) -> list[_Trial]:
        """Best value first, trials without one last."""
        sign = 1 if self._minimize else -1
        return sorted(
            self._trials.values(),
            key=lambda one: (one.value is None, sign * (one.value or 0.0), one.number),
        )

    def _best(self) -> _Trial | None:
        complete = [one for one in self._ordered() if one.state == "complete"]
        return complete[0] if complete and complete[0].value is not None else None

    def _crowned(self) -> _Trial | None:
        """The winner as the launch names it: what was run on several seeds goes by its mean."""
        groups: defaultdict[Any, list[_Trial]] = defaultdict(list)
        for _, one in sorted(self._trials.items()):
            origin = one.confirms if one.confirms is not None else one.variant
            if one.state == "complete" and one.value is not None and origin is not None:
                groups[origin].append(one)
        if not groups:
            return self._best()
        best = by_mean(groups.values(), _value, maximize=not self._minimize)
        sign = -1 if self._minimize else 1
        return max(best[0], key=lambda one: sign * _value(one))

    def _note(self) -> str:
        best = self._crowned()
        lines = [self._question, *(["", self._answer] if self._answer else [])]
        if best is None or best.value is None:
            return "\n".join(lines)
        lines += [
            "",
            f"Best: trial {best.number:03d}, {self._metric} {best.value:.2f}",
        ]
        if best.parameters:
            lines += ["", "| parameter | value |", "|---|---|"]
            lines += [
                f"| {path} | {_text(_short(value))} |" for path, value in best.parameters.items()
            ]
        return "\n".join(lines)

    def _trial(self, event: Event) -> _Trial:
        number = int(event["number"])
        if number not in self._trials:
            self._trials[number] = _Trial(number, start_ms=int(event["timestamp_ms"]))
        return self._trials[number]

    def _change(self, trial: _Trial | None) -> RunChange:
        number = None if trial is None else trial.number
        if number not in self._changes:
            run = self.sweep_run if trial is None else trial.run
            change = RunChange(run)
            change.tags = {SWEEP_TAG: self._name, SWEEP_ID_TAG: self._sweep_id}
            if number is not None:
                change.tags[TRIAL_TAG] = str(number)
            self._changes[number] = change
        change = self._changes[number]
        change.run = self.sweep_run if trial is None else trial.run
        return change


def _value(trial: _Trial) -> float:
    return trial.value or 0.0


def _final_rows(trial: _Trial, end_ms: int) -> list[MetricRow]:
    found = {BEST_VALUE: trial.value, BEST_EPOCH: trial.best_epoch}
    return [
        MetricRow(key, float(value), end_ms, trial.epochs)
        for key, value in found.items()
        if value is not None
    ]


def _row(trial: _Trial, searched: list[str]) -> list[Any]:
    seconds = None if trial.end_ms is None else (trial.end_ms - trial.start_ms) / 1000
    parameters = [_short(trial.parameters.get(path)) for path in searched]
    head = [trial.number, trial.state, _short(trial.value), trial.best_epoch, trial.epochs]
    return [*head, *parameters, seconds, trial.seed, trial.key, trial.cause]


def _short(value: Any) -> Any:  # noqa: ANN401
    # For eyes; the runs have every digit.
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _tags(values: Mapping[str, Any]) -> dict[str, str]:
    # Of many tags in a store that others use too, ours are known by their beginning.
    return {
        key if key.startswith(("prvr.", "mlflow.")) else f"prvr.{key}": text
        for key, text in _texts(values).items()
    }


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: _text(value) for key, value in values.items()}


def _text(value: Any) -> str:  # noqa: ANN401
    # JSON keeps the type readable: true, null, 0.5, [32, 20]; text stays as it is.
    return value if isinstance(value, str) else json.dumps(value)
