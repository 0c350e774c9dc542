"""`plan --address` and `doctor --address` on a real cluster of two small nodes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.cluster_process import SmallCluster, small_cluster
from tests.orchestrator.command_line import TINY_SPACE

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def cluster() -> Iterator[SmallCluster]:
    with small_cluster() as running:
        yield running


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_SPACE)
    return path


def test_both_nodes_are_packed(cluster: SmallCluster, space: Path) -> None:
    done = cluster.run("plan", space, "--no-probe", "--json", "--set", "search.sampler=random",
                        "--set", "search.trials=9")  # fmt: skip
    assert done.code == 0, done.err
    planned = json.loads(done.out)
    assert [node["name"] for node in planned["nodes"]] == ["127.0.0.1 (head)", "127.0.0.1 #2"]
    assert [node["cpus"] for node in planned["nodes"]] == [1, 3]
    assert [node["gpus"] for node in planned["nodes"]] == [0, 1]
    assert [node["workers"] for node in planned["nodes"]] == [1, 3]
    assert planned["nodes"][0]["resources"] == {"train_driver": 1}
    assert planned["trials_at_once"] == planned["room"] == 4
    assert planned["probe"] is None


# Each worker needs two videos of a batch.
LARGE_BATCH = ("--set", "settings.training.batch_videos=10")


def test_workers_of_a_trial_lie_on_both_nodes(cluster: SmallCluster, space: Path) -> None:
    done = cluster.run("plan", space, "--no-probe", "--set", "resources.workers=4", *LARGE_BATCH)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("  nodes"))
    table = [line.split()[-1] for line in lines[start : start + 3]]
    assert table == ["workers", "1", "3"]
    assert "  trials     2, 1 at once" in lines


def test_a_probe_runs_on_a_worker(cluster: SmallCluster, space: Path) -> None:
    done = cluster.run("plan", space, "--json", "--set", "resources.cpus=2")
    assert done.code == 0, done.err
    planned = json.loads(done.out)
    assert planned["warnings"] == []
    assert planned["probe"]["node"] == "127.0.0.1"
    assert planned["probe"]["stages"][-1]["videos"] == 6
    assert planned["seconds_per_epoch"]["source"] == "probe"
    assert planned["trials_at_once"] == 1
    assert planned["nodes"][1]["workers"] == 1


def test_what_never_fits_is_refused(cluster: SmallCluster, space: Path) -> None:
    done = cluster.run("plan", space, "--set", "resources.workers=5", *LARGE_BATCH)
    assert (done.code, done.out) == (2, "")
    assert "resources.workers: a trial asks for 5 workers with 1 CPU" in done.err
    assert "there is room for 4; nearest that fits: workers 4" in done.err


def test_a_wrong_token_is_said(cluster: SmallCluster, space: Path) -> None:
    done = cluster.run("plan", space, RAY_AUTH_TOKEN="0" * 64)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: the cluster at {cluster.address} refuses the token")


def test_each_node_of_a_real_cluster_is_looked_at(
    cluster: SmallCluster, space: Path, tmp_path: Path
) -> None:
    done = cluster.run("doctor", space, "--json", "--home", tmp_path / "home")
    findings = json.loads(done.out)["findings"]
    nodes = [finding for finding in findings if finding["message"].startswith("node ")]
    for check in ("node", "clock", "gpu"):
        levels = [finding["level"] for finding in nodes if finding["check"] == check]
        assert levels == ["ok", "ok"], nodes
    assert [finding["level"] for finding in findings if finding["check"] == "sweep"] == ["ok"]
    assert done.code == 0, done.out
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_wrong_token_is_a_problem(cluster: SmallCluster, space: Path, tmp_path: Path) -> None:
    done = cluster.run("doctor", space, "--json", "--home", tmp_path, RAY_AUTH_TOKEN="0" * 64)
    assert done.code == 1
    (found,) = (
        finding for finding in json.loads(done.out)["findings"] if finding["check"] == "cluster"
    )
    assert "RAY_AUTH_TOKEN" in found["message"]
