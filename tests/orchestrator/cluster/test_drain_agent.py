"""The drain agent beside a real Ray, told by a fake metadata service or a signal."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._raylet import AuthenticationTokenLoader, Config
from ray.cluster_utils import Cluster

from orchestrator.base.errors import DrainAgentError
from orchestrator.cluster.drain_agent import find_node
from tests.orchestrator.cluster.fake_metadata import metadata_service
from tests.orchestrator.command_line import command, environment

# Far longer than anything here takes; what hangs must not hang the tests.
_LIMIT_S = 60.0
_LEAD_S = 600


def reread_environment() -> None:
    # Ray reads how it authenticates when it is imported.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without work and two workers with one CPU each, on addresses of their own."""
    # Short: socket paths have 107 letters. Ray notes its address there for `auto`.
    scratch = Path(tempfile.mkdtemp(prefix="prvr-d", dir="/tmp"))
    (scratch / "ray").mkdir()
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(scratch))
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        reread_environment()
        # Not 127.0.0.1, which Ray replaces by the address of the network.
        head = {"num_cpus": 0, "node_ip_address": "127.0.0.2", "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for last in (3, 4):
                cluster.add_node(num_cpus=1, node_ip_address=f"127.0.0.{last}")
            ray.init(cluster.address, log_to_driver=False, logging_level="error")
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
            signal.signal(signal.SIGTERM, handler)
            shutil.rmtree(scratch, ignore_errors=True)
    reread_environment()


class Agent:
    """A `prvr-sweep drain-agent` for one node."""

    def __init__(self, node_id: str, *options: str) -> None:
        self._process = subprocess.Popen(
            command("drain-agent", "--node-id", node_id, "--poll-seconds", "0.1", *options),
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Agent":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def wait_for(self, words: str) -> str:
        """The next line of its log that contains the words."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if words in line:
                return line
        raise AssertionError(f"the agent ended without {words!r}")

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Exit code and the rest of the log, once it ends by itself."""
        _, log = self._process.communicate(timeout=_LIMIT_S)
        return self._process.returncode, log


@ray.remote(num_cpus=1)
class Trial:
    def node_id(self) -> str:
        return str(ray.get_runtime_context().get_node_id())


def wait_until(holds: Callable[[], bool]) -> None:
    limit_s = time.monotonic() + _LIMIT_S
    while not holds():
        assert time.monotonic() < limit_s
        time.sleep(0.1)


def draining(cluster: Cluster) -> dict[str, int]:
    """Deadlines, Unix milliseconds, by node."""
    return dict(cluster.global_state.get_draining_nodes())


def alive() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def gcs(cluster: Cluster) -> Any:  # noqa: ANN401  (a class of Ray's)
    return cluster.head_node.all_processes["gcs_server"][0].process


@pytest.mark.soak
def test_a_notice_drains_the_node_and_the_agent_ends_with_it(cluster: Cluster) -> None:
    trial = Trial.remote()
    node_id = ray.get(trial.node_id.remote())
    at = int(time.time()) + _LEAD_S
    with (
        metadata_service() as service,
        Agent(node_id, "--metadata-url", service.url, "--try-seconds", "8") as agent,
    ):
        assert cluster.address in agent.wait_for("watching over node")
        assert draining(cluster) == {}
        # A GCS that does not answer is asked again.
        gcs(cluster).send_signal(signal.SIGSTOP)
        try:
            when = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
            service.action = f'{{"action": "terminate", "time": "{when}"}}'
            line = agent.wait_for("cannot drain")
            assert f"the GCS at {cluster.address} does not answer within 8 s" in line
        finally:
            gcs(cluster).send_signal(signal.SIGCONT)
        agent.wait_for(f"node {node_id} is draining")
        deadlines = draining(cluster)
        assert deadlines.keys() == {node_id}
        # Ray counts from when it is asked, which takes seconds on a busy machine.
        assert abs(deadlines[node_id] / 1000 - at) < 20
        # The node waits for its work, and the same notice drains it once.
        seen = service.looks
        wait_until(lambda: service.looks > seen + 5)
        assert node_id in alive()
        ray.kill(trial)
        code, log = agent.end()
    wait_until(lambda: node_id not in alive())
    assert code == 0
    assert f"node {node_id} has ended" in log
    assert "is draining" not in log


@pytest.mark.soak
def test_a_signal_drains_and_sigterm_ends_the_agent(cluster: Cluster) -> None:
    trial = Trial.remote()
    node_id = ray.get(trial.node_id.remote())
    options = ["--source", "signal", "--lead-seconds", str(_LEAD_S), "--address", cluster.address]
    with Agent(node_id, *options) as agent:
        agent.wait_for("watching over node")
        agent.signal(signal.SIGUSR1)
        agent.wait_for(f"node {node_id} is draining")
        assert abs(draining(cluster)[node_id] / 1000 - time.time() - _LEAD_S) < _LIMIT_S
        agent.signal(signal.SIGTERM)
        code, log = agent.end()
    assert (code, log.count("\n")) == (0, 1)
    assert "ended by SIGTERM or Ctrl-C" in log
    assert node_id in alive()


@pytest.mark.soak
def test_several_nodes_want_a_choice(cluster: Cluster) -> None:
    with pytest.raises(DrainAgentError, match="several Ray nodes run on this machine") as caught:
        find_node(cluster.address, None, 0)
    assert all(node in str(caught.value) for node in alive())
    head = str(cluster.head_node.node_id)
    assert find_node(cluster.address, head, 0).node_id == head


def test_no_node_is_said_with_what_was_wanted() -> None:
    with pytest.raises(DrainAgentError, match=r"no Ray node of 192\.0\.2\.1:6379 with id abc has"):
        find_node("192.0.2.1:6379", "abc", 0)


def test_sigterm_while_waiting_for_ray_ends_the_agent() -> None:
    process = subprocess.Popen(
        command("drain-agent", "--node-id", "none", "--wait-seconds", "600", "--source", "signal"),
        env=environment(),
        stderr=subprocess.PIPE,
    )
    try:
        # It takes SIGUSR1, which would end a process that does not handle it, from early on.
        wait_until(lambda: handles_sigusr1(process.pid))
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(_LIMIT_S) == 0
    finally:
        process.kill()
        process.communicate()


def handles_sigusr1(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & (1 << (signal.SIGUSR1 - 1)))
