"""What a trial loses when its process, its node or the cluster's GCS goes, on small clusters.

`python -m tests.node_deaths [--json] [FAULT ...]`: a line for each fault.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from orchestrator.cluster.capacity import RunningCluster
from orchestrator.cluster.client import attached_cluster
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.tune_executor import TrialSlot, TuneExecutor
from orchestrator.study.trial import TrialRequest
from prvr_model.files.folder import Folder
from prvr_model.reporting import MEASURED
from prvr_model.store.synthetic import write_synthetic
from prvr_model.training.checkpoint import read_state
from tests.orchestrator.cluster_process import small_cluster
from tests.orchestrator.executors.executor_contract import RecordingSource
from tests.orchestrator.node_death_trials import GO, HERE, HIT_NUMBER, STEPS
from tests.prvr_model.tiny import TINY_DATA, tiny_settings

_FUNCTION = "tests.orchestrator.node_death_trials:hit_once"
_HEAD = '{"num_cpus": 0, "resources": {"train_driver": 1}}'
_WORKER = '{"num_cpus": 1}'
_ON_LOOPBACK = """
from ray._private import services
services.resolve_ip_for_localhost = str
from ray.scripts.scripts import main
main()
"""
_NUM_STEPS = 12
_LIMIT_S = 60.0
# Longer than a call of Ray's waits, shorter than nodes may be silent.
_GCS_AWAY_S = 5.0


@dataclass(frozen=True)
class Found:
    """What became of the trial that was hit.

    Args:
        fault: What happened.
        completed: Whether both trials ended well, each begun and ended once.
        steps_lost: Steps that were trained twice.
        seconds: From the fault to the next step.
        equal: Whether its numbers are those of the undisturbed trial, bit for bit.
        saved_step: Step within the epoch of the checkpoint that was written on leaving; 0: none.
        rows: Epochs in the order in which they were reported.
        cause: Why a trial failed; empty: none did.
    """

    fault: str
    completed: bool
    steps_lost: int
    seconds: float
    equal: bool
    saved_step: int
    rows: list[int]
    cause: str


class _Source(RecordingSource):
    """Two equal trials of the tiny store."""

    def __init__(self, root: Path) -> None:
        super().__init__([HIT_NUMBER, HIT_NUMBER + 1])
        self._root = root

    def next_trial(self) -> TrialRequest | None:
        found = super().next_trial()
        return found and replace(
            found,
            settings=tiny_settings(),
            store=str(self._root / "tiny.store"),
            folder=str(folder_of(self._root, found.number)),
        )


def folder_of(root: Path, number: int) -> Path:
    """A trial's folder."""
    return root / "trials" / f"{number:05d}"


def kill_process(folder: Path, here: dict[str, Any], address: str) -> None:
    """The process that trains."""
    os.kill(here["pid"], signal.SIGKILL)


def kill_node(folder: Path, here: dict[str, Any], address: str) -> None:
    """The node: its raylet, and with it all its processes."""
    os.kill(here["raylet"], signal.SIGKILL)


def drain_node(folder: Path, here: dict[str, Any], address: str) -> None:
    """A notice that the node goes, as the drain agent gives it; then it goes."""
    raylet = psutil.Process(here["raylet"])
    _drain(here["node"], address)
    _until(lambda: read_state(Folder.open(folder)).part is not None)
    state = read_state(Folder.open(folder))
    assert state.part is not None
    (folder / "saved.txt").write_text(str(state.part.steps))
    if raylet.is_running():
        raylet.kill()


def _drain(node: str, address: str) -> None:
    """The drain agent's command; Ray takes 127.0.0.1 for a mistake, and it would ask elsewhere."""
    command = [sys.executable, "-c", _ON_LOOPBACK, "drain-node", "--address", address,
               "--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION",
               "--reason-message", "spot", "--deadline-remaining-seconds", "60"]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=_LIMIT_S)


def stop_gcs(folder: Path, here: dict[str, Any], address: str) -> None:
    """The GCS answers nobody for some seconds, while training goes on."""
    starter = psutil.Process(here["raylet"]).parent()
    assert starter is not None
    (gcs,) = [child for child in starter.children() if "gcs_server" in child.name()]
    gcs.suspend()
    try:
        (folder / GO).touch()
        time.sleep(_GCS_AWAY_S)
    finally:
        gcs.resume()


FAULTS: dict[str, tuple[int, Callable[[Path, dict[str, Any], str], None]]] = {
    "trial actor killed": (1, kill_process),
    "node of a one-worker trial killed": (1, kill_node),
    "node of a one-worker trial drained": (1, drain_node),
    "worker process of two killed": (2, kill_process),
    "node of one of two workers killed": (2, kill_node),
    "node of one of two workers drained": (2, drain_node),
    "GCS silent": (1, stop_gcs),
}


def suffer(fault: str) -> Found:
    """Run two trials on a cluster of their own and let one suffer a fault."""
    workers, harm = FAULTS[fault]
    nodes = [_HEAD, *[_WORKER] * (workers + 1)]
    with tempfile.TemporaryDirectory() as name, small_cluster(*nodes) as cluster:
        root = Path(name)
        write_synthetic(root / "tiny.store", TINY_DATA)
        source = _Source(root)
        folder = folder_of(root, HIT_NUMBER)
        hit_at: list[float] = []
        errors: list[BaseException] = []

        def act() -> None:
            try:
                _until(lambda: (folder / HERE).exists())
                hit_at.append(time.time())
                harm(folder, json.loads((folder / HERE).read_text()), cluster.address)
            except BaseException as error:  # noqa: BLE001  (raised below)
                errors.append(error)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / GO).touch()

        thread = threading.Thread(target=act, daemon=True)
        with mock.patch.dict(os.environ, cluster.environment):
            with attached_cluster(cluster.address) as there:
                running = RunningCluster(cluster.address, there.nodes)
            thread.start()
            executor = TuneExecutor(TrialSlot(workers=workers), _FUNCTION, running)
            executor.run(source, 1, Interruption())
        thread.join(_LIMIT_S)
        if errors:
            raise errors[0]
        return _found(fault, source, root, hit_at[0])


def _found(fault: str, source: RecordingSource, root: Path, hit_at: float) -> Found:
    folder = folder_of(root, HIT_NUMBER)
    steps = [float(line) for line in (folder / STEPS).read_text().split()]
    saved = folder / "saved.txt"
    ends = [source.calls[number][0] + source.calls[number][-1] for number in (0, 1)]
    return Found(
        fault=fault,
        completed=ends == ["beginend"] * 2 and not source.numbers,
        steps_lost=len(steps) - _NUM_STEPS,
        seconds=round(min(step for step in steps if step > hit_at) - hit_at, 1),
        equal=_numbers(source, 0) == _numbers(source, 1),
        saved_step=int(saved.read_text()) if saved.exists() else 0,
        rows=[row.epoch for row in source.reports[0]],
        cause=" ".join(cause.message[:300] for cause in source.causes.values()),
    )


def _numbers(source: RecordingSource, number: int) -> dict[int, dict[str, float]]:
    return {
        row.epoch: {
            name: value for name, value in row.metrics.items() if not name.startswith(MEASURED)
        }
        for row in source.reports[number]
    }


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _LIMIT_S
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("the trial did not come so far")
        time.sleep(0.05)


def main() -> int:
    """Suffer the faults that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("fault", nargs="*", metavar="FAULT", help=f"one of {list(FAULTS)}")
    arguments = parser.parse_args()
    found = []
    for fault in arguments.fault or FAULTS:
        one = suffer(fault)
        found.append(one)
        sys.stderr.write(f"{one}\n")
    sys.stdout.write(json.dumps([asdict(loss) for loss in found]) + "\n" if arguments.json else "")
    if not arguments.json:
        for loss in found:
            sys.stdout.write(
                f"{loss.fault:36} {loss.steps_lost:3} steps lost, on after {loss.seconds:5.1f} s, "
                f"{'equal' if loss.equal else 'DIFFERENT'}\n"
            )
    return 0 if all(loss.completed and loss.equal for loss in found) else 1


if __name__ == "__main__":
    sys.exit(main())
