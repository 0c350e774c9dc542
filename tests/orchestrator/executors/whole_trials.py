"""Trial functions that train nothing, yet leave a folder as training does."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from orchestrator.study.trial import TrialRequest
from prvr_model.files.checkpoint_header import BEST, HEADER, LAST, read_record
from prvr_model.files.folder import Folder
from prvr_model.reporting import Decision, EpochReport, Report
from tests.orchestrator.executors.fake_trials import objective

TRAINED = "trained.txt"
"""File of the storage with a line for every trial that ran: SWEEP/NUMBER."""
EPOCHS = "epochs.txt"
"""File of the storage with a line for every epoch that was trained: SWEEP/NUMBER/EPOCH."""


def training(request: TrialRequest, report: Report) -> None:
    """Report every epoch, each with its files before, from the last checkpoint on."""
    _log(request, TRAINED, f"{request.sweep}/{request.number}")
    folder = Folder.open(request.folder)
    rows = list(read_record(folder).reports) if folder.exists(LAST) else []
    if any(report(row) is Decision.STOP for row in rows):
        return
    for epoch in range(len(rows) + 1, request.settings.training.epochs + 1):
        _log(request, EPOCHS, f"{request.sweep}/{request.number}/{epoch}")
        value = objective(request, epoch)
        rows.append(EpochReport(epoch, {"val/SumR": value, "loss": 1.0}, 1000 + epoch))
        write_files(request, rows)
        if report(rows[-1]) is Decision.STOP:
            return


def _log(request: TrialRequest, name: str, line: str) -> None:
    log = Path(request.folder).parents[2] / name
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as lines:
        lines.write(f"{line}\n")


def write_files(request: TrialRequest, rows: list[EpochReport]) -> None:
    folder = Folder.open(request.folder)
    about = {"format_version": 1, "settings": request.settings.model_dump(mode="json")}
    weights = {"model.w": np.arange(4, dtype=np.float32)}
    best = about | {"epoch": len(rows)}
    folder.write_bytes(BEST, save(weights, {HEADER: json.dumps(best)}))
    name = f"epoch-{len(rows):04d}.safetensors"
    folder.child("ranks").write_bytes(name, save({"ranks": np.ones(3, np.int32)}))
    reports = [vars(row) | {"metrics": dict(row.metrics)} for row in rows]
    state = {"epoch": len(rows), "reports": reports}
    last = about | {"store_fingerprint": request.data_fingerprint, "state": state}
    folder.write_bytes(LAST, save(weights, {HEADER: json.dumps(last)}))


def trained(storage: Path) -> list[str]:
    """The trials that ran below a storage, in order."""
    return _lines(storage / TRAINED)


def trained_epochs(storage: Path) -> list[str]:
    """The epochs that were trained below a storage, in order."""
    return _lines(storage / EPOCHS)


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []
