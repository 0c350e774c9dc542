"""Finds results of complete trials by content key, in the home and on the storage.

A trial whose key is known copies the result instead of training. Its own folder gets the
original's files (hard links on one disk): whatever reads a trial's folder finds them, freeing or
removing the original's folder does not touch them, and the trial can be continued. An index only
says where to look; the files in the folder decide.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite, nan
from typing import TypeAlias

from orchestrator.study.storage import CompleteTrial
from orchestrator.study.trial import TrialRequest, TrialSummary
from prvr_model.errors import PrvrError
from prvr_model.files.folder import Folder, StorageError, uri_below
from prvr_model.reporting import EpochReport
from prvr_model.training.finished_trial import FinishedTrial, copy_finished, read_finished

INDEX = "keys"
"""Folder of the storage that holds a small file for each key."""

Warn: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class KnownTrial:
    """A complete trial that may have the results of a key.

    An index file on the storage holds one of these as JSON; for the home it is made from a
    `CompleteTrial`, which is the study's record and carries the key.

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
        is_whole = "://" in self.folder or self.folder.startswith("/")
        return list(dict.fromkeys([usual, self.folder] if is_whole else [usual]))


@dataclass(frozen=True)
class TakenOver:
    """Results that a trial copied instead of training."""

    origin: str
    reports: tuple[EpochReport, ...]


class KnownResults:
    """Complete trials by key.

    Args:
        sweep: Name of the sweep that asks.
        storage: Its storage, a URI or an absolute path.
        metric: Its objective, which every epoch must have reported as a finite number.
        home: Complete trials of all studies in its home, its own included.
        warn: Takes a line for the user.
        workers: Workers of a trial.
    """

    def __init__(
        self,
        sweep: str,
        storage: str,
        metric: str,
        home: Iterable[CompleteTrial],
        warn: Warn,
        workers: int = 1,
    ) -> None:
        self._sweep = sweep
        self._storage = storage
        self._metric = metric
        self._warn = warn
        self._workers = workers
        self._index = Folder.open(storage).child(INDEX)
        self._by_key: dict[str, list[KnownTrial]] = {}
        self._is_indexed = True
        for trial in home:
            known = KnownTrial(trial.sweep, trial.number, trial.folder, trial.taken_from)
            self._by_key.setdefault(trial.key, []).append(known)

    def take_over(self, request: TrialRequest) -> TakenOver | None:
        """Copy results of the same key into the trial's folder; None if there are none.

        Results that cannot be read or copied are skipped.
        """
        for known in self._candidates(request.key):
            for folder in known.possible_folders(self._storage):
                found = self._finished(folder, request)
                if found and self._copied(found, request.folder):
                    return TakenOver(known.origin, found.reports)
        return None

    def own(self, request: TrialRequest, origin: str) -> TakenOver | None:
        """Results in the trial's own folder that an earlier driver copied; None if incomplete."""
        found = self._finished(request.folder, request)
        return TakenOver(origin, found.reports) if found else None

    def completed(self, trial: TrialSummary) -> None:
        """Offer a complete trial's results under its key, in this sweep and in the index."""
        known = KnownTrial(self._sweep, trial.number, trial.folder, trial.taken_from)
        self._by_key.setdefault(trial.key, []).insert(0, known)
        content = {"key": trial.key, "epochs": trial.epochs, **asdict(known)}
        content["folder"] = self._below_storage(trial.folder)
        try:
            self._index.write_bytes(_file(trial.key), json.dumps(content).encode())
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

    def _finished(self, folder: str, request: TrialRequest) -> FinishedTrial | None:
        try:
            found = read_finished(Folder.open(folder), request.settings, request.data_fingerprint)
        except PrvrError:
            return None
        is_whole = all(self._is_usable(report, request) for report in found.reports)
        return found if is_whole else None

    def _is_usable(self, report: EpochReport, request: TrialRequest) -> bool:
        """Whether an epoch has the objective, and was trained as its key says.

        A trial that ran out of memory or nodes may have continued with other micro-batches or
        workers.
        """
        metrics, speed = report.metrics, request.speed
        workers = metrics.get("workers", 1)
        at_once = metrics.get("micro_batch_videos")
        return (
            isfinite(metrics.get(self._metric, nan))
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
        plain, storage = folder.partition("?")[0], self._storage.partition("?")[0].rstrip("/")
        return plain.removeprefix(f"{storage}/")


def known_keys(storage: str, home: Iterable[CompleteTrial]) -> set[str]:
    """Keys of the complete trials that the home and the storage's index name; reads no folder.

    Args:
        storage: As for `KnownResults`.
        home: As for `KnownResults`.

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
