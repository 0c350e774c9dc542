"""Checks whether a finished trial's folder is whole, and copies it for another trial.

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
    """A trial that has ended: its folder and the rows of its epochs, in order."""

    folder: Folder
    reports: tuple[EpochReport, ...]


def read_finished(folder: Folder, settings: Settings, fingerprint: str) -> FinishedTrial:
    """The finished trial of a folder, checked to be whole and of these settings and data.

    Args:
        folder: The trial's folder.
        settings: Settings that it must have been trained with.
        fingerprint: Fingerprint of the data that it must have been trained on.

    Raises:
        CheckpointError: A file is missing, damaged or of another trial, or epochs are missing.
        StorageError: The folder cannot be read.
    """
    reports = _read_reports(folder, settings, fingerprint)
    if not _is_at_end(reports, settings):
        raise CheckpointError(
            f"{folder.uri}: has {len(reports)} of {settings.training.epochs} epochs, and its "
            "patience did not end it"
        )
    return FinishedTrial(folder, reports)


def read_begun(folder: Folder, settings: Settings, fingerprint: str) -> FinishedTrial:
    """A trial of these settings on this data that was ended early and can be continued.

    Args:
        folder: The trial's folder.
        settings: Settings that it must have been trained with.
        fingerprint: Of the data that it must have been trained on.

    Raises:
        CheckpointError: Something is missing, damaged or of another trial.
        StorageError: The folder cannot be read.
    """
    reports = _read_reports(folder, settings, fingerprint)
    if not folder.exists(LAST) or not _is_in_order(reports):
        raise CheckpointError(f"{folder.uri}: has no checkpoint from which training continues")
    return FinishedTrial(folder, reports)


def copy_finished(source: FinishedTrial, target: Folder) -> None:
    """Copy a trial's files into another's folder; the file that proves its end comes last.

    Raises:
        StorageError: A file cannot be read or written.
    """
    for name in source.folder.child(RANKS).names():
        target.child(RANKS).copy_from(source.folder.child(RANKS), name)
    target.copy_from(source.folder, BEST)
    target.copy_from(source.folder, LAST if source.folder.exists(LAST) else EPOCHS_FILE)


def _read_reports(folder: Folder, settings: Settings, fingerprint: str) -> tuple[EpochReport, ...]:
    """Rows of a folder whose files are whole, of these settings and of this data."""
    _check_model(folder, BEST, settings)
    if folder.exists(LAST):
        there = _check_model(folder, LAST, settings).get("store_fingerprint")
        if there != fingerprint:
            raise CheckpointError(
                f"{folder.locate(LAST)}: was trained on a store with fingerprint "
                f"{str(there)[:12]}, this one has {fingerprint[:12]}"
            )
    return read_record(folder).reports


def _check_model(folder: Folder, name: str, settings: Settings) -> Mapping[str, Any]:
    """Header of a file of weights, which must be whole and of these settings."""
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
    # The best epoch's file names the epochs planned at that time; the trial may have got more.
    whole = settings.model_dump(mode="json")
    whole["training"].pop("epochs")
    return whole


def _is_at_end(reports: Sequence[EpochReport], settings: Settings) -> bool:
    """Whether all epochs are recorded, up to the last one or to the end of the patience."""
    count, training = len(reports), settings.training
    if not _is_in_order(reports):
        return False
    if count >= training.epochs or training.patience_epochs is None:
        return count == training.epochs
    return count - _best_epoch(reports, settings) >= training.patience_epochs


def _is_in_order(reports: Sequence[EpochReport]) -> bool:
    """Whether there are epochs, the first of them 1 and none left out."""
    epochs = [report.epoch for report in reports]
    return bool(epochs) and epochs == list(range(1, len(epochs) + 1))


def _best_epoch(reports: Sequence[EpochReport], settings: Settings) -> int:
    """Epoch of the best metric that chooses it, the first of equal ones, as training counts it."""
    metric = f"val/{settings.evaluation.best_epoch_by}"
    best, best_epoch = -inf, 0
    for report in reports:
        value = report.metrics.get(metric, -inf)
        if value > best:
            best, best_epoch = value, report.epoch
    return best_epoch
