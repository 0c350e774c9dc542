"""A trial's events for the tracker, and which of them an outbox holds already.

A driver writes to the study first and to the outbox then. Killed in between, it has left an event
out: the next driver finds out which, and makes it again from the study and the checkpoint.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from orchestrator.spec.search_space import resolve
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.history import missing_rows
from orchestrator.study.planned_trials import TrialPlan
from orchestrator.study.reader import StudyReader
from orchestrator.study.trial import TrialState, TrialSummary
from prvr_model.errors import PrvrError
from prvr_model.reporting import EpochReport
from prvr_model.settings import Settings, flat_settings

Event: TypeAlias = dict[str, Any]


REPORT_NUMBERS = "report.json"
REPORT_FILES = ("report.html", REPORT_NUMBERS, "report.md")
"""Files of a sweep's report, beside its trials and on its own run."""


def report_event(files: Mapping[str, str], answer: str, timestamp_ms: int) -> Event:
    """The report of a sweep that has ended: its files, and its answer in two sentences."""
    return {
        "kind": "report",
        "files": dict(files),
        "answer": answer,
        "timestamp_ms": timestamp_ms,
    }


def sweep_started_event(spec: SweepSpec, tags: Mapping[str, str], timestamp_ms: int) -> Event:
    """A sweep begins, or goes on."""
    return {
        "kind": "sweep_started",
        "sweep": spec.name,
        "question": spec.question,
        "spec_yaml": spec.dump_yaml(),
        "params": _sweep_params(spec),
        "tags": dict(tags),
        "labels": _labels(spec),
        "timestamp_ms": timestamp_ms,
    }


def _labels(spec: SweepSpec) -> dict[str, str]:
    """What a sweep is found by, beside its name."""
    labels = {"protocol": str(spec.protocol)}
    if spec.ablation is not None:
        labels |= {"design": spec.ablation.design, "baseline": spec.ablation.baseline.name}
    return labels


def _sweep_params(spec: SweepSpec) -> dict[str, Any]:
    """What all trials of a sweep share, flat; the trials' own settings come with them."""
    return {
        "preset": spec.preset,
        "objective.metric": spec.objective.metric,
        "objective.direction": spec.objective.direction,
        **_kind_params(spec),
        **{f"early_stopping.{key}": one for key, one in spec.early_stopping},
        **spec.settings,
    }


def _kind_params(spec: SweepSpec) -> dict[str, Any]:
    """How trials are chosen."""
    if spec.ablation is not None:
        return {
            "ablation.design": spec.ablation.design,
            "ablation.baseline": spec.ablation.baseline.name,
            "ablation.rows": ", ".join(row.name for row in spec.rows),
            "ablation.seeds": ", ".join(map(str, spec.seeds())),
        }
    assert spec.search is not None, "a spec has a search or an ablation"
    return {
        "search.sampler": spec.search.sampler,
        "search.seed": spec.search.seed,
        "search.trials": spec.num_trials,
    }


def origin_of(number: int, plan: TrialPlan, taken_from: str | None = None) -> dict[str, Any]:
    """What a planned trial is a run of, for its event; nothing for one that was drawn.

    Args:
        number: The trial.
        plan: The sweep's planned trials.
        taken_from: The trial whose results it took over.
    """
    one = plan.trials.get(number)
    fields = {
        "variant": one.variant if one else None,
        "block": one.block if one else None,
        "confirms": one.confirms if one else None,
        "taken_from": taken_from,
    }
    return {key: value for key, value in fields.items() if value is not None}


def started_event(
    number: int,
    timestamp_ms: int,
    tags: Mapping[str, str],
    parameters: Mapping[str, Any],
    *,
    key: str = "",
    settings: Settings | None = None,
    continued: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> Event:
    """A trial was handed out; without settings: it could not be; `origin` as `origin_of` says."""
    return {
        "kind": "trial_started",
        "number": number,
        "tags": dict(tags),
        "timestamp_ms": timestamp_ms,
        "key": key,
        "seed": settings.training.seed if settings else None,
        "params": flat_settings(settings) if settings else {},
        "parameters": dict(parameters),
        "continued": continued,
        **(origin or {}),
    }


def epoch_event(number: int, report: EpochReport) -> Event:
    """A trial has completed an epoch."""
    return {
        "kind": "epoch",
        "number": number,
        "epoch": report.epoch,
        "timestamp_ms": report.timestamp_ms,
        "metrics": dict(report.metrics),
    }


def moved_event(number: int, moves: int, timestamp_ms: int) -> Event:
    """A trial lost its place, for the so manieth time, and goes on elsewhere."""
    return {
        "kind": "trial_moved",
        "number": number,
        "moves": moves,
        "timestamp_ms": timestamp_ms,
    }


def ended_event(trial: TrialSummary, timestamp_ms: int) -> Event:
    """A trial has ended as the study says."""
    return {
        "kind": "trial_ended",
        "number": trial.number,
        "state": str(trial.state),
        "value": trial.value,
        "best_epoch": trial.best_epoch,
        "cause": asdict(trial.cause) if trial.cause else None,
        "timestamp_ms": timestamp_ms,
    }


@dataclass
class Told:
    """What an outbox holds of a sweep's trials."""

    started: set[int] = field(default_factory=set)
    epochs: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    ended: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> "Told":
        """What these events, in their order, come to."""
        told = cls()
        for one in events:
            told.add(one)
        return told

    def add(self, event: Mapping[str, Any]) -> None:
        """Take up one event."""
        match event.get("kind"):
            case "trial_started":
                self.started.add(event["number"])
                if event.get("continued"):
                    self.ended.pop(event["number"], None)
            case "epoch":
                self.epochs[event["number"]].add(event["epoch"])
            case "trial_ended":
                self.ended[event["number"]] = event["state"]


def missing_events(
    study: StudyReader, spec: SweepSpec, told: Told, tags: Mapping[str, str]
) -> list[Event]:
    """Events of trials that have ended which the outbox lacks, in the order of the trials.

    What it lacks of unfinished trials comes when they go on.
    """
    events: list[Event] = []
    plan = TrialPlan.of(study.attributes)
    for trial in study.summaries():
        if trial.state is TrialState.RUNNING:
            continue
        if trial.number not in told.started:
            events.append(_started_again(trial, spec, tags, plan))
            if trial.moves:
                events.append(moved_event(trial.number, trial.moves, trial.ended_ms or 0))
        rows = missing_rows(study, trial, told.epochs[trial.number])
        events += [epoch_event(trial.number, row) for row in rows]
        if told.ended.get(trial.number) != str(trial.state):
            events.append(ended_event(trial, trial.ended_ms or 0))
    return events


def _started_again(
    trial: TrialSummary, spec: SweepSpec, tags: Mapping[str, str], plan: TrialPlan
) -> Event:
    settings = None
    try:
        settings = resolve(spec, trial.parameters) if trial.key else None
    except PrvrError:
        # Written by another version, whose settings are not ours: its run is there without them.
        settings = None
    return started_event(
        trial.number,
        trial.started_ms or 0,
        tags,
        trial.parameters,
        key=trial.key,
        settings=settings,
        origin=origin_of(trial.number, plan, trial.taken_from),
    )
