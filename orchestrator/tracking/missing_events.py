"""Which events of a sweep's trials an outbox holds; makes the missing ones again.

A driver writes first to the study, then to the outbox. If it is killed in between, an event is
missing: the next driver makes it again from the study and the checkpoint.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.spec.search_space import resolve
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.history import missing_rows
from orchestrator.study.planned_trials import TrialPlan
from orchestrator.study.reader import StudyReader
from orchestrator.study.trial import TrialState, TrialSummary
from orchestrator.tracking.events import (
    Event,
    StartedTrial,
    ended_event,
    epoch_event,
    moved_event,
    origin_of,
)
from prvr_model.errors import PrvrError


@dataclass
class Told:
    """Which events of a sweep's trials an outbox holds."""

    started: set[int] = field(default_factory=set)
    epochs: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    ended: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> "Told":
        """The record of an outbox with these events."""
        told = cls()
        for event in events:
            told.add(event)
        return told

    def add(self, event: Mapping[str, Any]) -> None:
        """Record one event."""
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

    Events of unfinished trials are made when those trials continue.
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
        # Another version wrote the trial, with settings that this one lacks: its run shows none.
        settings = None
    origin = origin_of(trial.number, plan, trial.taken_from)
    started = StartedTrial(
        trial.number, trial.parameters, trial.key, settings=settings, origin=origin
    )
    return started.event(tags, trial.started_ms or 0)
