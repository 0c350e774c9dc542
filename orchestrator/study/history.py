"""Joins the metrics of a trial's epochs from the study, the checkpoint and the outbox.

The study knows each epoch's objective, decision and time; the trial's checkpoint (or what remains
of a freed one) holds all metrics of all epochs; the outbox holds what was sent to the tracker.
Resume, report, reproduce and sync read the metrics here.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.base.errors import SweepNotFoundError
from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from orchestrator.study.trial import TrialSummary
from prvr_model.errors import PrvrError
from prvr_model.files.checkpoint_header import TrialRecord, read_record
from prvr_model.files.folder import Folder
from prvr_model.reporting import EpochReport


@dataclass(frozen=True)
class TrialHistory:
    """The epochs of a trial.

    Args:
        rows: Every epoch that the study knows; with the objective alone if its metrics are lost.
        parameters: Number of the model's parameters; None if no checkpoint can be read.
        problem: Why the checkpoint cannot be read; None if it can, or if there is none yet.
    """

    rows: tuple[EpochReport, ...]
    parameters: int | None = None
    problem: str | None = None


def read_history(
    study: StudyReader,
    trial: TrialSummary,
    events: Iterable[Mapping[str, Any]] = (),
    home: Path | None = None,
) -> TrialHistory:
    """Join what is known of a trial's epochs.

    Args:
        study: The trial's study.
        trial: The trial.
        events: Its events in the outbox, for epochs that no checkpoint holds.
        home: Home of the sweep. If this trial copied its results, epochs that its own checkpoint
            lacks are read from the original's checkpoint in this home; None: they are not read.
    """
    known = study.rows(trial.number)
    if not known:
        return TrialHistory(())
    record, problem = _record(trial.folder)
    rows = {row.epoch: row for row in record.reports}
    if home is not None and trial.taken_from and any(row.epoch not in rows for row in known):
        rows |= {row.epoch: row for row in _rows_of(trial.taken_from, home)}
    sent = {event["epoch"]: event["metrics"] for event in events if event["kind"] == "epoch"}
    metric = study.attributes.get("metric", "objective")
    joined = tuple(
        rows.get(row.epoch)
        or EpochReport(row.epoch, sent.get(row.epoch) or {metric: row.objective}, row.timestamp_ms)
        for row in known
    )
    return TrialHistory(joined, record.parameters, problem)


def missing_rows(
    study: StudyReader, trial: TrialSummary, told: Collection[int]
) -> Sequence[EpochReport]:
    """The epochs of a trial that are not in `told`; reads no checkpoint if all are."""
    if all(row.epoch in told for row in study.rows(trial.number)):
        return ()
    return [row for row in read_history(study, trial).rows if row.epoch not in told]


def checkpoint_rows(folder: str) -> Sequence[EpochReport]:
    """The epochs in the checkpoint of a trial's folder; empty if it cannot be read."""
    return _record(folder)[0].reports


def _record(folder: str) -> tuple[TrialRecord, str | None]:
    if not folder:
        return TrialRecord((), None), None
    try:
        return read_record(Folder.open(folder)), None
    except PrvrError as error:
        return TrialRecord((), None), str(error)


def _rows_of(name: str, home: Path) -> Sequence[EpochReport]:
    """The epochs in the checkpoint of the trial `SWEEP/NUMBER`, if it is in this home."""
    sweep, _, number = name.rpartition("/")
    try:
        trials = StudyReader.open(study_url(home), sweep).summaries()
    except SweepNotFoundError:
        return ()
    folders = [trial.folder for trial in trials if str(trial.number) == number]
    return checkpoint_rows(folders[0]) if folders else ()
