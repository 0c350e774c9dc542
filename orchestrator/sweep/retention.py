"""Which checkpoints of a sweep are still needed, and why; decides, and touches nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from orchestrator.study.trial import TrialState, TrialSummary

CheckpointKind: TypeAlias = Literal["last", "best", "leftover"]
"""`leftover`: what a killed write left beside a checkpoint."""


@dataclass(frozen=True)
class CheckpointFile:
    """A file in a trial's folder."""

    trial: int
    folder: str
    name: str
    kind: CheckpointKind
    size_bytes: int


@dataclass(frozen=True)
class VersionOrigin:
    """A version in the model registry, and the trial that it says it comes from.

    Args:
        model: Name of the model.
        version: Its version.
        sweep: Name of the sweep; empty: it does not say.
        trial: Number of the trial, as text; empty: it does not say.
        key: Content key of the trial; empty: it does not say.
        source: Where its files are.
    """

    model: str
    version: str
    sweep: str
    trial: str
    key: str
    source: str


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
