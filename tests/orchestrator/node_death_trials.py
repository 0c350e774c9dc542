"""A trial that trains in earnest and, the first time, waits in its second epoch to be hit."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray

from orchestrator.executors.trial_runner import is_leaving, train_trial
from orchestrator.study.trial import TrialRequest
from prvr_model.process_group import ALONE, Workers
from prvr_model.reporting import Report
from prvr_model.training import train_loop

# The second of three steps of the second epoch.
HIT_STEP = 5
# The trial of this number is hit; others run as they are.
HIT_NUMBER = 0
HERE, GO, STEPS = "here.json", "go", "steps.txt"
_LIMIT_S = 300


def hit_once(request: TrialRequest, report: Report, workers: Workers = ALONE) -> None:
    """Train; trial `HIT_NUMBER` says once where it is and waits for what will happen."""
    folder = Path(request.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _watched_steps(folder, request.number, workers):
        train_trial(request, report, workers)


@contextmanager
def _watched_steps(folder: Path, number: int, workers: Workers) -> Iterator[None]:
    compute = train_loop.compute_losses
    calls = 0

    def watched(*arguments: Any) -> Any:  # noqa: ANN401
        nonlocal calls
        calls += 1
        if workers.rank == 0:
            with (folder / STEPS).open("a") as log:
                log.write(f"{time.time()}\n")
        is_last = workers.rank == workers.size - 1
        if number == HIT_NUMBER and is_last and calls == HIT_STEP and not _was_hit(folder):
            _wait(folder)
        return compute(*arguments)

    train_loop.compute_losses = watched  # type: ignore[assignment]
    try:
        yield
    finally:
        train_loop.compute_losses = compute


def _was_hit(folder: Path) -> bool:
    return (folder / HERE).exists()


def _wait(folder: Path) -> None:
    raylet = psutil.Process().parent()
    assert raylet is not None
    node = ray.get_runtime_context().get_node_id()
    draft = folder / "draft.json"
    draft.write_text(json.dumps({"pid": os.getpid(), "raylet": raylet.pid, "node": node}))
    draft.rename(folder / HERE)
    end = time.monotonic() + _LIMIT_S
    while not (is_leaving() or (folder / GO).exists()):
        if time.monotonic() > end:
            raise TimeoutError("nothing happened to the trial")
        time.sleep(0.05)
