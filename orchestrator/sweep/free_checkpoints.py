"""Frees the checkpoints of a sweep that nothing needs any more.

The metrics and ranks of every trial stay: study and MLflow can still be rebuilt from them.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from orchestrator.base.errors import SweepNotFoundError
from orchestrator.spec.loading import read_spec
from orchestrator.study.confirmation import crowned
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import TrialState, TrialSummary
from orchestrator.sweep.locations import SweepLocations, held_home
from orchestrator.tracking.lookup import VersionOrigin, registered_versions
from prvr_model.files.location import local_path, without_options

# Without --keep, models of this many best trials stay, even if fewer are registered.
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
    """What stays and what can be freed; `keep` is the number of best trials whose models stay."""

    keep: int
    kept: tuple[KeptFile, ...]
    freed: tuple[CheckpointFile, ...]


@dataclass(frozen=True)
class Freed:
    """The decision, and what was done about it.

    Args:
        decision: What stays and what can be freed.
        done: Files that were freed; empty after a dry run.
        problems: Why other files could not be freed.
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
    """Free the checkpoints of a sweep that are not needed.

    Args:
        sweep: Name of the sweep.
        home: Its home.
        tracking_uri: Where its runs and models are; None: as at its launch.
        keep: Number of best trials whose models stay; None: as many as are registered, at least 3,
            and all on the front of several objectives.
        dry_run: Only decide.

    Raises:
        SweepNotFoundError: There is no such sweep.
        HomeLockedError: A driver runs a sweep in the home.
        TrackingOutageError: MLflow is away, so it is not known which trials are registered.
        RegistryError: MLflow does not know the sweep.
        StorageError: The trials' folders cannot be read.
    """
    # Before the lock, which would create a home that does not exist.
    StudyReader.open(study_url(home), sweep)
    with nullcontext() if dry_run else held_home(home):
        study = StudyReader.open(study_url(home), sweep)
        kept_locations = study.attributes.get("places", {})
        locations = SweepLocations.recalled(kept_locations, home, None, tracking_uri)
        versions = registered_versions(locations.tracking, sweep, home)
        best = _wanted_models(study, keep or _kept_by_default(study, home))
        if keep is None:
            # Each member can become the champion later.
            best += [trial.number for trial in study.front() if trial.number not in best]
        trials = study.summaries()
        decision = decide(sweep, trials, _files(trials), best, versions)
        done, problems = ((), ()) if dry_run else _free(decision.freed)
        return Freed(decision, done, problems)


def _kept_by_default(study: StudyReader, home: Path) -> int:
    if "spec_yaml" not in study.attributes:
        raise SweepNotFoundError(study.name, study.url, [])
    spec = read_spec(study.attributes["spec_yaml"], (), f"spec of {study.name}", home)
    return max(spec.registration.top, _FEWEST_KEPT)


def _wanted_models(study: StudyReader, count: int) -> list[int]:
    """Numbers of the trials that would be registered, then of those with the best values."""
    trials = (*crowned(study, count), *study.best(count))
    return list(dict.fromkeys(trial.number for trial in trials))


def _files(trials: Sequence[TrialSummary]) -> Iterator[CheckpointFile]:
    """Checkpoints in the trials' folders; a folder that trials share counts for the first."""
    from prvr_model.files.folder import Folder

    number_of_folder = {trial.folder: trial.number for trial in reversed(trials) if trial.folder}
    for folder, number in sorted(number_of_folder.items(), key=lambda item: item[1]):
        for name, size_bytes in Folder.open(folder).sizes().items():
            if kind := _kind(name):
                yield CheckpointFile(number, folder, name, kind, size_bytes)


def _kind(name: str) -> CheckpointKind | None:
    from prvr_model.files.checkpoint_header import BEST, LAST

    if name in (LAST, BEST):
        return "last" if name == LAST else "best"
    is_torn = name.startswith((f".{LAST}.", f".{BEST}.")) and name.endswith(".partial")
    return "leftover" if is_torn else None


def decide(
    sweep: str,
    trials: Sequence[TrialSummary],
    files: Iterable[CheckpointFile],
    best: Sequence[int],
    versions: Sequence[VersionOrigin],
) -> Retention:
    """Decide which of a sweep's checkpoints stay; no file is touched.

    What stays: all checkpoints of an unfinished trial, which continues from them; of a finished
    trial the best epoch's model, if the trial is among the best or registered; each file that a
    version in the registry points to.

    Args:
        sweep: Name of the sweep.
        trials: Its trials.
        files: Checkpoints in their folders.
        best: Numbers of the best trials, whose models stay, best first.
        versions: All versions in the registry.
    """
    # Keyed by folder: a trial whose result was copied for its key has the other trial's folder.
    model_reasons: dict[str, str] = {}
    for trial in trials:
        if reason := _model_reason(sweep, trial, best, versions):
            model_reasons.setdefault(trial.folder, reason)
    unfinished = {trial.folder for trial in trials if trial.state is TrialState.RUNNING}
    kept, freed = [], []
    for file in files:
        reason = _version_reason(file, versions) or _trial_reason(
            file.kind, file.folder in unfinished, model_reasons.get(file.folder)
        )
        if reason is None:
            freed.append(file)
        else:
            kept.append(KeptFile(file, reason))
    return Retention(len(best), tuple(kept), tuple(freed))


def _model_reason(
    sweep: str, trial: TrialSummary, best: Sequence[int], versions: Sequence[VersionOrigin]
) -> str | None:
    """Why the model of a trial's best epoch stays; None if it can be freed."""
    for version in versions:
        is_named = (version.sweep, version.trial) == (sweep, str(trial.number))
        if is_named or (trial.key and version.key == trial.key):
            return f"registered as {version.model} version {version.version}"
    if trial.number in best:
        return f"number {best.index(trial.number) + 1} of the sweep's best"
    return None


def _version_reason(file: CheckpointFile, versions: Sequence[VersionOrigin]) -> str | None:
    for version in versions:
        if _points_at(version.source, file):
            return f"{version.model} version {version.version} points to it"
    return None


def _trial_reason(
    kind: CheckpointKind, is_unfinished: bool, model_reason: str | None
) -> str | None:
    if kind == "leftover":
        return None
    if is_unfinished:
        return "the trial is unfinished and continues from it"
    return model_reason if kind == "best" else None


def _points_at(source: str, file: CheckpointFile) -> bool:
    """Whether a version's source is the file, or a folder that holds it."""
    path = f"{_plain(file.folder)}/{file.name}"
    location = _plain(source)
    return bool(location) and (path == location or path.startswith(f"{location}/"))


def _plain(uri: str) -> str:
    path = local_path(uri)
    return str(path) if path is not None else without_options(uri).rstrip("/")


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
