"""Whether a sweep keeps all cores busy: its wall time against what its trials trained.

Run `python -m tests.benchmarks.keeps_busy --trials N --epochs E --json`. Real trials on built-in
data, one CPU each, as many at once as there are CPUs, through the real executor, study, outbox and
MLflow writer. `ratio` is wall time from the first trial's start to the last one's end over the sum
of the trials' own seconds of training and evaluation, shared by the CPUs; `ratio_with_start` counts
Ray's start too.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from orchestrator.report.reading import read_sweep
from orchestrator.spec.data import open_data
from orchestrator.spec.loading import load_spec
from orchestrator.study.trial import FailureCause, TrialState
from orchestrator.sweep.progress import SilentProgress
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.sender import mlflow_sender
from orchestrator.tracking.store import TrackingStore
from tests.benchmarks.measure import arguments, show
from tests.locations import SEARCH_SPACES
from tests.orchestrator.helpers import run_sweep

_SPACE = SEARCH_SPACES / "seeds.yaml"
_FLUSH_S = 600.0


class Watch(SilentProgress):
    """Notes when the first trial starts and the last one ends."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last = 0.0

    def started(self, number: int) -> None:
        self.first = self.first or time.perf_counter()

    def ended(self, number: int, state: TrialState, cause: FailureCause | None) -> None:
        assert state is TrialState.COMPLETE, cause
        self.last = time.perf_counter()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--executor", choices=["tune", "inline"], default="tune")
    options = arguments(parser)
    with tempfile.TemporaryDirectory(prefix="busy-") as folder:
        show(_measured(Path(folder), options), options)


def _measured(home: Path, options: argparse.Namespace) -> dict[str, float]:
    trials, epochs = options.trials, options.epochs
    budget = [f"training.epochs={epochs}", f"optimizer.schedule_epochs={epochs}"]
    spec = load_spec(_SPACE, ["name=busy", f"ablation.seeds={trials}", *budget])
    store = open_data(spec.data, home, lambda _: None)
    outbox, watch = Outbox(home / "busy.jsonl"), Watch()
    sender = mlflow_sender(outbox, TrackingStore.of_home(home), "busy", lambda _: None)
    sender.start()
    begun = time.perf_counter()
    run_sweep(
        spec,
        store.path,
        store.manifest.fingerprint,
        home,
        sink=outbox,
        progress=watch,
        executor=options.executor,
    )
    sender.flush(_FLUSH_S)
    sender.stop(_FLUSH_S)
    outbox.close()
    trained_s = sum(run.seconds or 0.0 for run in read_sweep(home, "busy").runs)
    is_alone = options.executor == "inline"
    at_once = 1 if is_alone else min(trials, len(os.sched_getaffinity(0)))
    assert watch.first is not None
    return {
        "trained_s": trained_s,
        "wall_s": watch.last - watch.first,
        "ratio": (watch.last - watch.first) / (trained_s / at_once),
        "ratio_with_start": (watch.last - begun) / (trained_s / at_once),
        "trials_at_once": at_once,
    }


if __name__ == "__main__":
    main()
