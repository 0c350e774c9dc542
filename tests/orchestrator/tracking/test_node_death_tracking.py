"""A node dies under a real sweep with MLflow: one run per trial, no gap and no double point."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from orchestrator.study.trial import TrialState
from orchestrator.sweep.status import read_status
from orchestrator.tracking.store import settle_mlflow
from tests.orchestrator.cluster_process import SmallCluster, small_cluster
from tests.orchestrator.command_line import TIMEOUT_S, TINY_SPACE, command, prvr

pytestmark = [pytest.mark.integration, pytest.mark.soak]

EPOCHS = 30
# Without them, a node that is gone is missed after half a minute.
HEALTH = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}
NODES = ('{"num_cpus": 0}', '{"num_cpus": 1}', '{"num_cpus": 1}')
# Long enough that both trials train when the node goes.
SPACE = (
    TINY_SPACE.replace("train_videos: 12", "train_videos: 60")
    .replace("max_epochs: 2", f"max_epochs: {EPOCHS}")
    .replace("schedule_epochs: 2", f"schedule_epochs: {EPOCHS}\n  training.patience_epochs: null")
)


def test_a_node_dies_and_nothing_shows_it_but_the_count(tmp_path: Path) -> None:
    space = tmp_path / "tiny.yaml"
    space.write_text(SPACE)
    with small_cluster(*NODES, environment=HEALTH) as cluster:
        home = tmp_path / "home"
        result = _launched_and_hit(cluster, space, home)
    assert result["trials"] == {"running": 0, "complete": 2, "pruned": 0, "failed": 0}
    assert [trial.moves for trial in read_status(home, "tiny").trials].count(0) == 1
    undisturbed = prvr("launch", space, "--home", tmp_path / "calm", "--executor", "inline",
                       cwd=tmp_path)  # fmt: skip
    assert undisturbed.code == 0, undisturbed.err
    found, expected = _tracked(home), _tracked(tmp_path / "calm")
    assert found.keys() == expected.keys() == {"0", "1"}
    for number, one in found.items():
        assert one["history"] == expected[number]["history"]
        assert [step for step, _ in one["history"]] == list(range(1, EPOCHS + 1))


def _launched_and_hit(cluster: SmallCluster, space: Path, home: Path) -> dict[str, Any]:
    """Launch a sweep, kill the node of a trial that has completed two epochs, and wait."""
    line = command("launch", space, "--address", cluster.address, "--home", home, "--json")
    process = subprocess.Popen(
        line, env=dict(cluster.environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        _node_of_a_trial(home, cluster, process).kill()
        out, err = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "was evicted" in err
    found: dict[str, Any] = json.loads(out)
    return found


def _node_of_a_trial(
    home: Path, cluster: SmallCluster, process: "subprocess.Popen[str]"
) -> psutil.Process:
    """The raylet of a node on which a trial trains, once both have two epochs."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        if (home / "study.db").exists() and _both_train(home):
            found = [
                parent
                for worker in psutil.process_iter(["name", "cmdline", "environ"])
                if any("ImplicitFunc" in part for part in worker.info["cmdline"] or ())
                and (worker.info["environ"] or {}).get("RAY_TMPDIR")
                == cluster.environment["RAY_TMPDIR"]
                and (parent := worker.parent()) is not None
            ]
            if found:
                return found[0]
        time.sleep(0.1)
    raise AssertionError("never did both trials train")


def _both_train(home: Path) -> bool:
    from orchestrator.base.errors import SweepNotFoundError

    try:
        trials = read_status(home, "tiny").trials
    except SweepNotFoundError:
        return False
    running = [trial for trial in trials if trial.state is TrialState.RUNNING and trial.epochs >= 2]
    return len(running) == 2


def _tracked(home: Path) -> dict[str, dict[str, Any]]:
    """Runs of trials by number: points of the objective in their order."""
    settle_mlflow()
    uri = f"sqlite:///{home / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name("prvr-synthetic")
    assert experiment is not None
    runs: dict[str, dict[str, Any]] = {}
    for run in client.search_runs([experiment.experiment_id]):
        if "mlflow.parentRunId" in run.data.tags:
            number = run.data.tags["prvr.trial"]
            assert number not in runs, "one run per trial"
            points = client.get_metric_history(run.info.run_id, "val/SumR")
            ordered = sorted(points, key=lambda point: (point.step, point.timestamp))
            runs[number] = {"history": [(point.step, point.value) for point in ordered]}
    return runs
