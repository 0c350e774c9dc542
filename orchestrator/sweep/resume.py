"""Resumes a sweep after any end of its driver, or gives it more to do.

The study says what the sweep is, where it keeps things and which trials are unfinished: its name
and home are all that a user has to name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.base.errors import ResumeError
from orchestrator.base.home import home_option, locked_home, outbox_path
from orchestrator.spec.data import open_data
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SCHEDULE_EPOCHS, SweepSpec, race_of
from orchestrator.study.planned_trials import TrialPlan
from orchestrator.study.pruners import build_pruner, pruner_arguments
from orchestrator.study.reader import JUDGED_SEEDS, StudyReader
from orchestrator.study.samplers import build_sampler, sampler_record
from orchestrator.study.study import SweepStudy, study_url
from orchestrator.study.trial import TrialState
from orchestrator.sweep.context import ExecutorName, SweepContext, TrialData
from orchestrator.sweep.launch import LaunchResult, run
from orchestrator.sweep.locations import SweepLocations
from orchestrator.sweep.progress import Progress
from orchestrator.sweep.rounds import missing_runs
from orchestrator.tracking.events import Told
from orchestrator.tracking.outbox import Outbox, identity_of, set_aside
from prvr_model.files.folder import uri_below

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

OWN_RAY = "local"
"""As an address: a Ray of our own, also where the sweep was launched on a cluster."""


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
        storage: Where the trial folders are now.
        tracking_uri: Where MLflow is now.
        executor: Where trials run.
        address: Of a running Ray cluster, or `local`.
    """

    sweep: str
    home: Path
    trials: int | None = None
    epochs: int | None = None
    seeds: int | None = None
    budget: tuple[str, ...] = ()
    storage: str | None = None
    tracking_uri: str | None = None
    executor: ExecutorName | None = None
    address: str | None = None


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
        say: Takes a line about what there is and what is to come.

    Raises:
        SweepNotFoundError: There is no such sweep.
        ResumeError: It cannot be resumed, or not in this way.
        HomeLockedError: Another driver runs a sweep in the home.
        LocationError: Home or storage cannot be written, or MLflow's address is not known.
        DataError: The data is missing, damaged, or not what the sweep was launched on.
    """
    url = study_url(request.home)
    StudyReader.open(url, request.sweep)  # Before a lock makes a home that was misspelt.
    with locked_home(request.home, request.sweep):
        kept = _kept(StudyReader.open(url, request.sweep), request.home)
        before = read_spec(kept["spec_yaml"], source=f"sweep {request.sweep}")
        spec = _extended(before, request, kept)
        locations = SweepLocations.recalled(
            kept["places"], request.home, request.storage, request.tracking_uri
        )
        store = _same_data(spec, request.home, kept["data_fingerprint"], say)
        _extend(url, before, spec, kept)
        if locations.storage is not None:
            _follow(url, spec, request.home, locations.storage)
        study = StudyReader.open(url, request.sweep)
        say(_what_is_there(study, spec))
        executor, address = _where(kept["places"], request, has_work=_has_work(study, spec))
        outbox, told = _reopened(outbox_path(request.home, request.sweep), kept["outbox_id"])
        context = SweepContext(
            spec,
            locations,
            TrialData.of(spec, store),
            outbox.identity,
            executor,
            address,
            told=told,
        )
        return Resumed(run(context, store, outbox, progress), spec, locations)


def _kept(study: StudyReader, home: Path) -> dict[str, Any]:
    """What the study keeps about the sweep as a whole, checked to be all that is needed."""
    kept = study.attributes
    needed = ("spec_yaml", "data_fingerprint", "places", "outbox_id")
    missing = [key for key in needed if key not in kept]
    if not missing:
        return kept
    if not any(study.counts().values()):
        raise ResumeError(
            f"sweep {study.name!r} was ended before it began and has no trial to lose: launch it "
            f"again (`prvr-sweep launch SPACE.yaml{home_option(home)}`)"
        )
    raise ResumeError(
        f"sweep {study.name!r} in {study.url} lacks {', '.join(missing)}: it was launched by a "
        "version that could not resume; launch it under another name"
    )


def _extended(before: SweepSpec, request: ResumeRequest, kept: dict[str, Any]) -> SweepSpec:
    """The spec with more trials, seeds or epochs.

    Raises:
        ResumeError: Fewer were asked for, or more than can be a continuation.
        SpecError: The sweep cannot have them, e.g. a grid no more trials than points.
    """
    overrides = []
    if request.trials is not None and before.ablation is not None:
        raise ResumeError(
            f"--trials {request.trials}: sweep {request.sweep!r} is an ablation: its trials are "
            "its rows on each of its seeds; allowed: --seeds"
        )
    if request.trials is not None and TrialPlan.of(kept).trials:
        raise ResumeError(
            f"--trials {request.trials}: sweep {request.sweep!r} has confirmed its best on fresh "
            "seeds, and a search that goes on would choose once more; launch it under another "
            f"name (--set name=... --set search.trials={request.trials})"
        )
    overrides += [f"budget.{change.strip()}" for change in request.budget]
    if request.seeds is not None:
        overrides.append(_more_seeds(before, request.seeds))
    if request.trials is not None:
        _refuse_less("--trials", request.trials, before.num_trials)
        overrides.append(f"search.trials={request.trials}")
    if request.epochs is not None:
        _refuse_less("--epochs", request.epochs, before.max_epochs)
        _refuse_epochs(before, request.epochs)
        overrides.append(f"early_stopping.max_epochs={request.epochs}")
    return read_spec(kept["spec_yaml"], overrides, f"sweep {request.sweep}")


def _more_seeds(before: SweepSpec, seeds: int) -> str:
    """The override that gives every row of an ablation so many seeds."""
    if before.ablation is None:
        raise ResumeError(
            f"--seeds {seeds}: sweep {before.name!r} is a search, whose trials share one seed; "
            "allowed: --trials"
        )
    if before.ablation.race is not None:
        raise ResumeError(
            f"--seeds {seeds}: sweep {before.name!r} is a race, which gives seeds itself where a "
            "difference is open; when it looks was planned before its first seed, and more looks "
            "would find more by chance; launch it under another name with other seeds"
        )
    _refuse_less("--seeds", seeds, before.ablation.num_seeds)
    if isinstance(before.ablation.seeds, int):
        return f"ablation.seeds={seeds}"
    return f"ablation.seeds={list(before.seeds(seeds))}"


def _refuse_less(option: str, wanted: int, there: int) -> None:
    if wanted < there:
        raise ResumeError(
            f"{option} {wanted}: the sweep has {there}, and a resume takes nothing away; allowed: "
            f"{there} or more"
        )


def _refuse_epochs(before: SweepSpec, epochs: int) -> None:
    horizon = min(before.setting_values(SCHEDULE_EPOCHS))
    if epochs > horizon:
        raise ResumeError(
            f"--epochs {epochs}: the learning rates of this sweep end at epoch {horizon} "
            f"({SCHEDULE_EPOCHS}); a longer schedule is another training from its first step on, "
            "not a longer one of these trials; allowed: at most "
            f"{horizon}, or launch a sweep of another name with {SCHEDULE_EPOCHS}={epochs}"
        )
    if before.early_stopping.method == "hyperband" and epochs != before.max_epochs:
        raise ResumeError(
            f"--epochs {epochs}: hyperband divides the trials by the epochs that were planned, "
            f"{before.max_epochs}, and would have treated those there differently; launch a sweep "
            "of another name"
        )


def _same_data(
    spec: SweepSpec, home: Path, fingerprint: str, say: Callable[[str], None]
) -> "FeatureStore":
    from prvr_model.errors import StoreError

    store = open_data(spec.data, home, say, fingerprint)
    if store.manifest.fingerprint != fingerprint:
        raise StoreError(
            f"{store.path} is not the data that the sweep was launched on: its fingerprint is "
            f"{store.manifest.fingerprint[:12]}, not {fingerprint[:12]}; trials on both cannot be "
            "compared: bring the data back, or launch a sweep of another name"
        )
    return store


def _extend(url: str, before: SweepSpec, spec: SweepSpec, kept: dict[str, Any]) -> None:
    """Write down that the sweep is larger; complete trials that get more epochs are opened."""
    if spec == before:
        return
    stopping = spec.early_stopping
    changed = {
        "spec_yaml": spec.dump_yaml(),
        "num_trials": spec.num_trials,
        "sampler": sampler_record(spec),
        "pruner": {"kind": stopping.method, **pruner_arguments(stopping)},
        **_judged_seeds(before, spec, kept),
    }
    study = SweepStudy.reopen(url, spec.name, build_sampler(spec), build_pruner(stopping))
    study.extend(url, changed, before.max_epochs, spec.max_epochs)


def _judged_seeds(before: SweepSpec, spec: SweepSpec, kept: dict[str, Any]) -> dict[str, Any]:
    """That a table was judged before it gets more seeds, which its next verdicts account for."""
    if before.ablation is None or kept.get("state") != "finished" or before.seeds() == spec.seeds():
        return {}
    return {JUDGED_SEEDS: [*kept.get(JUDGED_SEEDS, ()), before.ablation.num_seeds]}


def _follow(url: str, spec: SweepSpec, home: Path, storage: str) -> None:
    """Write down where the folders of finished trials are, if storage or home were moved."""
    study = SweepStudy.reopen(
        url, spec.name, build_sampler(spec), build_pruner(spec.early_stopping)
    )
    moved = {}
    for trial, recorded in zip(study.summaries(), study.recorded_folders(), strict=True):
        name = f"{spec.name}/trials/{trial.number:05d}"
        usual = uri_below(storage, name)
        # Nothing is asked of the storage for those that are where they belong.
        if not recorded or recorded == usual or trial.state is TrialState.RUNNING:
            continue
        folders = (trial.folder, usual, uri_below(str(home), name))
        found = next(filter(_has_files, folders), trial.folder)
        # Also one that was below the home until now, and so was never written down as moved.
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


def _has_work(study: StudyReader, spec: SweepSpec) -> bool:
    if study.counts()[TrialState.RUNNING] or _num_to_come(study, spec):
        return True
    # An interrupted sweep may owe a round that is not planned yet.
    has_rounds = spec.confirm is not None or race_of(spec) is not None
    return has_rounds and study.attributes.get("state") != "finished"


def _num_to_come(study: StudyReader, spec: SweepSpec) -> int:
    """Trials that are planned or to be drawn and were not handed out."""
    plan = TrialPlan.of(study.attributes)
    wanted = len(plan.trials) + len(missing_runs(spec, plan))
    searched = spec.num_trials if spec.search else 0
    return max(0, searched + wanted - study.num_asked())


def _what_is_there(study: StudyReader, spec: SweepSpec) -> str:
    counts = study.counts()
    unfinished = counts[TrialState.RUNNING]
    ended = [
        f"{number} {state}"
        for state, number in counts.items()
        if number and state is not TrialState.RUNNING
    ]
    to_come = _num_to_come(study, spec)
    if not unfinished and not to_come:
        return f"sweep {spec.name}: {', '.join(ended)}; no trial is left to run"
    return (
        f"sweep {spec.name}: {', '.join(ended) or 'no trial has ended'}; goes on with "
        f"{unfinished} unfinished and {to_come} new ones of at most {spec.max_epochs} epochs"
    )


def _where(
    kept: dict[str, Any], request: ResumeRequest, *, has_work: bool
) -> tuple[ExecutorName, str | None]:
    """Executor and address: those of the launch, unless others are named."""
    executor: ExecutorName = request.executor or kept.get("executor", "tune")
    address = request.address or kept.get("address")
    if not has_work:
        return "inline", None  # Nothing to run needs no Ray.
    return executor, None if executor == "inline" or address == OWN_RAY else address


def _reopened(path: Path, identity: str) -> tuple[Outbox, Told]:
    """The sweep's outbox; where it is gone, one under its name that is filled from the study."""
    if path.exists() and identity_of(path) != identity:
        set_aside(path)
    outbox = Outbox(path, identity)
    return outbox, Told.of(outbox.events())
