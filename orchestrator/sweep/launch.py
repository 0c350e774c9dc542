"""The main job: data, sweep, MLflow and the registry, in this order.

MLflow may be away all the while: trials run, and what it missed waits in the outbox.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.base.errors import (
    LocationError,
    RegistryError,
    SweepExistsError,
    SweepNotFoundError,
    TrackingOutageError,
)
from orchestrator.base.home import home_option, locked_home, outbox_path
from orchestrator.base.machine import package_versions
from orchestrator.cluster.autoscaler import bring_first_worker, coming_nodes, is_growing
from orchestrator.cluster.capacity import RunningCluster
from orchestrator.cluster.client import attached_cluster
from orchestrator.cluster.node_check import SharedData, marked_places
from orchestrator.preflight.estimate import trial_needs
from orchestrator.report.publishing import publish
from orchestrator.spec.changes import extensions, spec_changes
from orchestrator.spec.data import open_data, trial_store
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.confirmation import crowned
from orchestrator.study.outcomes import validation_videos
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.test_scores import SCORING_FAILED, Scores, scored, why_unscored
from orchestrator.study.trial import TrialSummary
from orchestrator.sweep.locations import SweepLocations, claim
from orchestrator.sweep.progress import Progress
from orchestrator.sweep.run import ExecutorName, SweepResult, run_sweep
from orchestrator.tracking.events import Told
from orchestrator.tracking.model_version import SweepOrigin, VersionCandidate
from orchestrator.tracking.outbox import Outbox, identity_of, set_aside
from orchestrator.tracking.registry import RegisteredVersion, register_champion
from orchestrator.tracking.sender import MlflowSender, mlflow_sender
from orchestrator.tracking.view import SPEC_FILE
from prvr_model.files.folder import uri_below

__all__ = ["Drive", "LaunchResult", "SweepLocations", "drive", "launch", "outbox_path"]

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

# MLflow gets this long at the end to take what is left; a sweep's events take a few seconds.
_FLUSH_S = 60.0
# After Ctrl-C everything ends within 10 s; what is not sent stays in the outbox.
_INTERRUPTED_FLUSH_S = 2.0
# A thread that hangs in a socket is left to end with the process.
_STOP_S = 1.0


@dataclass(frozen=True)
class LaunchResult:
    """What a launch came to.

    Args:
        sweep: The trials' result.
        registered: Versions made, best first; none after an interruption or without a
            complete trial.
        test: Metrics of the winner on test; None: not scored, or the data has no test split.
        problem: What kept results or models from MLflow; None: nothing.
        report: Where the page about the sweep is; None: there is none.
        protocol: What is reported, see `SweepSpec.protocol`.
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
    places: SweepLocations,
    progress: Progress,
    executor: ExecutorName = "tune",
    address: str | None = None,
) -> LaunchResult:
    """Run a new sweep, bring it to MLflow and register its best.

    Args:
        spec: The sweep.
        places: Where it keeps things.
        progress: Shows what happens.
        executor: Where trials run.
        address: Of a running Ray cluster: `auto` or HOST:PORT; None: a Ray of our own.

    Raises:
        ClusterError: Nothing answers at the address.
        SweepExistsError: There is a sweep of this name in the home.
        HomeLockedError: Another driver runs a sweep in the home.
        LocationError: Home or storage cannot be written, or a node of the cluster lacks them.
        DataError: The data is missing or damaged.
    """
    _refuse_existing(spec, places.home)
    with locked_home(places.home, spec.name):
        store = open_data(spec.data, places.home, progress.warn)
        outbox = _new_outbox(spec.name, places.home)
        return drive(Drive(spec, places, store, outbox, executor, address), progress)


@dataclass(frozen=True)
class Drive:
    """A sweep ready to be driven, new or to go on.

    Args:
        spec: The sweep.
        places: Where it keeps things.
        store: Its data.
        outbox: Its outbox, open for writing.
        executor: Where trials run.
        address: Of a running Ray cluster; None: a Ray of our own.
        told: What the outbox held when it was opened; None: the sweep is new.
    """

    spec: SweepSpec
    places: SweepLocations
    store: "FeatureStore"
    outbox: Outbox
    executor: ExecutorName
    address: str | None
    told: Told | None = None

    def attributes(self) -> dict[str, Any]:
        """What a resume has to know, kept with the study."""
        ran = {"executor": self.executor, "address": self.address}
        return {"places": {**self.places.remembered(), **ran}, "outbox_id": self.outbox.identity}


def drive(sweep: Drive, progress: Progress) -> LaunchResult:
    """Run a sweep's trials, bring them to MLflow and register the best; the home is locked.

    Raises:
        LocationError: The storage cannot be written, or a node of the cluster lacks it.
    """
    spec, places, store, outbox = sweep.spec, sweep.places, sweep.store, sweep.outbox
    sender = None
    try:
        _keep_spec(spec, places, outbox.identity)
        address = sweep.address
        cluster = None
        if address:
            storage = uri_below(places.storage or str(places.home), spec.name)
            cluster = ready_cluster(address, spec, store, storage, progress.warn)
        sender = mlflow_sender(outbox, places.tracking, store.manifest.name, progress.warn)
        sender.start()
        result = run_sweep(
            spec,
            trial_store(spec.data, store),
            store.manifest.fingerprint,
            places.home,
            places.storage,
            outbox,
            progress,
            sweep.executor,
            tags={f"version.{name}": one for name, one in package_versions().items()},
            cluster=cluster,
            attributes=sweep.attributes(),
            told=sweep.told,
            videos=lambda: validation_videos(store),
        )
        return _finish(spec, places, store, outbox, sender, result, progress)
    except BaseException:
        if sender is not None:
            # So that MLflow does not show for ever as running what has ended.
            sender.flush(_INTERRUPTED_FLUSH_S)
        raise
    finally:
        if sender is not None:
            sender.stop(_STOP_S)
        outbox.close()


def _new_outbox(sweep: str, home: Path) -> Outbox:
    """The outbox of a new sweep; one with trials, or a damaged one, is of a study that is gone."""
    path = outbox_path(home, sweep)
    if path.exists() and (identity_of(path) is None or _has_trials(path)):
        set_aside(path)
    return Outbox(path)


def _has_trials(path: Path) -> bool:
    there = Outbox(path)
    there.close()
    return any("number" in one for one in there.events())


def _refuse_existing(spec: SweepSpec, home: Path) -> None:
    """Say at once, before anything is made, what `run_sweep` would say later."""
    try:
        there = StudyReader.open(study_url(home), spec.name)
    except SweepNotFoundError:
        return
    counts = ", ".join(f"{count} {state}" for state, count in there.counts().items() if count)
    # A sweep that ended before its first trial has nothing to lose: `run_sweep` starts it anew.
    if counts:
        asked = there.attributes.get("num_trials", spec.num_trials)
        to_come = asked - sum(there.counts().values())
        counts += f", {to_come} to come" if to_come > 0 else ""
        raise SweepExistsError(spec.name, f"{there.url} ({counts})", _advice(there, spec, home))


def _advice(there: StudyReader, spec: SweepSpec, home: Path) -> str:
    """What to do with a sweep that exists: it depends on whether it is the same."""
    again = f"`prvr-sweep resume {spec.name}{home_option(home)}`"
    look = f"`prvr-sweep status {spec.name}{home_option(home)}`"
    changes = spec_changes(there.attributes.get("spec_yaml", ""), spec)
    if not changes:
        return f"it has the same spec: go on with it by {again}, or look at it with {look}"
    listed = [f"  {path}: found {new}, the sweep has {old}" for path, (old, new) in changes.items()]
    longer = extensions(changes)
    differs = "its spec differs, and trials of two spaces or settings cannot be compared:"
    by_options = f", or extend the sweep by {again[:-1]} {longer}`" if longer else ""
    return "\n".join(
        [
            "the sweep is of another size:" if longer else differs,
            *listed,
            f"launch this under another name (--set name=...){by_options}; go on with the sweep as "
            f"it was by {again}, or look at it with {look}",
        ]
    )


def _keep_spec(spec: SweepSpec, places: SweepLocations, sweep_id: str) -> None:
    """Claim the folder of the trials and write the spec there, which shows that it can be done."""
    from prvr_model.files.folder import Folder, StorageError

    try:
        folder = Folder.open(places.storage or places.home).child(spec.name)
        claim(folder, sweep_id, places.home)
        folder.write_bytes(SPEC_FILE, spec.dump_yaml().encode())
    except StorageError as error:
        raise LocationError(f"cannot use the storage for trials (--storage): {error}") from error


def ready_cluster(
    address: str, spec: SweepSpec, store: "FeatureStore", storage: str, warn: Callable[[str], None]
) -> RunningCluster:
    """The cluster, after a worker of each node has looked for the data and used the storage.

    Where nodes are still to come there is at least one before a trial begins.

    Args:
        address: `auto`, or HOST:PORT of its head.
        spec: What is to run there.
        store: Its data.
        storage: Folder or URI for the trials' files.
        warn: Takes a line for the user.

    Raises:
        ClusterError: Nothing answers at the address, or no worker came in time.
        LocationError: A node lacks the storage or the data, or nodes to come would.
    """
    data = SharedData.of(trial_store(spec.data, store), store.manifest)
    with marked_places(data, storage) as shared, attached_cluster(address) as cluster:
        coming = coming_nodes(cluster.nodes)
        if coming:
            needs = trial_needs(spec.resources, None)
            bring_first_worker(cluster, shared, needs, coming, warn)
            coming = coming_nodes(cluster.nodes)
        lacking = cluster.check_places(shared)
        if lacking:
            warn(f"{', '.join(lacking)}: no {data.store} there; it goes along with trials")
        nodes = [*cluster.nodes, *coming]
        growing = is_growing(cluster.nodes)
        # Nodes to come may lack what those of another kind have; who has it takes nothing.
        sent = data.store if lacking or (growing and data.is_small) else None
        return RunningCluster(address, nodes, sent, growing)


def _finish(
    spec: SweepSpec,
    places: SweepLocations,
    store: "FeatureStore",
    outbox: Outbox,
    sender: MlflowSender,
    result: SweepResult,
    progress: Progress,
) -> LaunchResult:
    if result.interrupted:
        sent = sender.flush(_INTERRUPTED_FLUSH_S)
        return LaunchResult(result, (), None, None if sent else sender.problem)
    study = StudyReader.open(study_url(places.home), spec.name)
    selected = crowned(study, spec.registration.top)
    scores, unscored = scored(selected, spec, store, places.home)
    page = publish(
        places.home, spec.name, places.storage or str(places.home), outbox, progress.warn
    )
    if sender.problem:
        progress.warn(f"waiting up to {_FLUSH_S:.0f} s for MLflow")
    sender.flush(_FLUSH_S)
    problem = unscored or sender.problem
    found = LaunchResult(
        result, (), _metrics_of(scores, selected), problem, is_unscored=bool(unscored)
    )
    if selected:
        with tempfile.TemporaryDirectory(prefix="prvr-export-") as folder:
            why = why_unscored(spec, store) or SCORING_FAILED
            candidates = [_candidate(one, scores, why, Path(folder)) for one in selected]
            found = _register(spec, places, store, outbox, found, candidates)
    return replace(found, report=page, protocol=spec.protocol)


def _metrics_of(scores: Scores, trials: Sequence[TrialSummary]) -> dict[str, float] | None:
    """Metrics of the winner."""
    score = scores.get(trials[0].number) if trials else None
    return dict(score.metrics) if score else None


def _candidate(
    trial: TrialSummary, scores: Scores, untested: str, folder: Path
) -> VersionCandidate:
    """Export a trial's best epoch."""
    from prvr_model.files.folder import Folder
    from prvr_model.network.model_file import export_model

    assert trial.value is not None
    assert trial.best_epoch is not None
    export = folder / f"{trial.number:05d}"
    export_model(Folder.open(trial.folder), export)
    score = scores.get(trial.number)
    return VersionCandidate(
        trial.number,
        trial.key,
        trial.value,
        trial.best_epoch,
        export,
        score.metrics if score else None,
        untested,
    )


def _register(
    spec: SweepSpec,
    places: SweepLocations,
    store: "FeatureStore",
    outbox: Outbox,
    unregistered: LaunchResult,
    candidates: Sequence[VersionCandidate],
) -> LaunchResult:
    manifest = store.manifest
    origin = SweepOrigin(
        sweep=spec.name,
        sweep_id=outbox.identity,
        data_set=manifest.name,
        data_fingerprint=manifest.fingerprint,
        metric=spec.objective.metric,
        direction=spec.objective.direction,
        protocol=spec.protocol,
    )
    try:
        registered = register_champion(places.tracking, origin, candidates)
    except (RegistryError, TrackingOutageError) as error:
        return replace(unregistered, problem=str(error))
    return replace(unregistered, registered=registered)
