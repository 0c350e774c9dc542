"""Sweeps that are sent to a cluster whose nodes do not have this project.

The head computes nothing, as in `cluster/gpu.yaml`. The second node has none of the project's
packages, the third another version of them.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobDetails, JobSubmissionClient

from tests.orchestrator.cluster_process import SmallCluster, small_cluster
from tests.orchestrator.command_line import TIMEOUT_S, TINY_SPACE, Done, command
from tests.orchestrator.sweep.bare_python import bare_python, can_import, stale_packages

pytestmark = [pytest.mark.integration, pytest.mark.soak]

# Ray's agent, which starts jobs, takes 127.0.0.1 for a mistake and looks on the network instead.
_ADDRESSES = {"node_ip_address": "127.0.0.2", "dashboard_agent_listen_port": 0}
_ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}
Reached = Callable[[JobDetails, str], bool]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCluster]:
    folder = tmp_path_factory.mktemp("nodes")
    python = bare_python(folder / "python")
    assert can_import(python, "ray", folder)
    assert not can_import(python, "orchestrator", folder)
    assert not can_import(python, "prvr_model", folder)
    stale = str(stale_packages(folder / "stale"))
    head = {
        "num_cpus": 0,
        "resources": {"train_driver": 100},
        "include_dashboard": True,
        "dashboard_port": free_port(),
    }
    nodes = [head, {"num_cpus": 1}, {"num_cpus": 1, "env_vars": {"PYTHONPATH": stale}}]
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    with small_cluster(
        # What is unpacked on one node is not there on another, as on machines of their own.
        *(
            json.dumps({**_ADDRESSES, **node, "runtime_env_dir_name": f"unpacked-{number}"})
            for number, node in enumerate(nodes)
        ),
        python=python,
        environment={"PYTHONPATH": None, "PATH": path},
    ) as running:
        yield running


@pytest.fixture
def client(cluster: SmallCluster, monkeypatch: pytest.MonkeyPatch) -> JobSubmissionClient:
    token = cluster.environment["RAY_AUTH_TOKEN"]
    return JobSubmissionClient(cluster.dashboard, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_SPACE)
    return path


def test_a_sweep_is_sent_runs_and_is_recognised(
    cluster: SmallCluster, client: JobSubmissionClient, space: Path, tmp_path: Path
) -> None:
    home = tmp_path / "empty" / "home"
    first = sent(cluster, space, home)
    assert first["sent"]
    assert first["state"] == "pending"
    twin = sent(cluster, space, home)
    assert not twin["sent"]
    assert twin["job"] == first["job"]
    job, log = ended(client, first["job"])
    assert job.status == "SUCCEEDED", log
    result = json.loads(log.splitlines()[-1])
    assert result["trials"] == {"running": 0, "complete": 2, "pruned": 0, "failed": 0}
    assert result["problem"] is None
    assert (home / "tiny" / "sweep.yaml").exists()
    again = sent(cluster, space, home)
    assert (again["sent"], again["state"], again["job"]) == (False, "succeeded", first["job"])


def test_a_driver_brings_the_package_along(
    cluster: SmallCluster, space: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        command("launch", space, "--address", cluster.address, "--home", tmp_path / "h", "--json"),
        cwd=tmp_path,
        env=dict(cluster.environment),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trials"]["complete"] == 2


def test_what_never_fits_fails_the_job_and_may_be_sent_again(
    cluster: SmallCluster, client: JobSubmissionClient, space: Path, tmp_path: Path
) -> None:
    options = ("--set", "resources.cpus=64")
    first = sent(cluster, space, tmp_path / "home", *options)
    job, log = ended(client, first["job"])
    assert (job.status, job.driver_exit_code) == ("FAILED", 2), log
    assert "resources.cpus" in log
    second = sent(cluster, space, tmp_path / "home", *options)
    assert second["sent"]
    assert second["job"] == f"{first['job']}-2"
    assert second["earlier"] == [{"job": first["job"], "state": "failed", "exit_code": 2}]
    assert second["resume"] is None
    client.stop_job(second["job"])
    ended(client, second["job"])


def test_a_sweep_that_is_stopped_keeps_its_study(
    cluster: SmallCluster, client: JobSubmissionClient, space: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    endless = (
        "early_stopping.max_epochs=100000",
        "optimizer.schedule_epochs=100000",
        "training.patience_epochs=null",
    )
    options = [part for one in endless for part in ("--set", one)]
    first = sent(cluster, space, home, *options)
    wait_for(client, first["job"], lambda _, log: "0/2 trials | " in log)
    client.stop_job(first["job"])
    job, log = ended(client, first["job"])
    assert job.status == "STOPPED", log
    assert '"interrupted": true' in log
    status = prvr(cluster, "status", "tiny", "--home", home, "--json")
    assert json.loads(status.out)["state"] == "interrupted"
    second = sent(cluster, space, home, *options)
    assert second["sent"]
    assert second["resume"] == f"prvr-sweep resume tiny --home {home} --address auto"
    client.stop_job(second["job"])
    ended(client, second["job"])


def test_the_token_is_asked_for(cluster: SmallCluster, space: Path) -> None:
    for changes in ({"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"}):
        done = prvr(cluster, "launch", space, "--submit", cluster.dashboard, **changes)
        assert done.code == 2
        assert done.err == (
            f"error: the cluster at {cluster.dashboard} refuses the token, or there is none; set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to what the cluster "
            "was started with\n"
        )


def prvr(cluster: SmallCluster, *arguments: str | Path, **changes: str) -> Done:
    done = subprocess.run(
        command(*arguments),
        env={**cluster.environment, **changes},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def sent(cluster: SmallCluster, space: Path, home: Path, *options: str) -> Mapping[str, Any]:
    locations = ("--submit", cluster.dashboard, "--home", home)
    done = prvr(cluster, "launch", space, *locations, *options, "--json")
    assert done.code == 0, done.err
    assert done.err == ""
    answer: dict[str, Any] = json.loads(done.out)
    return answer


def ended(client: JobSubmissionClient, job: str) -> tuple[JobDetails, str]:
    return wait_for(client, job, lambda found, _: found.status in _ENDED)


def wait_for(client: JobSubmissionClient, job: str, reached: Reached) -> tuple[JobDetails, str]:
    """The job and its log, when they are as wanted or the job has ended."""
    end = time.monotonic() + TIMEOUT_S
    while True:
        found, log = client.get_job_info(job), client.get_job_logs(job)
        if reached(found, log) or found.status in _ENDED:
            # The last lines may have come between the two questions.
            return found, client.get_job_logs(job)
        assert time.monotonic() < end, log
        time.sleep(0.5)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
