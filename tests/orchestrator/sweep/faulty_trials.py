"""Trial functions that run into something, for sweeps in this process."""

import numpy as np
import torch

from orchestrator.study.trial import TrialRequest
from prvr_model.reporting import Decision, EpochReport, Report
from tests.orchestrator.executors.fake_trials import objective


class OutOfMemoryError(RuntimeError):
    """Called as torch calls its own of a GPU."""


def too_large(request: TrialRequest, report: Report) -> None:
    """Every trial asks for memory that no machine has, each in its own way."""
    if request.number % 4 == 0:
        np.zeros(2**50)
    if request.number % 4 == 1:
        torch.zeros(2**50)
    if request.number % 4 == 2:
        raise OutOfMemoryError(f"CUDA out of memory. Tried to allocate {request.number} GiB\nmore")
    raise MemoryError


def back_in_time(request: TrialRequest, report: Report) -> None:
    """Each epoch ends an hour before the one before it."""
    for epoch in range(1, request.settings.training.epochs + 1):
        row = EpochReport(
            epoch, {"val/SumR": objective(request, epoch)}, 10**12 - 3_600_000 * epoch
        )
        if report(row) is Decision.STOP:
            return


def too_large_at_once(request: TrialRequest, report: Report) -> None:
    """Reports an epoch and has memory for 3 videos at once."""
    at_once = request.speed.micro_batch_videos or request.settings.training.batch_videos
    report(EpochReport(1, {"val/SumR": objective(request, 1), "at_once": float(at_once)}, 1001))
    if at_once > 3:
        raise MemoryError
