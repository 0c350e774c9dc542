"""Finds results of complete trials by content key, in the home and on the storage.

A trial whose key is known copies the result instead of training. Its own folder gets the
original's files (hard links on one disk): whatever reads a trial's folder finds them, freeing or
removing the original's folder does not touch them, and the trial can be continued. An index only
says where to look; the files in the folder decide.

The epochs of a pruned trial of the home are copied as well: the pruner judges them as if they
were trained, and where it lets the trial go on, training continues from there.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite, nan
from typing import TypeAlias

from orchestrator.study.storage import EndedTrial
from orchestrator.study.trial import TrialRequest, TrialSummary
from prvr_model.errors import PrvrError
from prvr_model.files.folder import Folder, StorageError
from prvr_model.files.location import is_uri, uri_below, without_options
from prvr_model.reporting import EpochReport
from prvr_model.training.finished_trial import (
    FinishedTrial,
    copy_finished,
    read_begun,
    read_finished,
)

INDEX = "keys"
"""Folder of the storage that holds a small file for each key."""

Warn: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class KnownTrial:
    """A complete or pruned trial that may have the results of a key.

    An index file on the storage holds one of these as JSON; for the home it is made from an
    `EndedTrial`, which is the study's record and carries the key.

    Args:
        sweep: Name of its sweep.
        number: Its number in that sweep.
        folder: Its recorded folder, absolute or relative to the storage; may be empty.
        taken_from: Trial (`SWEEP/NUMBER`) whose results it copied; None if it was trained.
    """

    sweep: str
    number: int
    folder: str
    taken_from: str | None = None

    @property
    def origin(self) -> str:
        """The trial that was trained, as `SWEEP/NUMBER`."""
        return self.taken_from or f"{self.sweep}/{self.number}"

    def possible_folders(self, storage: str) -> list[str]:
        """Its usual folder in this storage, then the recorded one if that is absolute.

        The usual one comes first: a home that was copied or moved still records the old paths.
        """
        usual = uri_below(storage, f"{self.sweep}/trials/{self.number:05d}")
        is_whole = is_uri(self.folder) or self.folder.startswith("/")
        return list(dict.fromkeys([usual, self.folder] if is_whole else [usual]))


@dataclass(frozen=True)
class TakenOver:
    """Results that a trial copied instead of training.

    Args:
        origin: The trial that they are from, as `SWEEP/NUMBER`.
        reports: Its epochs.
        is_whole: Whether it ran to its end; False: it was pruned, and training may continue.
    """

    origin: str
    reports: tuple[EpochReport, ...]
    is_whole: bool = True

    @property
    def epochs(self) -> int | None:
        """How many epochs of a pruned trial there are; None: the trial ran to its end."""
        return None if self.is_whole else len(self.reports)


class KnownResults:
    """Complete and pruned trials by key.

    Args:
        sweep: Name of the sweep that asks.
        storage: Its storage, a URI or an absolute path.
        metrics: Its objectives, which every epoch must have reported as finite numbers.
        home: Complete and pruned trials of all studies in its home, its own included; of pruned
            ones with the same key the one with most epochs first.
        warn: Takes a line for the user.
        workers: Workers of a trial.
    """

    def __init__(
        self,
        sweep: str,
        storage: str,
        metrics: Sequence[str],
        home: Iterable[EndedTrial],
        warn: Warn,
        workers: int = 1,
    ) -> None:
        self._sweep = sweep
        self._storage = storage
        self._metrics = metrics
        self._warn = warn
        self._workers = workers
        self._index = Folder.open(storage).child(INDEX)
        self._by_key: dict[str, list[KnownTrial]] = {}
        self._begun: dict[str, list[KnownTrial]] = {}
        self._is_indexed = True
        for trial in home:
            known = KnownTrial(trial.sweep, trial.number, trial.folder, trial.taken_from)
            kind = self._by_key if trial.is_complete else self._begun
            kind.setdefault(trial.key, []).append(known)

    def take_over(self, request: TrialRequest) -> TakenOver | None:
        """Copy results of the same key into the trial's folder; None if there are none.

        Results that cannot be read or copied are skipped.
        """
        whole = self._taken(self._candidates(request.key), request, is_whole=True)
        return whole or self._taken(self._begun.get(request.key, ()), request, is_whole=False)

    def _taken(
        self, candidates: Iterable[KnownTrial], request: TrialRequest, *, is_whole: bool
    ) -> TakenOver | None:
        for known in candidates:
            for folder in known.possible_folders(self._storage):
                found = self._read(folder, request, is_whole=is_whole)
                if found and self._copied(found, request.folder):
                    return TakenOver(known.origin, found.reports, is_whole)
        return None

    def own(self, request: TrialRequest, trial: TrialSummary) -> TakenOver | None:
        """Results in the trial's own folder that an earlier driver copied; None if incomplete."""
        if trial.taken_from is None:
            return None
        epochs = trial.taken_epochs
        found = self._read(request.folder, request, is_whole=epochs is None)
        if found is None or len(found.reports) < (epochs or 0):
            return None
        return TakenOver(trial.taken_from, found.reports[:epochs], epochs is None)

    def pruned(self, trial: TrialSummary) -> None:
        """Offer a pruned trial's epochs under its key; it began with those that were known."""
        if not trial.is_taken:
            known = KnownTrial(self._sweep, trial.number, trial.folder)
            self._begun.setdefault(trial.key, []).insert(0, known)

    def completed(self, trial: TrialSummary) -> None:
        """Offer a complete trial's results under its key, in this sweep and in the index."""
        origin = trial.taken_from if trial.is_taken else None
        known = KnownTrial(self._sweep, trial.number, trial.folder, origin)
        self._by_key.setdefault(trial.key, []).insert(0, known)
        content = {"key": trial.key, "epochs": trial.epochs, **asdict(known)}
        content["folder"] = self._below_storage(trial.folder)
        text = json.dumps(content).encode()
        try:
            # The entry is a hint, and a torn one is passed over: it need not reach the disk now.
            self._index.write_bytes(_file(trial.key), text, durable=False)
        except StorageError as error:
            if self._is_indexed:
                self._warn(f"other homes will not find this sweep's results: {error}")
            self._is_indexed = False

    def _candidates(self, key: str) -> Iterable[KnownTrial]:
        yield from self._by_key.get(key, ())
        if known := self._indexed(key):
            yield known

    def _indexed(self, key: str) -> KnownTrial | None:
        """The entry of the storage's index; None if it is missing, torn or unreadable."""
        try:
            if not self._index.exists(_file(key)):
                return None
            found: Mapping[str, object] = json.loads(self._index.read_bytes(_file(key)))
            return _parsed(found, key)
        except (PrvrError, ValueError, KeyError, TypeError):
            return None

    def _read(self, folder: str, request: TrialRequest, *, is_whole: bool) -> FinishedTrial | None:
        read = read_finished if is_whole else read_begun
        try:
            found = read(Folder.open(folder), request.settings, request.data_fingerprint)
        except PrvrError:
            return None
        are_usable = all(self._is_usable(report, request) for report in found.reports)
        return found if are_usable else None

    def _is_usable(self, report: EpochReport, request: TrialRequest) -> bool:
        """Whether an epoch has the objectives, and was trained as its key says.

        A trial that ran out of memory or nodes may have continued with other micro-batches or
        workers.
        """
        metrics, speed = report.metrics, request.speed
        workers = metrics.get("workers", 1)
        at_once = metrics.get("micro_batch_videos")
        return (
            all(isfinite(metrics.get(name, nan)) for name in self._metrics)
            and workers == self._workers
            and at_once == speed.micro_batch_videos
        )

    def _copied(self, found: FinishedTrial, folder: str) -> bool:
        target = Folder.open(folder)
        if target.uri == found.folder.uri:
            return True
        try:
            copy_finished(found, target)
        except PrvrError as error:
            self._warn(f"known results could not be copied: {error}")
            return False
        return True

    def _below_storage(self, folder: str) -> str:
        """A folder's path relative to the storage, since the storage may be moved."""
        plain, storage = without_options(folder), without_options(self._storage).rstrip("/")
        return plain.removeprefix(f"{storage}/")


def known_keys(storage: str, home: Iterable[EndedTrial]) -> set[str]:
    """Keys of the complete trials that the home and the storage's index name; reads no folder.

    Args:
        storage: As for `KnownResults`.
        home: Complete trials of the studies in the home.

    Raises:
        StorageError: The storage's index cannot be listed.
    """
    names = Folder.open(storage).child(INDEX).names()
    return {*(trial.key for trial in home), *(name.removesuffix(_file("")) for name in names)}


def _file(key: str) -> str:
    return f"{key}.json"


def _parsed(found: Mapping[str, object], key: str) -> KnownTrial:
    names = ("sweep", "number", "folder", "taken_from")
    known = KnownTrial(**{name: found[name] for name in names})  # type: ignore[arg-type]
    texts = (known.sweep, known.folder, known.origin)
    if found["key"] == key and all(isinstance(text, str) for text in texts):
        return known
    raise ValueError("not an index entry of this key")
