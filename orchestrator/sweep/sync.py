"""Brings MLflow up to date with a sweep afterwards, from the outbox that the sweep left."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.base.errors import SweepNotFoundError
from orchestrator.base.home import locked_home, outbox_path
from orchestrator.spec.loading import read_spec
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.sweep.locations import SweepLocations
from orchestrator.tracking.outbox_rebuild import whole_outbox
from orchestrator.tracking.sender import mlflow_sender
from prvr_model.store.sources import manifest_at

# A slow server takes minutes for a long sweep; what is not sent by then waits for the next call.
DEFAULT_LIMIT_S = 600.0
_STOP_S = 1.0


@dataclass(frozen=True)
class SyncResult:
    """How a sync ended.

    Args:
        uri: Address of MLflow.
        done: Whether MLflow has everything.
        problem: What MLflow refused, or why it cannot be reached; None without a problem.
    """

    uri: str
    done: bool
    problem: str | None


def sync(
    sweep: str,
    home: Path,
    tracking_uri: str | None = None,
    limit_s: float = DEFAULT_LIMIT_S,
    warn: Callable[[str], None] = lambda _: None,
) -> SyncResult:
    """Send the events of a sweep that MLflow lacks, and no others.

    Events that the outbox itself lacks are made again from the study and the checkpoints.

    Args:
        sweep: Name of the sweep.
        home: Its home.
        tracking_uri: Where MLflow is; None: as at the sweep's launch.
        limit_s: Seconds to keep trying.
        warn: Takes a line if MLflow cannot be reached.

    Raises:
        SweepNotFoundError: There is no such sweep in the home.
        TrackingError: Its outbox is lost, and the study does not know the outbox's identity.
        LocationError: MLflow's address has a password, which was not kept.
        HomeLockedError: A driver runs a sweep in the home and sends its events itself.
        DataError: The data, which names the experiment, is gone.
    """
    path = outbox_path(home, sweep)
    # Before the lock, which would create a home that does not exist.
    data_set = _data_set(sweep, home)
    with locked_home(home):
        study = StudyReader.open(study_url(home), sweep)
        kept = study.attributes.get("places", {})
        store = SweepLocations.recalled(kept, home, None, tracking_uri).tracking
        outbox = whole_outbox(path, study, home, warn)
        sender = mlflow_sender(outbox, store, data_set, warn)
        sender.start()
        try:
            done = sender.flush(limit_s)
            return SyncResult(store.uri, done, sender.problem)
        finally:
            sender.stop(_STOP_S)
            outbox.close()


def _data_set(sweep: str, home: Path) -> str:
    attributes = StudyReader.open(study_url(home), sweep).attributes
    if "spec_yaml" not in attributes:
        raise SweepNotFoundError(sweep, study_url(home), [])
    source = read_spec(attributes["spec_yaml"], (), f"spec of {sweep}", home).data
    if source.store is None:
        return "synthetic"
    return manifest_at(source.store).name
