"""How far a sweep carries: thousands of trials, hundreds at once, on an executor without training.

Run `python -m tests.benchmarks.scale --json`, best on a quiet machine; each sweep is a process of
its own (`scale_sweep`). For each size: the whole with MLflow on SQLite, then the commands that a
user runs on it, a resume up to the first trial, and what a draw costs with each sampler when all
trials are known; the driver alone, without MLflow; the driver without drawing (random points); and
the driver with its study in PostgreSQL, where that is installed. An exponent is the slope of the
logarithms over sizes from 1,000 trials on: 1 where twice the trials take twice as long.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.growth import exponents
from tests.benchmarks.measure import arguments, show
from tests.benchmarks.scale_sweep import NAME
from tests.postgres import postgres_server, why_not

# Smaller sweeps show what a start costs.
_SMALLEST = 1000
_GROWING = {
    "sweep": ("took_s", "extra_mb", "status_s", "report_s", "resume_s", "draw_s", "mlflow_s"),
    "alone": ("took_s", "starts_processor_s", "reports_processor_s", "ends_processor_s"),
    "without_drawing": ("took_s", "starts_processor_s", "reports_processor_s"),
    "postgresql": ("took_s", "status_s"),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 3000, 10_000])
    parser.add_argument("--at-once", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=9)
    methods = ("asha", "hyperband", "median", "none")
    parser.add_argument("--stopping", choices=methods, default="asha")
    parser.add_argument("--samplers", nargs="+", default=["tpe", "random", "qmc", "gp", "cmaes"])
    parser.add_argument("--kinds", nargs="+", choices=list(_GROWING), default=list(_GROWING))
    options = arguments(parser)
    show(measure(options), options)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of every kind of sweep, by size, and how they grow."""
    lacks = why_not()
    kinds = [kind for kind in options.kinds if kind != "postgresql" or lacks is None]
    rows = {kind: [_row(kind, trials, options) for trials in options.trials] for kind in kinds}
    large = [k for k, trials in enumerate(options.trials) if trials >= _SMALLEST]
    sizes = [options.trials[k] for k in large]
    grows = {
        kind: exponents(sizes, [rows[kind][k] for k in large], _GROWING[kind]) for kind in kinds
    }
    return {**rows, "exponents": grows, "without_postgresql": lacks}


def _row(kind: str, trials: int, options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="scale-") as folder, _database(kind) as study:
        child = _Child(Path(folder), trials, options, study)
        sampler = "random" if kind == "without_drawing" else "tpe"
        alone = [] if kind == "sweep" else ["--without-mlflow"]
        row = child.run("sweep", "--sampler", sampler, *alone)
        row["extra_mb"] = row["peak_mb"] - row["before_mb"]
        if kind == "postgresql":
            row |= child.run("status")
        if kind == "sweep":
            row |= _commands(child.home) | _resume(child)
            row["draws_s"] = child.run("draws", "--samplers", *options.samplers)
            row["draw_s"] = row["draws_s"].get("tpe", 0.0)
            row["mlflow_s"] = row["took_s"] + row["mlflow_behind_s"]
        return row


@contextmanager
def _database(kind: str) -> Iterator[str | None]:
    if kind != "postgresql":
        yield None
        return
    with postgres_server() as url:
        yield url


class _Child:
    """Runs `scale_sweep` on a home."""

    def __init__(
        self, home: Path, trials: int, options: argparse.Namespace, study: str | None
    ) -> None:
        self.home = home
        self._sizes = ["--home", str(home), "--trials", str(trials)]
        for name in ("at_once", "epochs", "stopping"):
            self._sizes += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
        self._sizes += ["--study", study] if study else []

    def run(self, what: str, *more: str) -> dict[str, Any]:
        """What it prints."""
        command = [sys.executable, "-m", "tests.benchmarks.scale_sweep", what, *self._sizes, *more]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def _commands(home: Path) -> dict[str, float]:
    """Seconds of the commands that a user runs on such a sweep, each a process of its own."""
    found = {}
    for name, arguments_ in (
        ("status_s", ["status", NAME]),
        ("status_json_s", ["status", NAME, "--json"]),
        ("report_s", ["report", NAME]),
    ):
        command = [sys.executable, "-m", "orchestrator.cli", *arguments_, "--home", str(home)]
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found[name] = time.perf_counter() - begin
    return found


def _resume(child: _Child) -> dict[str, float]:
    """Seconds from the start of a process to its first trial, and its memory."""
    begin = time.time()
    found = child.run("resume")
    return {"resume_s": found["first_trial_at"] - begin, "resume_peak_mb": found["peak_mb"]}


if __name__ == "__main__":
    main()
