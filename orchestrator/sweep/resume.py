"""Resumes a sweep after any end of its driver, or gives it more to do.

The study says what the sweep is, where it keeps things and which trials are unfinished: its name
and home are all that a user has to name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.base.errors import ResumeError
from orchestrator.base.home import outbox_path
from orchestrator.base.text import command
from orchestrator.spec.data import open_data
from orchestrator.spec.loading import read_spec
from orchestrator.spec.prices import load_prices
from orchestrator.spec.sweep_spec import SweepSpec, race_of
from orchestrator.study.front import Front, shown_counts
from orchestrator.study.planned_trials import TrialPlan
from orchestrator.study.pruners import build_pruner
from orchestrator.study.reader import StudyReader
from orchestrator.study.samplers import build_sampler
from orchestrator.study.searcher import num_searched
from orchestrator.study.study import SweepStudy, study_url
from orchestrator.study.trial import TrialState
from orchestrator.sweep.context import ExecutorName, SweepContext, TrialData
from orchestrator.sweep.extension import Extension, extended_spec, write_extension
from orchestrator.sweep.launch import LaunchResult, run
from orchestrator.sweep.locations import SweepLocations, held_home
from orchestrator.sweep.progress import Progress
from orchestrator.sweep.rounds import missing_runs
from orchestrator.tracking.missing_events import Told
from orchestrator.tracking.outbox import Outbox, identity_of, set_aside
from prvr_model.files.location import uri_below

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

OWN_RAY = "local"
"""The address that asks for a Ray of our own, also where the sweep was launched on a cluster."""


@dataclass(frozen=True)
class ResumeRequest:
    """Which sweep is resumed, and what changes; None leaves a thing as it was.

    Args:
        sweep: Name of the sweep.
        home: Its home.
        trials: Trials in all.
        epochs: Epochs of a trial.
        seeds: Seeds of every row of an ablation.
        budget: Changes of the budget, `KEY=VALUE` each.
        prices: A YAML file of prices that replace the sweep's.
        storage: Where the trial folders are now.
        tracking_uri: Where MLflow is now.
        executor: Where trials run.
        address: Address of a running Ray cluster, or `local`.
    """

    sweep: str
    home: Path
    trials: int | None = None
    epochs: int | None = None
    seeds: int | None = None
    budget: tuple[str, ...] = ()
    prices: Path | None = None
    storage: str | None = None
    tracking_uri: str | None = None
    executor: ExecutorName | None = None
    address: str | None = None

    @property
    def extension(self) -> Extension:
        """How the sweep is to change.

        Raises:
            SpecError: The file of prices cannot be read, or is no list of prices.
        """
        prices = None if self.prices is None else load_prices(self.prices, "--prices")
        return Extension(self.trials, self.epochs, self.seeds, self.budget, prices)


@dataclass(frozen=True)
class Resumed:
    """How a resume ended, and of which sweep."""

    result: LaunchResult
    spec: SweepSpec
    locations: SweepLocations


def resume(request: ResumeRequest, progress: Progress, say: Callable[[str], None]) -> Resumed:
    """Run what is left of a sweep: unfinished trials, then new ones; finished ones never run again.

    Args:
        request: The sweep.
        progress: Shows what happens.
        say: Takes a line about the trials that have ended and those that are left.

    Raises:
        SweepNotFoundError: There is no such sweep.
        ResumeError: It cannot be resumed, or not in this way.
        HomeLockedError: Another driver runs a sweep in the home.
        LocationError: Home or storage cannot be written, or MLflow's address is not known.
        DataError: The data is missing, damaged, or not what the sweep was launched on.
    """
    home, url = request.home, study_url(request.home)
    # Before the lock, which would create a home whose name is misspelt.
    StudyReader.open(url, request.sweep)
    with held_home(home, request.sweep):
        kept = _kept(StudyReader.open(url, request.sweep), home)
        before = read_spec(kept["spec_yaml"], source=f"sweep {request.sweep}")
        spec = extended_spec(before, request.extension, kept)
        locations = SweepLocations.recalled(
            kept["places"], home, request.storage, request.tracking_uri
        )
        store = _same_data(spec, home, kept["data_fingerprint"], say)
        write_extension(url, before, spec, kept)
        _record_moved_folders(url, spec, locations)
        study = StudyReader.open(url, request.sweep)
        say(_render_what_is_left(study, spec))
        executor, address = _executor(kept["places"], request, has_work=_has_work(study, spec))
        data = TrialData.of(spec, store)
        outbox, told = _reopened(outbox_path(home, request.sweep), kept["outbox_id"])
        context = SweepContext(spec, locations, data, outbox.identity, executor, address, told=told)
        return Resumed(run(context, store, outbox, progress), spec, locations)


def _kept(study: StudyReader, home: Path) -> dict[str, Any]:
    """The study's attributes, checked to hold all that a resume needs."""
    kept = study.attributes
    needed = ("spec_yaml", "data_fingerprint", "places", "outbox_id")
    missing = [key for key in needed if key not in kept]
    if not missing:
        return kept
    if not any(study.counts().values()):
        raise ResumeError(
            f"sweep {study.name!r} ended before its first trial and has nothing to lose: launch it "
            f"again (`{command('launch', 'SPACE.yaml', home=home)}`)"
        )
    raise ResumeError(
        f"sweep {study.name!r} in {study.url} lacks {', '.join(missing)}: it was launched by a "
        "version that could not resume; launch it under another name"
    )


def _same_data(
    spec: SweepSpec, home: Path, fingerprint: str, say: Callable[[str], None]
) -> "FeatureStore":
    from prvr_model.errors import StoreError

    store = open_data(spec.data, home, say, fingerprint)
    if store.manifest.fingerprint != fingerprint:
        raise StoreError(
            f"{store.path} is not the data that the sweep was launched on: its fingerprint is "
            f"{store.manifest.fingerprint[:12]}, not {fingerprint[:12]}; trials on different data "
            "cannot be compared: bring the data back, or launch a sweep of another name"
        )
    return store


def _record_moved_folders(url: str, spec: SweepSpec, locations: SweepLocations) -> None:
    """Write into the study where the folders of finished trials are, if storage or home moved."""
    if locations.storage is None:
        return
    study = SweepStudy.reopen(
        url, spec.name, build_sampler(spec), build_pruner(spec.early_stopping)
    )
    moved = {}
    for trial, recorded in zip(study.summaries(), study.recorded_folders(), strict=True):
        name = f"{spec.name}/trials/{trial.number:05d}"
        usual = uri_below(locations.storage, name)
        # A folder that is where it belongs costs no request to the storage.
        if not recorded or recorded == usual or trial.state is TrialState.RUNNING:
            continue
        folders = (trial.folder, usual, uri_below(str(locations.home), name))
        found = next(filter(_has_files, folders), trial.folder)
        # This includes a folder below a home that moved, which no earlier resume recorded.
        if found != recorded:
            moved[trial.number] = found
    if moved:
        study.move_folders(url, moved)


def _has_files(folder: str) -> bool:
    from prvr_model.files.folder import Folder, StorageError

    try:
        return bool(Folder.open(folder).names())
    except StorageError:
        return False


def _render_what_is_left(study: StudyReader, spec: SweepSpec) -> str:
    counts = study.counts()
    unfinished = counts.pop(TrialState.RUNNING)
    states = shown_counts(counts, Front.of(study))
    ended = ", ".join(f"{number} {state}" for state, number in states.items() if number)
    to_come = _num_to_come(study, spec)
    if not unfinished and not to_come:
        return f"sweep {spec.name}: {ended}; no trial is left to run"
    return (
        f"sweep {spec.name}: {ended or 'no trial has ended'}; continues with {unfinished} "
        f"unfinished and {to_come} new trials of at most {spec.max_epochs} epochs"
    )


def _num_to_come(study: StudyReader, spec: SweepSpec) -> int:
    """Number of trials that are planned, or will be drawn, and have not begun."""
    plan = TrialPlan.of(study.attributes)
    planned = len(plan.trials) + len(missing_runs(spec, plan))
    searched = num_searched(spec, study, plan)
    return max(0, searched + planned - study.num_asked())


def _has_work(study: StudyReader, spec: SweepSpec) -> bool:
    if study.counts()[TrialState.RUNNING] or _num_to_come(study, spec):
        return True
    # An interrupted sweep may owe a round that is not planned yet.
    has_rounds = spec.confirm is not None or race_of(spec) is not None
    return has_rounds and study.attributes.get("state") != "finished"


def _executor(
    kept: dict[str, Any], request: ResumeRequest, *, has_work: bool
) -> tuple[ExecutorName, str | None]:
    """Executor and address: those of the launch, unless the request names others."""
    executor: ExecutorName = request.executor or kept.get("executor", "tune")
    address = request.address or kept.get("address")
    if not has_work:
        return "inline", None  # Without trials to run, no Ray is needed.
    return executor, None if executor == "inline" or address == OWN_RAY else address


def _reopened(path: Path, identity: str) -> tuple[Outbox, Told]:
    """The sweep's outbox and what it holds; a lost one is made anew under its identity."""
    if path.exists() and identity_of(path) != identity:
        set_aside(path)
    outbox = Outbox(path, identity)
    return outbox, Told.of(outbox.events())
