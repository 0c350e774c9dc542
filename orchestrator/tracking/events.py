"""The events of a sweep and its trials for the tracker.

The driver writes them to the outbox. Their keys are read by later versions and must not change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from orchestrator.spec.sections import DataSource
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.goals import Goals, cost_text
from orchestrator.study.planned_trials import TrialPlan
from orchestrator.study.trial import TrialSummary
from orchestrator.tracking.run_change import DataRecord
from prvr_model.reporting import EpochReport
from prvr_model.settings import Settings, flat_settings

Event: TypeAlias = dict[str, Any]

REPORT_NUMBERS = "report.json"
REPORT_FILES = ("report.html", REPORT_NUMBERS, "report.md")
"""Files of a sweep's report, beside its trials and on its own run."""


def sweep_started_event(
    spec: SweepSpec, tags: Mapping[str, str], data: DataRecord | None, timestamp_ms: int
) -> Event:
    """A sweep begins or is resumed; without `data`, runs do not name the data set."""
    return {
        "kind": "sweep_started",
        "sweep": spec.name,
        "question": spec.question,
        "spec_yaml": spec.dump_yaml(),
        "params": _sweep_params(spec),
        "tags": dict(tags),
        "labels": _labels(spec),
        "data": asdict(data) if data else None,
        **({"goals": goals.to_json()} if (goals := Goals.of_spec(spec)) else {}),
        "timestamp_ms": timestamp_ms,
    }


def data_record(source: DataSource, name: str, fingerprint: str) -> DataRecord:
    """The data of a spec as a tracker lists it.

    Args:
        source: The spec's data.
        name: Name in the store's manifest.
        fingerprint: Fingerprint in the store's manifest.
    """
    generated = source.synthetic.model_dump(mode="json") if source.synthetic else None
    return DataRecord(name, fingerprint, source.store or "", generated)


def _labels(spec: SweepSpec) -> dict[str, str]:
    """Tags by which a user finds a sweep, beside its name."""
    labels = {"protocol": str(spec.protocol)}
    if spec.ablation is not None:
        labels |= {"design": spec.ablation.design, "baseline": spec.ablation.baseline.name}
    return labels


def _sweep_params(spec: SweepSpec) -> dict[str, Any]:
    """Parameters that all trials of a sweep share, flat; a trial's own are in its event."""
    return {
        "preset": spec.preset,
        "objective.metric": spec.objective.metric,
        "objective.direction": spec.objective.direction,
        **_goal_params(Goals.of_spec(spec)),
        **_kind_params(spec),
        **{f"early_stopping.{key}": value for key, value in spec.early_stopping},
        **spec.settings,
    }


def _goal_params(goals: Goals) -> dict[str, str]:
    """Parameters that say what trials are to cost; none with a single objective and no limit."""
    objectives = [f"{direction} {metric}" for metric, direction in goals.objectives.items()]
    limits = [f"{name} {cost_text(most)}" for name, most in goals.limits.items()]
    return {
        **({"objectives": ", ".join(objectives), "crown": goals.crown} if objectives else {}),
        **({"limits": ", ".join(limits)} if limits else {}),
    }


def _kind_params(spec: SweepSpec) -> dict[str, Any]:
    """Parameters that say how trials are chosen."""
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
    """What a planned trial is a run of, for its event; empty for a trial that was drawn.

    Args:
        number: The trial.
        plan: The sweep's planned trials.
        taken_from: The trial whose results it copied.
    """
    planned = plan.trials.get(number)
    fields = {
        "variant": planned.variant if planned else None,
        "block": planned.block if planned else None,
        "confirms": planned.confirms if planned else None,
        "taken_from": taken_from,
    }
    return {key: value for key, value in fields.items() if value is not None}


@dataclass(frozen=True)
class StartedTrial:
    """A trial that begins or continues.

    Args:
        number: Its number.
        parameters: Its parameters.
        key: Its content key; empty where its settings could not be built.
        settings: Its settings; None if they could not be built.
        continued: Whether it was complete before, with fewer epochs.
        origin: What it is a run of, see `origin_of`.
    """

    number: int
    parameters: Mapping[str, Any]
    key: str = ""
    settings: Settings | None = None
    continued: bool = False
    origin: Mapping[str, Any] = field(default_factory=dict)

    def event(self, tags: Mapping[str, str], timestamp_ms: int) -> Event:
        """The event that the trial begins or continues."""
        return {
            "kind": "trial_started",
            "number": self.number,
            "tags": dict(tags),
            "timestamp_ms": timestamp_ms,
            "key": self.key,
            "seed": self.settings.training.seed if self.settings else None,
            "params": flat_settings(self.settings) if self.settings else {},
            "parameters": dict(self.parameters),
            "continued": self.continued,
            **self.origin,
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
    """A trial was evicted for the `moves`-th time and continues on another node."""
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
        **({"costs": dict(trial.costs)} if trial.costs else {}),
        **({"over_limit": trial.over_limit} if trial.over_limit else {}),
        "timestamp_ms": timestamp_ms,
    }


def sweep_ended_event(state: str, counts: Mapping[str, int], timestamp_ms: int) -> Event:
    """A sweep has finished or was interrupted; `counts` are its trials by state."""
    return {
        "kind": "sweep_ended",
        "state": state,
        "counts": dict(counts),
        "timestamp_ms": timestamp_ms,
    }


def report_event(files: Mapping[str, str], answer: str, timestamp_ms: int) -> Event:
    """The report of a sweep that has ended: its files, and its answer in two sentences."""
    return {
        "kind": "report",
        "files": dict(files),
        "answer": answer,
        "timestamp_ms": timestamp_ms,
    }


def joint_report_event(
    joint: str, files: Mapping[str, str], answer: str, timestamp_ms: int
) -> Event:
    """The report of the sweep over several data sets that a sweep is a part of, named `joint`."""
    return {
        "kind": "joint_report",
        "joint": joint,
        "files": dict(files),
        "answer": answer,
        "timestamp_ms": timestamp_ms,
    }


def registered_event(versions: Sequence[Mapping[str, Any]], timestamp_ms: int) -> Event:
    """Trials were registered; `versions` as `RegisteredVersion.to_record` gives them."""
    return {
        "kind": "registered",
        "versions": [dict(version) for version in versions],
        "timestamp_ms": timestamp_ms,
    }
