"""What the parts of a sweep say to each other about a trial."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

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
        speed: What changes only speed.
        store: Absolute path or URI of the feature store, see `trial_data.local_request`.
        data_fingerprint: Fingerprint of its content.
        folder: URI of the trial's folder, its resume point.
        cache: Folder of copies of stores where the machine names none; None: neither did the
            sweep's driver.
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
    epochs completed, from 1. `continued_from_epochs` is set where the trial was complete after so
    many epochs and was then given more. `variant` names the row of an ablation that the trial is a
    run of, `confirms` the trial whose configuration it runs again with a fresh seed, and
    `taken_from` the sweep and number (`SWEEP/NUMBER`) of the trial whose results it took over.
    `workers` are the numbers of workers that trained its epochs, in their order; empty where it
    trained alone. `moves` counts how often it was evicted, e.g. with its node, and continued
    elsewhere.
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
    workers: tuple[int, ...] = ()
    moves: int = 0
