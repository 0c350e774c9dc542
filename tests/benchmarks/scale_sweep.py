"""One sweep of many trials, hundreds at once, on an executor that trains nothing.

`tests.benchmarks.scale` runs it in processes of their own. `sweep` drives trials that report their
epochs as fast as the driver takes them, one after the other: study, searcher, sampler, pruner,
driver, outbox and sender are the real ones, and their clock is made up. `resume` continues such a
sweep up to its first trial, `status` reads it, `draws` asks other samplers for trials of it.
"""

import argparse
import itertools
import json
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from orchestrator.base.home import outbox_path
from orchestrator.executors.executor import TrialSource
from orchestrator.executors.interruption import Interruption
from orchestrator.spec.data import open_data
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.pruners import build_pruner
from orchestrator.study.samplers import build_sampler, distributions
from orchestrator.study.study import Drawing, SweepStudy, study_url
from orchestrator.study.trial import TrialRequest
from orchestrator.sweep import resume as resume_module
from orchestrator.sweep import run as run_module
from orchestrator.sweep.progress import SilentProgress
from orchestrator.sweep.status import read_status
from orchestrator.tracking.outbox import Outbox, read_events
from orchestrator.tracking.sender import MlflowSender, mlflow_sender
from orchestrator.tracking.store import TrackingStore
from prvr_model.reporting import Decision, EpochReport
from tests.orchestrator.helpers import run_sweep

NAME = "scale"
_NUMBERS = {
    "losses.tcpl_distance_weight": {"type": "float", "low": 4, "high": 60, "log": True},
    "losses.tcpl_angle_weight": {"type": "float", "low": 7.5, "high": 120, "log": True},
    "losses.cbva_weight": {"type": "float", "low": 0.025, "high": 0.4, "log": True},
    "losses.tau": {"type": "float", "low": 0.5, "high": 0.95},
    "model.num_scales": {"type": "int", "low": 1, "high": 8},
}
_CHOICE = {"losses.cross_branch": {"type": "categorical", "choices": ["fixed", "adaptive"]}}
_PARTS = 10
_METRICS = 40
_EPOCH_S = 60.0
_DRAWS = 5


def spec_of(options: argparse.Namespace, sampler: str) -> SweepSpec:
    """The sweep; an evolution strategy takes numbers alone."""
    rungs = {"first_rung": 3, "reduction": 3, "max_epochs": options.epochs}
    spec = {
        "name": NAME,
        "question": "How far does the driver carry?",
        "data": "builtin",
        "search": {
            "sampler": sampler,
            "seed": 1,
            "trials": options.trials + 1,
            "parameters": _NUMBERS if sampler == "cmaes" else _NUMBERS | _CHOICE,
        },
        "early_stopping": {"method": options.stopping, **rungs},
    }
    return read_spec(json.dumps(spec), (), "scale.yaml", Path(options.home))


@dataclass
class Seconds:
    """Seconds of one kind of call, on the clock and of the driver's processor."""

    wall: list[float] = field(default_factory=list)
    processor: float = 0.0

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note a call."""
        begin, used = time.perf_counter(), time.thread_time()
        yield
        self.wall.append(time.perf_counter() - begin)
        self.processor += time.thread_time() - used


@dataclass
class Simulated:
    """Holds trials at once and lets them report in turn; notes what the driver takes.

    It ends before the sweep's last trial, as Ctrl-C ends it, so that a resume has one left.
    """

    trials: int
    at_once: int
    starts: Seconds = field(default_factory=Seconds)
    reports: Seconds = field(default_factory=Seconds)
    ends: Seconds = field(default_factory=Seconds)
    reports_at: list[float] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(0))
    _now_ms: float = field(default_factory=lambda: time.time() * 1000)

    def run(self, source: TrialSource, concurrency: int | None, interruption: Interruption) -> None:
        """Run all trials."""
        live: list[tuple[TrialRequest, int]] = []
        while True:
            while len(live) < self.at_once and (request := self._next(source)) is not None:
                live.append((request, 0))
            if not live:
                raise KeyboardInterrupt
            request, epoch = live.pop(self._random.randrange(len(live)))
            row = self._row(request, epoch + 1)
            with self.reports.noted():
                decision = source.on_report(request.number, row)
            self.reports_at.append(time.perf_counter())
            if decision is Decision.STOP or epoch + 1 == request.settings.training.epochs:
                with self.ends.noted():
                    source.on_end(request.number)
            else:
                live.append((request, epoch + 1))

    def _next(self, source: TrialSource) -> TrialRequest | None:
        if len(self.starts.wall) == self.trials:
            return None
        with self.starts.noted():
            request = source.next_trial()
        assert request is not None, "one trial more is left"
        return request

    def _row(self, request: TrialRequest, epoch: int) -> EpochReport:
        settings = request.settings
        height = 200 - 40 * abs(settings.losses.tau - 0.8) - abs(settings.model.num_scales - 6)
        value = height * (1 - 0.5**epoch) + self._random.gauss(0, 3)
        metrics = {"val/SumR": value, **{f"val/made_up_{k}": value + k for k in range(_METRICS)}}
        self._now_ms += 1000 * _EPOCH_S / self.at_once
        return EpochReport(epoch, metrics, int(self._now_ms))


class FirstTrial:
    """Ends the sweep, as Ctrl-C does, once a trial was handed out."""

    at: float | None = None

    def run(self, source: TrialSource, concurrency: int | None, interruption: Interruption) -> None:
        """Ask for one trial."""
        request = source.next_trial()
        assert request is not None, "the sweep has no trial left"
        self.at = time.time()
        raise KeyboardInterrupt


def sweep(options: argparse.Namespace) -> dict[str, Any]:
    """Run a sweep; its figures."""
    home = Path(options.home)
    spec = spec_of(options, options.sampler)
    store = open_data(spec.data, home, lambda _: None)
    executor = Simulated(options.trials, options.at_once)
    outbox = Outbox(outbox_path(home, NAME))
    sender = mlflow_sender(outbox, TrackingStore.of_home(home), NAME)
    before_mb = psutil.Process().memory_info().rss / 1e6
    if not options.without_mlflow:
        sender.start()
    place = {"study_url": options.study} if options.study else {}
    begin = time.perf_counter()
    run_module._executor = lambda context: executor  # type: ignore[assignment]
    run_sweep(
        spec,
        store.path,
        store.manifest.fingerprint,
        home,
        sink=outbox,
        executor="inline",
        outbox_id=outbox.identity,
        **place,
    )
    took_s = time.perf_counter() - begin
    tracked = {} if options.without_mlflow else _tracked(sender, outbox, took_s, options.trials)
    outbox.close()
    reports = len(executor.reports_at)
    driving = {"starts": executor.starts, "reports": executor.reports, "ends": executor.ends}
    return {
        "trials": options.trials,
        "sampler": options.sampler,
        "epoch_reports": reports,
        "took_s": took_s,
        "reports_a_second": reports / took_s,
        "reports_a_second_by_part": _rates(executor.reports_at),
        **{f"{name}_s": sum(seconds.wall) for name, seconds in driving.items()},
        **{f"{name}_processor_s": seconds.processor for name, seconds in driving.items()},
        "suggestion_s": _last(executor.starts.wall),
        "suggestion_s_by_part": _medians(executor.starts.wall),
        "report_ms": 1000 * _last(executor.reports.wall),
        "peak_mb": _peak_mb(),
        "before_mb": before_mb,
        **tracked,
    }


def _tracked(sender: MlflowSender, outbox: Outbox, took_s: float, trials: int) -> dict[str, float]:
    """How far MLflow is behind when the last trial has ended, and how fast it follows."""
    position = sender._reader.position
    sent = len(read_events(outbox.path, 0, position, None).events)
    behind = len(read_events(outbox.path, position, outbox.size_bytes, None).events)
    begin = time.perf_counter()
    sender.flush(3600 + trials)
    behind_s = time.perf_counter() - begin
    sender.stop()
    assert sender.problem is None, sender.problem
    return {
        "mlflow_events_a_second_beside": sent / took_s,
        "mlflow_events_behind": behind,
        "mlflow_behind_s": behind_s,
        "mlflow_events_a_second": behind / behind_s,
    }


def _peak_mb() -> float:
    """Largest resident memory of this process; `getrusage` counts the parent's as well."""
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e6


def _rates(ends: list[float]) -> list[float]:
    size = max(1, len(ends) // _PARTS)
    marks = ends[::size]
    return [size / (later - first) for first, later in itertools.pairwise(marks)]


def _medians(seconds: list[float]) -> list[float]:
    size = max(1, len(seconds) // _PARTS)
    return [median(seconds[k : k + size]) for k in range(0, size * _PARTS, size)]


def _last(seconds: list[float]) -> float:
    """Median of the last tenth."""
    return median(seconds[-max(1, len(seconds) // _PARTS) :])


def resume(options: argparse.Namespace) -> dict[str, Any]:
    """Continue the sweep up to where its last trial is handed out."""
    first = FirstTrial()
    run_module._executor = lambda context: first  # type: ignore[assignment]
    request = resume_module.ResumeRequest(NAME, Path(options.home), executor="inline")
    resume_module.resume(request, SilentProgress(), lambda line: None)
    assert first.at is not None, "no trial began"
    return {"first_trial_at": first.at, "peak_mb": _peak_mb()}


def status(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of reading the status from the database of the study, without a process's start."""
    seconds = Seconds()
    with seconds.noted():
        read_status(Path(options.home), NAME, options.study)
    return {"status_s": seconds.wall[0]}


def draws(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of drawing a trial with each sampler, all trials of the sweep known."""
    found = {}
    for sampler in options.samplers:
        copy = Path(options.home) / f"draws-{sampler}"
        copy.mkdir()
        shutil.copy(Path(options.home) / "study.db", copy / "study.db")
        spec = spec_of(options, sampler)
        pruner = build_pruner(spec.early_stopping)
        study = SweepStudy.reopen(study_url(copy), NAME, build_sampler(spec), pruner)
        drawing = Drawing(distributions(spec))
        seconds = Seconds()
        for _ in range(_DRAWS):
            with seconds.noted():
                study.ask(drawing)
        found[sampler] = median(seconds.wall)
    return found


_WORK = {"sweep": sweep, "resume": resume, "status": status, "draws": draws}


def main() -> None:
    """Print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=tuple(_WORK))
    parser.add_argument("--home", required=True)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--at-once", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--samplers", nargs="+", default=["tpe"])
    parser.add_argument("--stopping", default="asha")
    parser.add_argument("--study", help="URL of the study's database; default: SQLite")
    parser.add_argument("--without-mlflow", action="store_true")
    options = parser.parse_args()
    print(json.dumps(_WORK[options.what](options)))


if __name__ == "__main__":
    main()
