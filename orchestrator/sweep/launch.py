"""The main job: check, prepare, run, publish, register.

MLflow may be unreachable the whole time: the trials run, and the outbox keeps MLflow's events.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.base.errors import LocationError, SweepExistsError, SweepNotFoundError
from orchestrator.base.home import outbox_path
from orchestrator.base.stopwatch import phase
from orchestrator.base.text import command
from orchestrator.report.publishing import publish
from orchestrator.spec.changes import extensions, spec_changes
from orchestrator.spec.data import check_labels, mismatch_warnings, open_data
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.confirmation import crowned
from orchestrator.study.earlier_trials import earlier_trials
from orchestrator.study.frozen_ranks import keep_frozen_ranks
from orchestrator.study.joint_record import joint_record
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.test_scores import scored
from orchestrator.sweep.context import ExecutorName, Hooks, SweepContext, TrialData
from orchestrator.sweep.locations import SweepLocations, claim, held_home
from orchestrator.sweep.progress import Progress
from orchestrator.sweep.ready_cluster import with_cluster
from orchestrator.sweep.registration import register_best, tell_registered
from orchestrator.sweep.run import SweepResult, run_trials
from orchestrator.sweep.status import num_asked_for
from orchestrator.sweep.timed_sink import timed
from orchestrator.tracking.model_version import RegisteredVersion
from orchestrator.tracking.outbox import Outbox, identity_of, set_aside
from orchestrator.tracking.sender import MlflowSender, mlflow_sender, stop_limit_s
from orchestrator.tracking.view import SPEC_FILE
from prvr_model.files.location import is_uri

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

# At the end MLflow gets this long to take the remaining events; all of a sweep's take seconds.
_FLUSH_S = 60.0
# After Ctrl-C everything ends within 10 s; what is not sent stays in the outbox.
_INTERRUPTED_FLUSH_S = 2.0
_MLFLOW = "waiting for MLflow"


@dataclass(frozen=True)
class LaunchResult:
    """How a launch ended.

    Args:
        sweep: How its trials ended.
        registered: New versions, best first; empty after an interruption or without a
            complete trial.
        test: Metrics of the winner on test; None if not scored, or without a test split.
        problem: What kept results or models from MLflow; None if all of them arrived.
        report: Path or URI of the sweep's report page; None if it was not made.
        protocol: Which split the results are from, see `SweepSpec.protocol`.
        is_unscored: Whether scoring on test failed for a selected trial.
    """

    sweep: SweepResult
    registered: tuple[RegisteredVersion, ...]
    test: dict[str, float] | None
    problem: str | None
    report: str | None = None
    protocol: str = "validation"
    is_unscored: bool = False


def launch(
    spec: SweepSpec,
    locations: SweepLocations,
    progress: Progress,
    executor: ExecutorName = "tune",
    address: str | None = None,
) -> LaunchResult:
    """Run a new sweep, send it to MLflow and register its best models.

    Args:
        spec: The sweep.
        locations: Where it keeps things.
        progress: Shows what happens.
        executor: Where trials run.
        address: Address of a running Ray cluster, `auto` or HOST:PORT; None: start our own Ray.

    Raises:
        ClusterError: Nothing answers at the address.
        SweepExistsError: There is a sweep of this name in the home.
        HomeLockedError: Another driver runs a sweep in the home.
        LocationError: Home or storage cannot be written, or a node of the cluster lacks them.
        DataError: The data is missing or damaged.
    """
    _refuse_existing(spec, locations.home)
    with held_home(locations.home, spec.name):
        with phase("data"):
            store = open_data(spec.data, locations.home, progress.warn)
        check_labels(spec, store)
        # Read again for the study; here its problems come before any file is made.
        earlier_trials(spec, store.manifest.fingerprint, locations.home)
        if spec.data.store is not None and is_uri(spec.data.store):
            # The plan saw the manifest alone.
            for warning in mismatch_warnings(store):
                progress.warn(warning)
        outbox = _new_outbox(spec.name, locations.home)
        data = TrialData.of(spec, store)
        context = SweepContext(spec, locations, data, outbox.identity, executor, address)
        return run(context, store, outbox, progress)


def run(
    context: SweepContext, store: "FeatureStore", outbox: Outbox, progress: Progress
) -> LaunchResult:
    """Run a sweep's trials, send them to MLflow and register the best; the home is locked.

    Args:
        context: The sweep, new or resumed.
        store: Its data.
        outbox: Its outbox, open for writing; closed at the end.
        progress: Shows what happens.

    Raises:
        LocationError: The storage cannot be written, or a node of the cluster lacks it.
    """
    with closing(outbox):
        _keep_spec(context)
        context = with_cluster(context, store, progress.warn)
        with _sending(context, store, outbox, progress.warn) as sender:
            result = run_trials(context, Hooks(timed(outbox), progress))
            if result.interrupted:
                sent = sender.flush(_INTERRUPTED_FLUSH_S)
                return LaunchResult(result, (), None, None if sent else sender.problem)
            return _conclude(_Ended(context, store, outbox, sender), result, progress)


@contextmanager
def _sending(
    context: SweepContext, store: "FeatureStore", outbox: Outbox, warn: Callable[[str], None]
) -> Iterator[MlflowSender]:
    """Send the outbox to MLflow while the block runs; an unreachable server is reported at once."""
    sender = mlflow_sender(outbox, context.locations.tracking, store.manifest.name, warn)
    try:
        with phase(_MLFLOW):
            sender.start()
        yield sender
    except BaseException:
        # Otherwise MLflow would keep showing the sweep as running.
        sender.flush(_INTERRUPTED_FLUSH_S)
        raise
    finally:
        with phase(_MLFLOW):
            sender.stop(stop_limit_s(context.locations.tracking))


@dataclass(frozen=True)
class _Ended:
    """A sweep whose trials have ended, with the objects that its conclusion needs."""

    context: SweepContext
    store: "FeatureStore"
    outbox: Outbox
    sender: MlflowSender


def _conclude(ended: _Ended, result: SweepResult, progress: Progress) -> LaunchResult:
    """Score the selected trials on test, write the report, wait for MLflow, register."""
    context, store, sender = ended.context, ended.store, ended.sender
    spec = context.spec
    selected = crowned(StudyReader.open(context.url, spec.name), spec.registration.top)
    with phase("test scores"):
        scores, unscored = scored(selected, spec, store, context.home)
        keep_frozen_ranks(spec, store, context.home, progress.warn)
    with phase("report"):
        report = publish(context.home, spec.name, context.storage, ended.outbox, progress.warn)
    if sender.problem:
        progress.warn(f"waiting up to {_FLUSH_S:.0f} s for MLflow")
    with phase(_MLFLOW):
        sender.flush(_FLUSH_S)
    with phase("registration"):
        registration = register_best(context, store, selected, scores)
    if registration.versions:
        tell_registered(context, ended.outbox, registration.versions)
        with phase(_MLFLOW):
            sender.flush(_FLUSH_S)
    winner = scores.get(selected[0].number) if selected else None
    return LaunchResult(
        result,
        registration.versions,
        dict(winner.metrics) if winner else None,
        registration.problem or unscored or sender.problem,
        report,
        spec.protocol,
        is_unscored=bool(unscored),
    )


def _new_outbox(sweep: str, home: Path) -> Outbox:
    """The outbox of a new sweep.

    An existing one that has trials or is damaged belongs to a lost study: it is renamed.
    """
    path = outbox_path(home, sweep)
    if path.exists() and (identity_of(path) is None or _has_trials(path)):
        set_aside(path)
    return Outbox(path)


def _has_trials(path: Path) -> bool:
    with closing(Outbox(path)) as outbox:
        return any("number" in event for event in outbox.events())


def _keep_spec(context: SweepContext) -> None:
    """Claim the trials' folder and write the spec into it, which shows that it can be written."""
    from prvr_model.files.folder import Folder, StorageError

    spec, locations = context.spec, context.locations
    try:
        folder = Folder.open(locations.storage or locations.home).child(spec.name)
        claim(folder, context.outbox_id, locations.home)
        folder.remove_partial_files()
        folder.write_bytes(SPEC_FILE, spec.dump_yaml().encode())
    except StorageError as error:
        raise LocationError(f"cannot use the storage for trials (--storage): {error}") from error


def _refuse_existing(spec: SweepSpec, home: Path) -> None:
    """Refuse a sweep that exists before any file is made; opening the study would do so later."""
    if joint_record(home, spec.name) is not None:
        advice = "a sweep over several data sets has this name: launch this under another one"
        raise SweepExistsError(spec.name, str(home), f"{advice} (--set name=...)")
    try:
        study = StudyReader.open(study_url(home), spec.name)
    except SweepNotFoundError:
        return
    counts = ", ".join(f"{number} {state}" for state, number in study.counts().items() if number)
    # A sweep that ended before its first trial has nothing to lose: it is launched anew.
    if counts:
        to_come = num_asked_for(study.attributes, study.summaries()) - study.num_asked()
        counts += f", {to_come} to come" if to_come > 0 else ""
        raise SweepExistsError(spec.name, f"{study.url} ({counts})", _advice(study, spec, home))


def _advice(study: StudyReader, spec: SweepSpec, home: Path) -> str:
    """What the user can do: resume the existing sweep, extend it, or choose another name."""
    resume = f"`{command('resume', spec.name, home=home)}`"
    look = f"`{command('status', spec.name, home=home)}`"
    changes = spec_changes(study.attributes.get("spec_yaml", ""), spec)
    if not changes:
        return f"it has the same spec: continue it by {resume}, or look at it with {look}"
    listed = [f"  {path}: found {new}, the sweep has {old}" for path, (old, new) in changes.items()]
    longer = extensions(changes)
    differs = "its spec differs, and trials of two spaces or settings cannot be compared:"
    by_options = f", or extend the sweep by {resume[:-1]} {longer}`" if longer else ""
    return "\n".join(
        [
            "the sweep is of another size:" if longer else differs,
            *listed,
            f"launch this under another name (--set name=...){by_options}; continue the sweep as "
            f"it was by {resume}, or look at it with {look}",
        ]
    )
