"""What a trial costs beyond its training: a sweep of trials that train nothing, and Ray's recipe.

Run `python -m tests.benchmarks.sweep_overhead --trials N --recipe-trials K --json`. The sweep goes
through the real executor, study, outbox and MLflow writer; seconds are wall time from the first
trial's start to the last one's end over the number of trials, as many at once as there are CPUs.
Ray's own start is apart (`start_s`); the first hundred hold the start of the trial actors. For the
recipe see `ray_recipe`.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from orchestrator.commands.status_text import render_status
from orchestrator.spec.loading import read_spec
from orchestrator.study.trial import FailureCause, TrialState
from orchestrator.sweep.progress import SilentProgress
from orchestrator.sweep.status import read_status
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.sender import mlflow_sender
from orchestrator.tracking.store import TrackingStore
from tests.benchmarks.measure import arguments, show
from tests.orchestrator.helpers import run_sweep

_SPEC = """
name: overhead
question: What does a trial cost beyond its training?
data: builtin
search:
  sampler: {sampler}
  seed: 1
  trials: {trials}
  parameters:
    losses.tau: {{type: float, low: 0.5, high: 0.9}}
    losses.tcpl_angle_weight: {{type: float, low: 5, high: 60, log: true}}
early_stopping: {{method: none, max_epochs: 3}}
"""
_TRIAL = "tests.orchestrator.executors.fake_trials:rising"
_GROUP_TRIAL = "tests.orchestrator.executors.fake_group_trials:rising"
_HUNDRED = 100
_FLUSH_S = 600.0


class Watch(SilentProgress):
    """Notes when trials start and end, and the driver's memory then."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.rss_mb: list[float] = []
        self._process = psutil.Process()

    def started(self, number: int) -> None:
        self.starts.append(time.perf_counter())

    def ended(self, number: int, state: TrialState, cause: FailureCause | None) -> None:
        assert state is TrialState.COMPLETE, cause
        self.ends.append(time.perf_counter())
        self.rss_mb.append(self._process.memory_info().rss / 1e6)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--recipe-trials", type=int, default=2, help="0: leave the recipe out")
    parser.add_argument("--group-trials", type=int, default=0, help="trials of two workers each")
    parser.add_argument("--sampler", choices=("random", "tpe"), default="tpe")
    options = arguments(parser)
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        result = measure_sweep(options.trials, options.sampler, Path(folder))
        result |= {"group_s_per_trial": measure_group(options.group_trials, Path(folder) / "group")}
    show({**result, "recipe_s_per_trial": measure_recipe(options.recipe_trials)}, options)


def measure_sweep(trials: int, sampler: str, home: Path) -> dict[str, Any]:
    """Figures of a whole sweep."""
    spec = read_spec(_SPEC.format(trials=trials, sampler=sampler), (), "overhead.yaml", home)
    watch = Watch()
    outbox = Outbox(home / "outbox" / "overhead.jsonl")
    sender = mlflow_sender(outbox, TrackingStore.of_home(home), "overhead")
    begin = time.perf_counter()
    sender.start()
    run_sweep(spec, home / "store", "0" * 16, home, None, outbox, watch, function=_TRIAL)
    ended = time.perf_counter()
    assert sender.flush(_FLUSH_S), sender.problem
    flushed = time.perf_counter()
    sender.stop()
    outbox.close()
    return {
        **_figures(watch),
        "start_s": watch.starts[0] - begin,
        "mlflow_behind_s": flushed - ended,
        "status_s": _status_s(home),
    }


def measure_group(trials: int, home: Path) -> float | None:
    """Seconds of a trial of two workers that trains nothing; None: not asked for."""
    if not trials:
        return None
    text = _SPEC.format(trials=trials, sampler="random")
    spec = read_spec(text, ("resources.workers=2",), "overhead.yaml", home)
    watch = Watch()
    run_sweep(spec, home / "store", "0" * 16, home, progress=watch, function=_GROUP_TRIAL)
    return (watch.ends[-1] - watch.starts[0]) / trials


def _figures(watch: Watch) -> dict[str, float]:
    num = len(watch.ends)
    part = min(_HUNDRED, num // 2)
    return {
        "overhead_s_per_trial": (watch.ends[-1] - watch.starts[0]) / num,
        "first_hundred_s": (watch.ends[part - 1] - watch.starts[0]) / part,
        "last_hundred_s": (watch.ends[-1] - watch.ends[-part - 1]) / part,
        "driver_rss_growth_mb": watch.rss_mb[-1] - watch.rss_mb[0],
    }


def _status_s(home: Path) -> float:
    start = time.perf_counter()
    render_status(read_status(home, "overhead"))
    return time.perf_counter() - start


def measure_recipe(trials: int) -> float | None:
    """Seconds of a trial by Ray's documented recipe; None: not asked for.

    In a process of its own: Ray reads some of its settings once a process.
    """
    if not trials:
        return None
    command = [sys.executable, "-m", "tests.benchmarks.ray_recipe", str(trials)]
    # A token that it need not keep; else it would write one to the user's home.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    done = subprocess.run(
        command, env={**os.environ, **token}, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
