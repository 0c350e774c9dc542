"""A launch right after `ray up`: the head is there, the workers are not."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.cluster_process import SmallCluster, small_cluster
from tests.orchestrator.command_line import TIMEOUT_S, TINY_SPACE, command
from tests.prvr_model.files.test_folder_s3 import ENVIRONMENT, Server

pytestmark = [pytest.mark.integration, pytest.mark.soak]

CONFIG = """\
max_workers: 2
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}, max_workers: 0}
  worker: {resources: {CPU: 1}, max_workers: 2}
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def cluster(server: Server) -> Iterator[SmallCluster]:
    with small_cluster('{"num_cpus": 0}') as running:
        yield running


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """The home folder on a head, where `ray up` leaves the cluster's file."""
    (tmp_path / "ray_bootstrap_config.yaml").write_text(CONFIG)
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    return tmp_path


def start(cluster: SmallCluster, head: Path, *arguments: str) -> subprocess.Popen[str]:
    locations = ["--home", str(head / "home"), "--address", cluster.address, "--json"]
    return subprocess.Popen(
        command("launch", head / "tiny.yaml", *locations, *arguments),
        env={**cluster.environment, "HOME": str(head)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_first_worker_is_waited_for_and_asked(
    cluster: SmallCluster, head: Path, server: Server
) -> None:
    launched = start(cluster, head, "--storage", server.uri("bucket/runs"))
    assert launched.stderr is not None
    assert any(line.startswith("no worker is up yet; starting one") for line in launched.stderr)
    cluster.add_node('{"num_cpus": 1}')
    out, err = launched.communicate(timeout=TIMEOUT_S)
    assert launched.returncode == 0, err
    assert json.loads(out)["trials"]["complete"] == 2
