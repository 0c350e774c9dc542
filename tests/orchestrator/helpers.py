"""Small sweeps and the events they send, for the tests of this folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.base.our_code import TRAIN_TRIAL
from orchestrator.executors.executor import Executor
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.goals import GOALS, Goals
from orchestrator.study.pruners import build_pruner
from orchestrator.study.samplers import build_sampler
from orchestrator.study.searcher import Searcher
from orchestrator.study.study import SweepStudy, study_url
from orchestrator.sweep.context import ExecutorName, Hooks, ReadVideos, SweepContext, TrialData
from orchestrator.sweep.locations import SweepLocations
from orchestrator.sweep.progress import Progress, SilentProgress
from orchestrator.sweep.run import SweepResult, run_trials
from orchestrator.tracking.missing_events import Told
from orchestrator.tracking.outbox import EventSink
from orchestrator.tracking.store import TrackingStore
from prvr_model.reporting import BYTES_PER_VIDEO, PARAMETERS
from prvr_model.settings import Settings
from prvr_model.store.format import Manifest

FINGERPRINT = "0123456789abcdef"

_SPEC = """
name: small
question: Does the sweep do what its spec says?
data: builtin
settings: {optimizer.schedule_epochs: 9, losses.hard_negative_epoch: 0}
search:
  sampler: random
  seed: 3
  trials: 6
  parameters:
    losses.tau: {type: float, low: 0.5, high: 0.9, step: 0.1}
    losses.tcpl_angle_weight: {type: float, low: 5, high: 60, log: true}
    model.num_scales: {type: int, low: 1, high: 8}
    losses.cross_branch: {type: categorical, choices: [fixed, adaptive]}
early_stopping: {method: none, first_rung: 1, reduction: 3, max_epochs: 3}
"""


def small_spec(*overrides: str) -> SweepSpec:
    """A spec of six random trials of three epochs, changed by `path=value` texts."""
    return read_spec(_SPEC, overrides, "small.yaml", Path("/nowhere"))


def new_study(home: Path, spec: SweepSpec) -> SweepStudy:
    """A study of this spec in a home folder."""
    return SweepStudy.create(
        study_url(home),
        spec.name,
        spec.objective.direction,
        build_sampler(spec),
        build_pruner(spec.early_stopping),
        {"num_trials": spec.num_trials, GOALS: Goals.of_spec(spec).to_json()},
    )


def reopened_study(home: Path, spec: SweepSpec) -> SweepStudy:
    """The study as another process finds it."""
    return SweepStudy.reopen(
        study_url(home), spec.name, build_sampler(spec), build_pruner(spec.early_stopping)
    )


def new_searcher(study: SweepStudy, spec: SweepSpec) -> Searcher:
    """A searcher over a store that is never opened."""
    return Searcher(study, spec, "/store", FINGERPRINT, "/storage", made_up_costs)


def made_up_costs(settings: Settings) -> dict[str, float]:
    """Costs of a model as they follow from its settings: a scale costs as much as another."""
    return {BYTES_PER_VIDEO: 1000.0 * settings.model.num_scales, PARAMETERS: 1e6}


class ListSink:
    """Keeps events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def append(self, event: Mapping[str, Any]) -> None:
        self.events.append(dict(event))

    def kinds(self, number: int) -> list[str]:
        """Kinds of a trial's events, in order."""
        return [event["kind"] for event in self.events if event.get("number") == number]


def run_sweep(
    spec: SweepSpec,
    store: Path | str,
    fingerprint: str,
    home: Path,
    storage: str | None = None,
    sink: EventSink | None = None,
    progress: Progress | None = None,
    executor: ExecutorName | Executor = "tune",
    *,
    function: str = TRAIN_TRIAL,
    told: Told | None = None,
    videos: ReadVideos | None = None,
    manifest: Manifest | None = None,
    **context: Any,  # noqa: ANN401
) -> SweepResult:
    """Run the trials of a sweep, no launch around them; `context` are fields of its context."""
    return run_trials(
        SweepContext(
            spec,
            SweepLocations(home, storage, TrackingStore.of_home(home)),
            TrialData(str(store), fingerprint, videos, manifest=manifest),
            executor=executor,
            told=told,
            trial_function=function,
            **context,
        ),
        Hooks(sink, progress or SilentProgress()),
    )
