"""`launch --address` on a real cluster of two nodes with a CPU each."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.base.errors import LocationError
from orchestrator.cluster.client import attached_cluster
from orchestrator.cluster.node_check import SharedData, SharedLocations
from orchestrator.tracking.store import settle_mlflow
from tests.orchestrator.cluster_process import SmallCluster, small_cluster
from tests.orchestrator.command_line import TIMEOUT_S, TINY_SPACE

pytestmark = pytest.mark.soak

# Prints what is free when it is all, or after half a minute: actors end after their driver.
_FREE = """
import sys, time, ray
from orchestrator.cluster.attached_process import attached
with attached(sys.argv[1]):
    end = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 2 and time.monotonic() < end:
        time.sleep(0.2)
    groups = ray.util.placement_group_table().values()
    kept = [one for one in groups if one["state"] != "REMOVED"]
    print(ray.available_resources().get("CPU"), len(ray.nodes()), len(kept))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[SmallCluster]:
    with small_cluster('{"num_cpus": 1}', '{"num_cpus": 1}') as running:
        yield running


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_SPACE)
    return path


def test_a_sweep_runs_and_leaves_the_cluster_as_it_was(
    cluster: SmallCluster, space: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    done = cluster.run("launch", space, "--home", home, "--json")
    assert done.code == 0, done.err
    assert "127.0.0.1 #2" in done.err
    assert "2, 2 at once" in done.err
    result = json.loads(done.out)
    assert result["trials"] == {"running": 0, "complete": 2, "pruned": 0, "failed": 0}
    assert result["problem"] is None
    names = sorted(path.name for path in (home / "tiny").iterdir())
    reports = [f"report.{kind}" for kind in ("html", "json", "md")]
    assert names == ["owner.json", *reports, "sweep.yaml", "trials"]
    assert tracked(home) == 2
    assert free(cluster) == "2.0 2 0"


def test_every_node_says_what_it_does_not_find(
    cluster: SmallCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    data = SharedData(str(tmp_path / "nowhere"), "0" * 64)
    locations = SharedLocations(data, str(tmp_path), "marker")
    with attached_cluster(cluster.address) as running, pytest.raises(LocationError) as caught:
        running.check_locations(locations)
    first, *nodes = str(caught.value).splitlines()
    assert first == "not every node can run trials; nothing was started:"
    assert nodes[0].startswith(
        f"  node 127.0.0.1 #2: data: there is no feature store at {tmp_path / 'nowhere'}"
    )
    assert nodes[1].startswith(
        f"  node 127.0.0.1 (head): data: there is no feature store at {tmp_path / 'nowhere'}"
    )
    assert caught.value.exit_code == 2


def tracked(home: Path) -> int:
    """Runs of finished trials in MLflow."""
    settle_mlflow()
    uri = f"sqlite:///{home / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name("prvr-synthetic")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return sum(run.info.status == "FINISHED" for run in children)


def free(cluster: SmallCluster) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _FREE, cluster.address],
        env=dict(cluster.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return done.stdout.strip()
