"""Frees the checkpoints of a sweep that nothing needs any more.

The rows of metrics and the ranks of every trial stay: the study and MLflow can be rebuilt.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from orchestrator.base.errors import SweepNotFoundError
from orchestrator.base.home import locked_home
from orchestrator.spec.loading import read_spec
from orchestrator.study.confirmation import crowned
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import TrialState, TrialSummary
from orchestrator.sweep.locations import SweepLocations
from orchestrator.tracking.lookup import VersionOrigin, registered_versions

_FEWEST_KEPT = 3


CheckpointKind: TypeAlias = Literal["last", "best", "leftover"]


@dataclass(frozen=True)
class CheckpointFile:
    """A file in a trial's folder."""

    trial: int
    folder: str
    name: str
    kind: CheckpointKind
    size_bytes: int


@dataclass(frozen=True)
class KeptFile:
    """A checkpoint that stays, and why."""

    file: CheckpointFile
    reason: str


@dataclass(frozen=True)
class Retention:
    """What stays and what can go; `keep` is the number of best trials whose models stay."""

    keep: int
    kept: tuple[KeptFile, ...]
    freed: tuple[CheckpointFile, ...]


@dataclass(frozen=True)
class Freed:
    """What was decided, and what of it was done.

    Args:
        decision: What stays and what can go.
        done: Files that are gone now; none of a dry run.
        problems: Files that could not be freed, and why.
    """

    decision: Retention
    done: tuple[CheckpointFile, ...]
    problems: tuple[str, ...]


def free_checkpoints(
    sweep: str,
    home: Path,
    tracking_uri: str | None = None,
    keep: int | None = None,
    *,
    dry_run: bool = False,
) -> Freed:
    """Free what is not needed of a sweep's checkpoints.

    Args:
        sweep: Name of the sweep.
        home: Its home.
        tracking_uri: Where its runs and models are; None: where it was launched with.
        keep: Of how many best trials the models stay; None: as many as are registered, at least 3.
        dry_run: Decide only.

    Raises:
        SweepNotFoundError: There is no such sweep.
        HomeLockedError: A driver runs a sweep in the home.
        TrackingOutageError: MLflow is away, so nobody knows what is registered.
        RegistryError: MLflow does not know the sweep.
        StorageError: The trials' folders cannot be read.
    """
    # Before the lock, which makes a home that is not there.
    StudyReader.open(study_url(home), sweep)
    with locked_home(home):
        study = StudyReader.open(study_url(home), sweep)
        places = SweepLocations.recalled(
            study.attributes.get("places", {}), home, None, tracking_uri
        )
        versions = registered_versions(places.tracking, sweep, home)
        best = _best(study, keep or _kept_by_default(study, home))
        trials = study.summaries()
        decision = decide(sweep, trials, _files(trials), best, versions)
        done, problems = ((), ()) if dry_run else _free(decision.freed)
        return Freed(decision, done, problems)


def _best(study: StudyReader, count: int) -> list[int]:
    """Trials whose models can still be wanted: what would be registered, then the best values."""
    trials = (*crowned(study, count), *study.best(count))
    return list(dict.fromkeys(one.number for one in trials))


def _kept_by_default(study: StudyReader, home: Path) -> int:
    if "spec_yaml" not in study.attributes:
        raise SweepNotFoundError(study.name, study.url, [])
    spec = read_spec(study.attributes["spec_yaml"], (), f"spec of {study.name}", home)
    return max(spec.registration.top, _FEWEST_KEPT)


def _files(trials: Sequence[TrialSummary]) -> Iterator[CheckpointFile]:
    """Checkpoints in the trials' folders; of trials that share one, the first has them."""
    from prvr_model.files.folder import Folder

    folders = {one.folder: one.number for one in reversed(trials) if one.folder}
    for place, number in sorted(folders.items(), key=lambda one: one[1]):
        for name, size in Folder.open(place).sizes().items():
            if kind := _kind(name):
                yield CheckpointFile(number, place, name, kind, size)


def _kind(name: str) -> CheckpointKind | None:
    from prvr_model.files.checkpoint_header import BEST, LAST

    if name in (LAST, BEST):
        return "last" if name == LAST else "best"
    is_torn = name.startswith((f".{LAST}.", f".{BEST}.")) and name.endswith(".partial")
    return "leftover" if is_torn else None


def _free(
    files: Sequence[CheckpointFile],
) -> tuple[tuple[CheckpointFile, ...], tuple[str, ...]]:
    from prvr_model.errors import CheckpointError
    from prvr_model.files.folder import Folder, StorageError
    from prvr_model.training.checkpoint import free_last

    done, problems = [], []
    for file in files:
        folder = Folder.open(file.folder)
        try:
            if file.kind == "last":
                free_last(folder)
            else:
                folder.delete(file.name)
            done.append(file)
        except (CheckpointError, StorageError) as error:
            problems.append(str(error))
    return tuple(done), tuple(problems)


# Which checkpoints of a sweep are still needed, and why; decides, and touches nothing.


def decide(
    sweep: str,
    trials: Sequence[TrialSummary],
    files: Iterable[CheckpointFile],
    best: Sequence[int],
    versions: Sequence[VersionOrigin],
) -> Retention:
    """Sort a sweep's checkpoints into those that stay and those that can go.

    All of an unfinished trial stays, since it goes on from there; of finished trials the best
    epoch's model, if the trial is among the best or registered; and each file that a version in
    the registry points to.

    Args:
        sweep: Name of the sweep.
        trials: Its trials.
        files: Checkpoints in their folders.
        best: Numbers of the best trials whose models stay, best first.
        versions: All versions in the registry.
    """
    by_number = {one.number: one for one in trials}
    # Another trial, taken over for its key, may have the same folder.
    needed: dict[str, str] = {}
    for one in trials:
        if reason := _whole_model_reason(sweep, one, best, versions):
            needed.setdefault(one.folder, reason)
    unfinished = {one.folder for one in trials if one.state is TrialState.RUNNING}
    kept, freed = [], []
    for file in files:
        reason = _reason(file, by_number[file.trial], unfinished, needed, versions)
        if reason is None:
            freed.append(file)
        else:
            kept.append(KeptFile(file, reason))
    return Retention(len(best), tuple(kept), tuple(freed))


def _reason(
    file: CheckpointFile,
    trial: TrialSummary,
    unfinished: set[str],
    needed: dict[str, str],
    versions: Sequence[VersionOrigin],
) -> str | None:
    for version in versions:
        if _points_at(version.source, file):
            return f"{version.model} version {version.version} points to it"
    if file.kind == "leftover":
        return None
    if trial.folder in unfinished:
        return "the trial is unfinished and goes on from there"
    return needed.get(trial.folder) if file.kind == "best" else None


def _whole_model_reason(
    sweep: str, trial: TrialSummary, best: Sequence[int], versions: Sequence[VersionOrigin]
) -> str | None:
    for version in versions:
        is_named = (version.sweep, version.trial) == (sweep, str(trial.number))
        if is_named or (trial.key and version.key == trial.key):
            return f"registered as {version.model} version {version.version}"
    if trial.number in best:
        return f"number {best.index(trial.number) + 1} of the sweep's best"
    return None


def _points_at(source: str, file: CheckpointFile) -> bool:
    """Whether a version's source is the file, or a folder that it is in."""
    path = f"{_plain(file.folder)}/{file.name}"
    place = _plain(source)
    return bool(place) and (path == place or path.startswith(f"{place}/"))


def _plain(place: str) -> str:
    return place.removeprefix("file://").partition("?")[0].rstrip("/")
