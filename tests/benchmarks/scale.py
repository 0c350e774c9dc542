"""How far the driver carries: many trials, hundreds at once, on an executor that trains nothing.

Run `python -m tests.benchmarks.scale --trials 10000 --at-once 256 --epochs 9 --json`. Driver,
study, sampler, pruner, outbox and sender are the real ones, with MLflow on SQLite; trials report
their epochs as fast as they are taken, one after the other. The study lies in SQLite, or in the
database of `--study`. Figures per part of the sweep: epochs a second, and seconds of a suggestion
(drawing a trial and all that its start writes). Then seconds of status, report and resume, memory,
and how far MLflow is behind.
"""

import argparse
import itertools
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from orchestrator.executors.executor import TrialSource
from orchestrator.executors.interruption import Interruption
from orchestrator.spec.loading import read_spec
from orchestrator.study.trial import TrialRequest
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.sender import mlflow_sender
from orchestrator.tracking.store import TrackingStore
from prvr_model.reporting import Decision, EpochReport
from tests.benchmarks.measure import arguments, show
from tests.orchestrator.helpers import run_sweep

_SPEC = """
name: scale
question: How far does the driver carry?
data: builtin
search:
  sampler: {sampler}
  seed: 1
  trials: {trials}
  parameters:
    losses.tcpl_distance_weight: {{type: float, low: 4, high: 60, log: true}}
    losses.tcpl_angle_weight: {{type: float, low: 7.5, high: 120, log: true}}
    losses.cbva_weight: {{type: float, low: 0.025, high: 0.4, log: true}}
    losses.tau: {{type: float, low: 0.5, high: 0.95}}
    model.num_scales: {{type: int, low: 1, high: 8}}
    losses.cross_branch: {{type: categorical, choices: [fixed, adaptive]}}
early_stopping: {{method: {stopping}, first_rung: 3, reduction: 3, max_epochs: {epochs}}}
"""
_PARTS = 10
_METRICS = 40


@dataclass
class Simulated:
    """Holds trials at once and lets them report in turn; notes what the driver takes."""

    at_once: int
    suggestions_s: list[float] = field(default_factory=list)
    reports_at: list[float] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def run(self, source: TrialSource, concurrency: int | None, interruption: Interruption) -> None:
        live: list[tuple[TrialRequest, int]] = []
        while True:
            while len(live) < self.at_once and (request := self._next(source)) is not None:
                live.append((request, 0))
            if not live:
                return
            request, epoch = live.pop(self._random.randrange(len(live)))
            row = self._row(request, epoch + 1)
            decision = source.on_report(request.number, row)
            self.reports_at.append(time.perf_counter())
            if decision is Decision.STOP or epoch + 1 == request.settings.training.epochs:
                source.on_end(request.number)
            else:
                live.append((request, epoch + 1))

    def _next(self, source: TrialSource) -> TrialRequest | None:
        begin = time.perf_counter()
        request = source.next_trial()
        if request is not None:
            self.suggestions_s.append(time.perf_counter() - begin)
        return request

    def _row(self, request: TrialRequest, epoch: int) -> EpochReport:
        settings = request.settings
        height = 200 - 40 * abs(settings.losses.tau - 0.8) - abs(settings.model.num_scales - 6)
        value = height * (1 - 0.5**epoch) + self._random.gauss(0, 3)
        metrics = {"val/SumR": value, **{f"val/made_up_{k}": value + k for k in range(_METRICS)}}
        return EpochReport(epoch, metrics, int(time.time() * 1000))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--stopping", choices=("asha", "none"), default="asha")
    parser.add_argument("--study", help="URL of the study's database; default: SQLite")
    parser.add_argument("--without-mlflow", action="store_true")
    options = arguments(parser)
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        show(measure(options, Path(folder)), options)


def measure(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    """All figures of a sweep."""
    text = _SPEC.format(
        sampler=options.sampler,
        trials=options.trials,
        stopping=options.stopping,
        epochs=options.epochs,
    )
    spec = read_spec(text, (), "scale.yaml", home)
    executor = Simulated(options.at_once)
    outbox = Outbox(home / "outbox" / "scale.jsonl")
    sender = mlflow_sender(outbox, TrackingStore.of_home(home), "scale")
    before_mb = psutil.Process().memory_info().rss / 1e6
    if not options.without_mlflow:
        sender.start()
    place = {"study_url": options.study} if options.study else {}
    begin = time.perf_counter()
    run_sweep(spec, home / "store", "0" * 16, home, None, outbox, executor=executor, **place)
    took_s = time.perf_counter() - begin
    flushed_s = None
    if not options.without_mlflow:
        begin = time.perf_counter()
        sender.flush(options.trials * 0.1 + 60)
        flushed_s = time.perf_counter() - begin
        sender.stop()
    outbox.close()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {
        "trials": options.trials,
        "reports": len(executor.reports_at),
        "took_s": took_s,
        "epochs_a_second": len(executor.reports_at) / took_s,
        "epochs_a_second_by_part": _rates(executor.reports_at),
        "suggestion_s_by_part": _medians(executor.suggestions_s),
        "mlflow_behind_s": flushed_s,
        "peak_mb": peak_mb,
        "before_mb": before_mb,
        **({} if options.study else _commands(home)),
    }


def _rates(ends: list[float]) -> list[float]:
    size = max(1, len(ends) // _PARTS)
    marks = ends[::size]
    return [size / (later - first) for first, later in itertools.pairwise(marks)]


def _medians(seconds: list[float]) -> list[float]:
    size = max(1, len(seconds) // _PARTS)
    return [median(seconds[k : k + size]) for k in range(0, size * _PARTS, size)]


def _commands(home: Path) -> dict[str, float]:
    """Seconds of the commands that a user runs on such a sweep, each a process of its own."""
    found = {}
    for name, arguments_ in (
        ("status", ["status", "scale"]),
        ("status_json", ["status", "scale", "--json"]),
        ("report", ["report", "scale"]),
    ):
        command = [sys.executable, "-m", "orchestrator.cli", *arguments_, "--home", str(home)]
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found[f"{name}_s"] = time.perf_counter() - begin
    return found


if __name__ == "__main__":
    main()
