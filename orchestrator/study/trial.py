"""Records by which the parts of a sweep tell each other about a trial."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from prvr_model.results_version import RESULTS_VERSION
from prvr_model.settings import Settings, SpeedSettings


class TrialState(StrEnum):
    """State of a trial as the study knows it."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True)
class TrialRequest:
    """One trial to be run; plain enough to be sent to another process.

    Args:
        sweep: Name of the sweep.
        number: Optuna number of the trial; its identity.
        key: Content key, see `content_key.trial_key`.
        parameters: Sampled values by dotted path.
        settings: Resolved settings, seed included.
        speed: Settings of speed.
        store: Absolute path or URI of the feature store, see `trial_data.local_request`.
        data_fingerprint: Fingerprint of its content.
        folder: URI of the trial's folder, its resume point.
        cache: Folder for copies of stores on machines that name none themselves; None if the
            driver's machine names none either.
    """

    sweep: str
    number: int
    key: str
    parameters: dict[str, Any]
    settings: Settings
    speed: SpeedSettings
    store: str
    data_fingerprint: str
    folder: str
    cache: str | None = None


@dataclass(frozen=True)
class FailureCause:
    """Why a trial failed: class of the error, its message and traceback."""

    kind: str
    message: str
    traceback: str


@dataclass(frozen=True)
class TrialSummary:
    """A trial as `status`, the winner's lines and the registry see it, read from the study.

    `value` is the best objective so far, None before the first epoch; `best_epoch` counts
    epochs completed, from 1. `continued_from_epochs` is set if an extension gave the trial more
    epochs: after how many it was complete before. `variant` names the row of an ablation that the
    trial is a run of, `confirms` the trial whose configuration it runs again with a fresh seed, and
    `taken_from` the trial (`SWEEP/NUMBER`) whose results it copied: those of its first
    `taken_epochs` epochs, or all of them if that is None. `workers` says how many workers trained
    its epochs, one number for each change; empty if one process trained it alone. `moves` counts
    how often it was evicted, e.g. with its node, and continued elsewhere. `results_version` is the
    version of the numbers that it began with. `costs` are those that the sweep's objectives and
    limits need; `over_limit` says which limits a trial exceeds that for this was not trained.
    """

    number: int
    state: TrialState
    parameters: dict[str, Any]
    value: float | None
    best_epoch: int | None
    epochs: int
    key: str
    folder: str
    cause: FailureCause | None = None
    seed: int | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    continued_from_epochs: int | None = None
    variant: str | None = None
    confirms: int | None = None
    taken_from: str | None = None
    taken_epochs: int | None = None
    workers: tuple[int, ...] = ()
    moves: int = 0
    results_version: int = RESULTS_VERSION
    costs: Mapping[str, float] = field(default_factory=dict)
    over_limit: str | None = None

    @property
    def is_taken(self) -> bool:
        """Whether all its results were copied, so that none of its epochs was trained."""
        if self.taken_from is None:
            return False
        return self.taken_epochs is None or self.epochs <= self.taken_epochs
