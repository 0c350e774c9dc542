"""Trial functions that train nothing: their objective is a function of parameters and epoch."""

import os
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from orchestrator.study.trial import TrialRequest
from prvr_model.reporting import Decision, EpochReport, Report


def objective(request: TrialRequest, epoch: int) -> float:
    """Rises with epochs to a height that tau sets."""
    return 100 * request.settings.losses.tau * (1 - 0.5**epoch)


def rising(request: TrialRequest, report: Report) -> None:
    """Report every epoch, end when told to."""
    for epoch in range(1, request.settings.training.epochs + 1):
        row = EpochReport(epoch, {"val/SumR": objective(request, epoch)}, 1000 + epoch)
        if report(row) is Decision.STOP:
            return


def failing_third(request: TrialRequest, report: Report) -> None:
    """Every third trial raises after an epoch, with an error that cannot be pickled."""
    if request.number % 3 == 2:
        report(EpochReport(1, {"val/SumR": 1.0}, 1001))
        raise UnpicklableError("tau", request.number)
    rising(request, report)


def failing_at_four(request: TrialRequest, report: Report) -> None:
    """As `rising`, but trial 1 raises after its fourth epoch."""

    def until_four(row: EpochReport) -> Decision:
        decision = report(row)
        if request.number == 1 and row.epoch == 4:
            raise UnpicklableError("tau", request.number)
        return decision

    rising(request, until_four)


def mixed(request: TrialRequest, report: Report) -> None:
    """A little of everything that can happen to a trial, by its number."""
    kind = ("good", "error", "exit", "empty", "nan", "missing", "again", "good")[request.number % 8]
    if kind == "error":
        raise UnpicklableError("tau", request.number)
    if kind == "exit":
        os._exit(7) if os.environ.get("RAY_JOB_ID") else _raise_exit()
    if kind == "nan":
        report(EpochReport(1, {"val/SumR": float("nan")}, 1001))
    elif kind == "missing":
        report(EpochReport(1, {"loss": 1.0}, 1001))
    elif kind == "again":
        rising(request, report)
        rising(request, report)
    elif kind == "good":
        rising(request, report)


def slow(request: TrialRequest, report: Report) -> None:
    """Takes far longer than a test; leaves a file so that the test knows it runs."""
    report(EpochReport(1, {"val/SumR": 10.0}, 1001))
    marker = Path(os.environ["PRVR_TEST_MARKERS"]) / f"{request.number}-{os.getpid()}"
    marker.touch()
    time.sleep(120)


def _raise_exit() -> None:
    raise SystemExit(7)


class UnpicklableError(Exception):
    """An error whose arguments differ from its constructor's, as ours do."""

    def __init__(self, term: str, number: int) -> None:
        super().__init__(f"{term} of trial {number} cannot be used")


def lucky(request: TrialRequest, report: Report) -> None:
    """As `rising`, but the highest tau has bad luck on seeds other than 1, and only there."""
    luck = 0.0 if request.settings.training.seed == 1 else 20.0
    height = 100 * request.settings.losses.tau
    worse = luck if request.settings.losses.tau > 0.85 else 0.0
    for epoch in range(1, request.settings.training.epochs + 1):
        report(EpochReport(epoch, {"val/SumR": (height - worse) * (1 - 0.5**epoch)}, 1000 + epoch))


RANKED_VIDEOS, RANKED_QUERIES = 40, 3
"""Size of the split that `ranked` pretends to."""


def ranked(request: TrialRequest, report: Report) -> None:
    """As `rising`, with ranks: margin 0.1 is far worse, others differ by chance alone."""
    settings = request.settings
    margin = settings.losses.margin
    generator = np.random.default_rng([settings.training.seed, round(100 * margin)])
    spoilt = 0.6 if margin == 0.1 else 0.0
    found = generator.random((RANKED_VIDEOS, RANKED_QUERIES)) > 0.3 + spoilt
    ranks = np.where(found, 3, 300).astype(np.int32).reshape(-1)
    for epoch in range(1, settings.training.epochs + 1):
        folder = Path(request.folder.removeprefix("file://")) / "ranks"
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"ranks": ranks}, folder / f"epoch-{epoch:04d}.safetensors")
        report(EpochReport(epoch, {"val/SumR": float((ranks < 10).mean() * 300)}, 1000 + epoch))


def ranked_but_one(request: TrialRequest, report: Report) -> None:
    """As `ranked`, but margin 0.3 fails."""
    if request.settings.losses.margin == 0.3:
        raise UnpicklableError("margin", request.number)
    ranked(request, report)


def hourly(request: TrialRequest, report: Report) -> None:
    """As `rising`, each epoch an hour after the one before by its timestamps."""
    begin_ms = time.time_ns() // 1_000_000
    for epoch in range(1, request.settings.training.epochs + 1):
        row = {"val/SumR": objective(request, epoch)}
        report(EpochReport(epoch, row, begin_ms + epoch * 3_600_000))


def failing_hourly(request: TrialRequest, report: Report) -> None:
    """As `hourly`, but the first trial raises after an epoch."""
    if request.number == 0:
        row = {"val/SumR": 1.0}
        report(EpochReport(1, row, time.time_ns() // 1_000_000 + 3_600_000))
        raise UnpicklableError("tau", request.number)
    hourly(request, report)


def backwards(request: TrialRequest, report: Report) -> None:
    """As `rising`, on a clock that is set back by an hour before each epoch."""
    begin_ms = time.time_ns() // 1_000_000
    for epoch in range(1, request.settings.training.epochs + 1):
        row = {"val/SumR": objective(request, epoch)}
        report(EpochReport(epoch, row, begin_ms - epoch * 3_600_000))
