"""Brings MLflow up to date with a sweep afterwards, from the outbox that the sweep left."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.base.errors import SweepNotFoundError
from orchestrator.base.home import outbox_path
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.sweep.context import SweepContext, TrialData
from orchestrator.sweep.locations import SweepLocations, held_home
from orchestrator.sweep.registration import register_again
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.outbox_rebuild import whole_outbox
from orchestrator.tracking.sender import mlflow_sender, stop_limit_s
from prvr_model.store.sources import manifest_at

# A slow server takes minutes for a long sweep; what is not sent by then waits for the next call.
DEFAULT_LIMIT_S = 600.0


@dataclass(frozen=True)
class SyncResult:
    """How a sync ended.

    Args:
        uri: Address of MLflow, without a password.
        done: Whether MLflow has everything.
        problem: What MLflow refused, or why it cannot be reached; None without a problem.
        said: What was deleted or lost and is there again, a line each, beside other messages.
    """

    uri: str
    done: bool
    problem: str | None
    said: tuple[str, ...] = ()


def sync(
    sweep: str,
    home: Path,
    tracking_uri: str | None = None,
    limit_s: float = DEFAULT_LIMIT_S,
    warn: Callable[[str], None] = lambda _: None,
) -> SyncResult:
    """Send the events of a sweep that MLflow lacks, and no others.

    Events that the outbox itself lacks are made again from the study and the checkpoints. What was
    sent and is not there any more is restored or made again, models of the registry too.

    Args:
        sweep: Name of the sweep.
        home: Its home.
        tracking_uri: Where MLflow is; None: as at the sweep's launch.
        limit_s: Seconds to keep trying.
        warn: Takes a line if MLflow cannot be reached, and about what it had lost.

    Raises:
        SweepNotFoundError: There is no such sweep in the home.
        TrackingError: Its outbox is lost, and the study does not know the outbox's identity.
        LocationError: MLflow's address has a password, which was not kept.
        HomeLockedError: A driver runs a sweep in the home and sends its events itself.
        DataError: The data, which names the experiment, is gone; only if an older version
            launched the sweep, which did not keep the name.
    """
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        warn(line)

    with held_sweep(sweep, home, tracking_uri, say) as (context, outbox):
        done, problem = _bring_up_to_date(context, outbox, limit_s, say)
        return SyncResult(context.locations.tracking.shown, done, problem, tuple(said))


@contextmanager
def held_sweep(
    sweep: str, home: Path, tracking_uri: str | None, say: Callable[[str], None]
) -> Iterator[tuple[SweepContext, Outbox]]:
    """Hold a sweep that no driver runs, with its outbox open and whole; see `sync`."""
    # Before the lock, which would create a home that does not exist.
    spec = _spec(sweep, home)
    with held_home(home):
        study = StudyReader.open(study_url(home), sweep)
        about = study.attributes
        locations = SweepLocations.recalled(about.get("places", {}), home, None, tracking_uri)
        data = TrialData("", about.get("data_fingerprint", ""), name=_data_set(spec, study))
        outbox = whole_outbox(outbox_path(home, sweep), study, home, say)
        with closing(outbox):
            yield SweepContext(spec, locations, data, outbox.identity), outbox


def _bring_up_to_date(
    context: SweepContext, outbox: Outbox, limit_s: float, say: Callable[[str], None]
) -> tuple[bool, str | None]:
    """Send what is missing, and register models again; whether all is there, and the problem."""
    sender = mlflow_sender(outbox, context.locations.tracking, context.data.name, say)
    sender.start()
    try:
        if not sender.flush(limit_s):
            return False, sender.problem
        study = StudyReader.open(context.url, context.spec.name)
        problem = register_again(context, study, outbox, say)
        return sender.flush(limit_s), problem or sender.problem
    finally:
        sender.stop(stop_limit_s(context.locations.tracking))


def _spec(sweep: str, home: Path) -> SweepSpec:
    study = StudyReader.open(study_url(home), sweep)
    if "spec_yaml" not in study.attributes:
        raise SweepNotFoundError(sweep, study_url(home), [])
    return read_spec(study.attributes["spec_yaml"], (), f"spec of {sweep}", home)


def _data_set(spec: SweepSpec, study: StudyReader) -> str:
    if name := study.attributes.get("data_name"):
        return str(name)
    return "synthetic" if spec.data.store is None else manifest_at(spec.data.store).name
