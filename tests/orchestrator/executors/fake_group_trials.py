"""Trial functions for several workers: they train nothing, but exchange what training would."""

import os
import signal
import time
from pathlib import Path

import psutil
import torch

from orchestrator.study.trial import TrialRequest
from prvr_model.errors import NonFiniteError
from prvr_model.process_group import Workers
from prvr_model.reporting import Decision, EpochReport, Report
from tests.orchestrator.executors.fake_trials import UnpicklableError, objective

SUM_NAME = "sum_of_ranks"
# Classes whose processes `killing_its_keeper` kills, by number.
KEEPERS = {8: "TrainController", 9: "ResourceTrainable"}
# Trials of `various` by number.
RAISES, LOSES_A_WORKER, STOPPED, ONE_RAISES = range(4)


def rising(request: TrialRequest, report: Report, workers: Workers) -> None:
    """Report every epoch what all workers summed; end together when the first is told to."""
    for epoch in range(1, request.settings.training.epochs + 1):
        total = workers.sum(torch.tensor([workers.rank + 1.0]))
        metrics = {"val/SumR": objective(request, epoch), SUM_NAME: float(total)}
        if decided(report, EpochReport(epoch, metrics, 1000 + epoch), workers):
            return


def decided(report: Report, row: EpochReport, workers: Workers) -> bool:
    """Whether to stop, as training asks it: the first worker reports, all hear the answer."""
    stop = workers.rank == 0 and report(row) is Decision.STOP
    return bool(workers.first_decides(int(stop)))


def various(request: TrialRequest, report: Report, workers: Workers) -> None:
    """What can happen to a trial of several workers, by its number."""
    if request.number == RAISES:
        raise NonFiniteError("train/total", 1, 1)
    if request.number == ONE_RAISES and workers.rank == 1:
        raise UnpicklableError("tau", request.number)
    if request.number == LOSES_A_WORKER:
        lose_a_worker_once(request, report, workers)
    rising(request, report, workers)


def lose_a_worker_once(request: TrialRequest, report: Report, workers: Workers) -> None:
    """Kill the second worker after the first epoch, the first time."""
    marker = Path(os.environ["PRVR_TEST_MARKERS"]) / f"lost-{request.number}"
    if marker.exists():
        return
    row = EpochReport(1, {"val/SumR": objective(request, 1), SUM_NAME: 3.0}, 1001)
    decided(report, row, workers)
    if workers.rank == 1:
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    workers.sum(torch.ones(1))


def deaf(request: TrialRequest, report: Report, workers: Workers) -> None:
    """Does not end when it is told to."""
    if workers.rank == 0:
        report(EpochReport(1, {"val/SumR": 1.0}, 1001))
    time.sleep(600)


def killing_its_keeper(request: TrialRequest, report: Report, workers: Workers) -> None:
    """Kill the process of a class that keeps this group, as a machine short of memory does."""
    if workers.rank == 0:
        name = KEEPERS[request.number]
        raylet = psutil.Process().parent()
        assert raylet is not None
        found = [child for child in raylet.children() if name in " ".join(child.cmdline())]
        # One of the trial before may still be ending.
        max(found, key=psutil.Process.create_time).kill()
    time.sleep(600)
