"""Trial functions that train nothing, yet leave a folder as training does."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from orchestrator.study.trial import TrialRequest
from prvr_model.files.checkpoint_header import BEST, HEADER, LAST
from prvr_model.files.folder import Folder
from prvr_model.reporting import Decision, EpochReport, Report
from tests.orchestrator.executors.fake_trials import objective

TRAINED = "trained.txt"
"""File of the storage with a line for every trial that ran: SWEEP/NUMBER."""


def training(request: TrialRequest, report: Report) -> None:
    """Report every epoch, each with its files before."""
    log = Path(request.folder).parents[2] / TRAINED
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as lines:
        lines.write(f"{request.sweep}/{request.number}\n")
    rows: list[EpochReport] = []
    for epoch in range(1, request.settings.training.epochs + 1):
        value = objective(request, epoch)
        rows.append(EpochReport(epoch, {"val/SumR": value, "loss": 1.0}, 1000 + epoch))
        write_files(request, rows)
        if report(rows[-1]) is Decision.STOP:
            return


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
    log = storage / TRAINED
    return log.read_text().splitlines() if log.exists() else []
