"""Which trial an MLflow run shows."""

import re
from dataclasses import dataclass

from orchestrator.base.errors import ReproductionError
from orchestrator.tracking.registry import reachable
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.view import SWEEP_ID_TAG, SWEEP_TAG, TRIAL_TAG

_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class TrackedTrial:
    """A trial as MLflow knows it; `sweep_id` is the identity of its sweep's outbox."""

    sweep: str
    number: int
    sweep_id: str


def is_run_id(text: str) -> bool:
    """Whether a text has the form of MLflow's run ids: 32 hexadecimal digits."""
    return _RUN_ID.fullmatch(text) is not None


def tracked_trial(store: TrackingStore, run_id: str) -> TrackedTrial:
    """The trial of a run.

    Args:
        store: Where MLflow keeps runs.
        run_id: The run.

    Raises:
        TrackingError: There is no such store.
        TrackingOutageError: It cannot be reached, or has no such run.
        ReproductionError: The run is none of a trial.
    """
    store.check_exists()
    with reachable(store):
        from orchestrator.tracking.writer import connect

        tags = connect(store).get_run(run_id).data.tags
    missing = [tag for tag in (SWEEP_TAG, TRIAL_TAG, SWEEP_ID_TAG) if tag not in tags]
    if missing == [TRIAL_TAG]:
        sweep = tags[SWEEP_TAG]
        raise ReproductionError(
            f"run {run_id} is that of the sweep {sweep!r} itself; name the run of one of its "
            f"trials, or {sweep}/NUMBER"
        )
    if missing:
        raise ReproductionError(
            f"run {run_id} at {store.uri} is no trial of a sweep: it has no tag "
            f"{', '.join(missing)}"
        )
    return TrackedTrial(tags[SWEEP_TAG], int(tags[TRIAL_TAG]), tags[SWEEP_ID_TAG])
