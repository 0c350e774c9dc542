"""The folder of a trial that has ended: whether it is whole, and a copy of it for another trial.

No tensor is read and torch is not needed: headers say what a file holds and how long it must be.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from prvr_model.errors import CheckpointError, PrvrError
from prvr_model.files.checkpoint_header import (
    BEST,
    EPOCHS_FILE,
    HEADER,
    LAST,
    read_header,
    read_record,
)
from prvr_model.files.folder import Folder
from prvr_model.reporting import EpochReport
from prvr_model.settings import Settings, parse_settings

RANKS = "ranks"


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that ran to its end: its folder and every epoch's row, in order."""

    folder: Folder
    reports: tuple[EpochReport, ...]


def read_finished(folder: Folder, settings: Settings, fingerprint: str) -> FinishedTrial:
    """A trial of these settings on this data, if the folder holds all that became of it.

    Args:
        folder: The trial's folder.
        settings: Settings that it must have been trained with.
        fingerprint: Of the data that it must have been trained on.

    Raises:
        CheckpointError: Something is missing, damaged, of another trial or not at its end.
        StorageError: The folder cannot be read.
    """
    _check_model(folder, BEST, settings)
    if folder.exists(LAST):
        there = _check_model(folder, LAST, settings).get("store_fingerprint")
        if there != fingerprint:
            raise CheckpointError(
                f"{folder.locate(LAST)}: was trained on a store with fingerprint "
                f"{str(there)[:12]}, this one has {fingerprint[:12]}"
            )
    reports = read_record(folder).reports
    if not _is_at_end(reports, settings):
        raise CheckpointError(
            f"{folder.uri}: has {len(reports)} of {settings.training.epochs} epochs, and its "
            "patience did not end it"
        )
    return FinishedTrial(folder, reports)


def copy_finished(source: FinishedTrial, target: Folder) -> None:
    """Put the files of a trial into the folder of another; its end is the last to be there.

    Raises:
        StorageError: A file cannot be read or written.
    """
    for name in source.folder.child(RANKS).names():
        target.child(RANKS).copy_from(source.folder.child(RANKS), name)
    target.copy_from(source.folder, BEST)
    target.copy_from(source.folder, LAST if source.folder.exists(LAST) else EPOCHS_FILE)


def _check_model(folder: Folder, name: str, settings: Settings) -> Mapping[str, Any]:
    """What a file of weights says of itself, checked to be whole and of these settings."""
    header, missing = read_header(folder, name)
    if missing:
        raise CheckpointError(f"{folder.locate(name)}: {missing} bytes are missing at its end")
    try:
        about: Mapping[str, Any] = json.loads(header["__metadata__"][HEADER])
        theirs = parse_settings(about["settings"])
    except (ValueError, KeyError, TypeError, PrvrError) as error:
        raise CheckpointError(f"{folder.locate(name)}: is damaged: {error!r}") from error
    if _but_epochs(theirs) != _but_epochs(settings):
        raise CheckpointError(f"{folder.locate(name)}: was trained with other settings")
    return about


def _but_epochs(settings: Settings) -> dict[str, Any]:
    # The best epoch's file says with how many it was begun, and may have been continued.
    whole = settings.model_dump(mode="json")
    whole["training"].pop("epochs")
    return whole


def _is_at_end(reports: Sequence[EpochReport], settings: Settings) -> bool:
    """Whether the epochs are all there, up to the last one or to the end of the patience."""
    count, training = len(reports), settings.training
    if not count or [report.epoch for report in reports] != list(range(1, count + 1)):
        return False
    if count >= training.epochs or training.patience_epochs is None:
        return count == training.epochs
    return count - _best_epoch(reports) >= training.patience_epochs


def _best_epoch(reports: Sequence[EpochReport]) -> int:
    """Epoch of the best validation SumR, the first of equal ones, as training counts it."""
    best, best_epoch = -inf, 0
    for report in reports:
        value = report.metrics.get("val/SumR", -inf)
        if value > best:
            best, best_epoch = value, report.epoch
    return best_epoch
