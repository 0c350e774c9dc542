"""A running sweep with all that belongs to it as one object, and the hooks that observe it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from orchestrator.base.our_code import TRAIN_TRIAL
from orchestrator.cluster.capacity import RunningCluster
from orchestrator.executors.executor import Executor
from orchestrator.spec.data import trial_store
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.statistics.outcomes import VideosOfQueries
from orchestrator.study.outcomes import validation_videos
from orchestrator.study.study import study_url
from orchestrator.sweep.locations import SweepLocations
from orchestrator.sweep.progress import Progress, SilentProgress
from orchestrator.tracking.missing_events import Told
from orchestrator.tracking.outbox import EventSink

if TYPE_CHECKING:
    from prvr_model.store.format import Manifest
    from prvr_model.store.reader import FeatureStore

ExecutorName: TypeAlias = Literal["tune", "inline"]

ReadVideos: TypeAlias = Callable[[], VideosOfQueries]
"""Reads the video of each validation query."""


@dataclass(frozen=True)
class TrialData:
    """The data that trials train on.

    Args:
        store: Absolute path of the feature store, or the URI from which each machine copies it.
        fingerprint: Fingerprint of the store's content.
        videos: Reads the video of each validation query; None: a race cannot be judged and ends.
        name: Name of the data set.
        manifest: What the store says of itself; None if it is not at hand.
    """

    store: str
    fingerprint: str
    videos: ReadVideos | None = None
    name: str = "data"
    manifest: "Manifest | None" = None

    @classmethod
    def of(cls, spec: SweepSpec, store: "FeatureStore") -> "TrialData":
        """The data of a spec whose store is open."""
        location = str(trial_store(spec.data, store))
        manifest = store.manifest
        fingerprint, name = manifest.fingerprint, manifest.name
        return cls(location, fingerprint, lambda: validation_videos(store), name, manifest)


@dataclass(frozen=True)
class SweepContext:
    """A sweep that is ready to run, whether new or resumed.

    Args:
        spec: The sweep.
        locations: Where it keeps things.
        data: The data that its trials train on.
        outbox_id: Identity of its outbox; empty if it has none, as in tests.
        executor: Where trials run: Ray Tune, this process, or an executor object.
        address: Address of a running Ray cluster, as the user named it; None: our own Ray.
        cluster: That cluster, after its nodes were checked.
        told: What the outbox held when a resumed sweep opened it; None if the sweep is new.
        trial_function: Trains one trial; MODULE:FUNCTION.
        study_url: Optuna storage; empty: SQLite in the home.
    """

    spec: SweepSpec
    locations: SweepLocations
    data: TrialData
    outbox_id: str = ""
    executor: ExecutorName | Executor = "tune"
    address: str | None = None
    cluster: RunningCluster | None = None
    told: Told | None = None
    trial_function: str = TRAIN_TRIAL
    study_url: str = ""

    @property
    def home(self) -> Path:
        """The home folder, absolute."""
        return self.locations.home

    @property
    def url(self) -> str:
        """Optuna storage of the study."""
        return self.study_url or study_url(self.home)

    @property
    def storage(self) -> str:
        """URI or absolute path below which the sweep's folder is."""
        return self.locations.storage or str(self.home.resolve())

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier driver ran this sweep."""
        return self.told is not None

    def attributes(self) -> dict[str, Any]:
        """What a resume needs to know; the study keeps it."""
        if not self.outbox_id:
            return {}
        ran = {"executor": self.executor, "address": self.address}
        return {"places": {**self.locations.remembered(), **ran}, "outbox_id": self.outbox_id}


@dataclass(frozen=True)
class Hooks:
    """Observers of a running sweep; they change no result.

    Args:
        sink: Takes events for the tracker; None: events are dropped.
        progress: Shows what happens.
    """

    sink: EventSink | None = None
    progress: Progress = field(default_factory=SilentProgress)


class SafeSink:
    """Passes events to the tracker; an error there is shown and stops no trial.

    Args:
        sink: Takes the events; None: they are dropped.
        warn: Takes a line for the user; each error is shown once.
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
        except Exception as error:  # noqa: BLE001  (shown, and the sweep continues)
            self._show(f"tracking: {type(error).__name__}: {error}")

    def _show(self, message: str) -> None:
        if message not in self.errors:
            self._warn(message)
            self.errors.append(message)
