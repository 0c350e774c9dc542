"""Brings MLflow up to date with a sweep afterwards, from the outbox that the sweep left."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import SweepNotFoundError
from orchestrator.home_lock import locked_home
from orchestrator.mlflow_tracker import mlflow_sender
from orchestrator.outbox import Outbox
from orchestrator.outbox_rebuild import rebuild_outbox
from orchestrator.spec_loading import read_spec
from orchestrator.study import StudyReader, study_url
from orchestrator.tracking_store import TrackingStore
from prvr_model.store_files import manifest_at

# A slow server takes minutes for a long sweep; what is not sent by then waits for the next call.
DEFAULT_LIMIT_S = 600.0
_STOP_S = 1.0


@dataclass(frozen=True)
class SyncResult:
    """What came of it.

    Args:
        done: Whether MLflow has everything.
        problem: What it was refused or what is in the way; None: nothing.
    """

    done: bool
    problem: str | None


def sync(
    sweep: str,
    home: Path,
    store: TrackingStore,
    limit_s: float = DEFAULT_LIMIT_S,
    warn: Callable[[str], None] = lambda _: None,
) -> SyncResult:
    """Send what MLflow has not got of a sweep; what it has is not doubled.

    Args:
        sweep: Name of the sweep.
        home: Its home.
        store: Where MLflow keeps runs.
        limit_s: Seconds to keep trying.
        warn: Takes a line when MLflow turns out to be away.

    Raises:
        SweepNotFoundError: There is no such sweep in the home.
        TrackingError: Its outbox is lost, and the study does not know what it was called.
        HomeLockedError: A sweep runs in the home, and sends by itself.
        DataError: Its data, which names the experiment, is gone.
    """
    path = outbox_path(home, sweep)
    data_set = _data_set(sweep, home)
    with locked_home(home):
        if not path.exists():
            warn(f"the outbox {path} is lost; it is made again from the study and the checkpoints")
            rebuild_outbox(path, StudyReader.open(study_url(home), sweep), home)
        outbox = Outbox(path)
        sender = mlflow_sender(outbox, store, data_set, warn)
        sender.start()
        try:
            done = sender.flush(limit_s)
            return SyncResult(done, sender.problem)
        finally:
            sender.stop(_STOP_S)
            outbox.close()


def outbox_path(home: Path, sweep: str) -> Path:
    """The outbox of a sweep."""
    return home / "outbox" / f"{sweep}.jsonl"


def _data_set(sweep: str, home: Path) -> str:
    attributes = StudyReader.open(study_url(home), sweep).attributes
    if "spec_yaml" not in attributes:
        raise SweepNotFoundError(sweep, study_url(home), [])
    source = read_spec(attributes["spec_yaml"], (), f"spec of {sweep}", home).data
    if source.store is None:
        return "synthetic"
    return manifest_at(source.store).name
