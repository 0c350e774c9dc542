"""Drains this machine's Ray node when a notice says that the machine will be taken away.

A drained node gets no new work, and trials on it are told to save a checkpoint. Ray does not listen
to spot notices, so this agent does, beside Ray on every worker. It does not import Ray, so that it
costs next to nothing while it waits; it reads the node's id and address from the raylet's command
line, as Ray's own programs do.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.base.errors import DrainAgentError
from orchestrator.cluster.spot_notices import Notice, NoticeSource, Say

_LOOK_S = 0.5
# Lines of Ray's errors are long; their last one says what is wrong.
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class LocalNode:
    """A Ray node on this machine.

    Args:
        node_id: Its id in the cluster, hexadecimal.
        address: HOST:PORT of the cluster's GCS.
        process: Its raylet.
    """

    node_id: str
    address: str
    process: psutil.Process

    def is_alive(self) -> bool:
        """Whether the raylet runs."""
        try:
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class DrainAgent:
    """Looks for notices and drains the node once for each.

    Args:
        node: The node to drain.
        source: Where notices come from.
        poll_s: Seconds between two looks.
        try_s: Seconds that one attempt to reach the GCS may take.
        say: Takes a line for the log.
    """

    def __init__(
        self, node: LocalNode, source: NoticeSource, poll_s: float, try_s: float, say: Say
    ) -> None:
        self._node = node
        self._source = source
        self._poll_s = poll_s
        self._try_s = try_s
        self._say = say

    def run(self) -> None:
        """Work until the node's Ray ends."""
        drained_for: str | None = None
        self._say(f"watching over node {self._node.node_id} of {self._node.address}")
        while self._node.is_alive():
            notice = self._source.look()
            if notice and notice.key != drained_for and self._drain(notice):
                drained_for = notice.key
            self._source.wait(self._poll_s)
        self._say(f"node {self._node.node_id} has ended")

    def _drain(self, notice: Notice) -> bool:
        left_s = max(0, round(notice.at - time.time()))
        problem = drain(self._node, notice.reason, left_s, self._try_s)
        if problem:
            self._say(f"{notice.reason} in {left_s} s: cannot drain, trying again: {problem}")
        else:
            self._say(f"{notice.reason} in {left_s} s: node {self._node.node_id} is draining")
        return problem is None


def find_node(address: str | None, node_id: str | None, wait_s: float) -> LocalNode:
    """The Ray node of this machine.

    Args:
        address: HOST:PORT of its cluster; None: any.
        node_id: Its id; None: any.
        wait_s: Seconds to wait for it to start.

    Raises:
        DrainAgentError: There is none, or there are several.
    """
    limit_s = time.monotonic() + wait_s
    while not (found := list(_matching(address, node_id))) and time.monotonic() < limit_s:
        time.sleep(_LOOK_S)
    if len(found) == 1:
        return found[0]
    if found:
        nodes = ", ".join(f"{node.node_id} of {node.address}" for node in found)
        raise DrainAgentError(
            f"several Ray nodes run on this machine ({nodes}); choose one with --address or "
            "--node-id"
        )
    wanted = "".join(
        [f" of {address}" if address else "", f" with id {node_id}" if node_id else ""]
    )
    raise DrainAgentError(
        f"no Ray node{wanted} has started on this machine within {wait_s:g} s; start it with "
        "`ray start`, or allow it more time with --wait-seconds"
    )


def drain(node: LocalNode, reason: str, left_s: int, limit_s: float) -> str | None:
    """Tell the GCS that the node will be gone in `left_s` seconds; returns the problem, if any."""
    # -P: the working directory may hold modules of any name.
    command = [sys.executable, "-P", "-m", "ray.scripts.scripts", "drain-node",
               "--address", node.address, "--node-id", node.node_id,
               "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", reason,
               "--deadline-remaining-seconds", str(left_s)]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return f"the GCS at {node.address} does not answer within {limit_s:g} s"
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[-1][-_SHOWN_CHARACTERS:]


def _matching(address: str | None, node_id: str | None) -> Iterator[LocalNode]:
    for node in _local_nodes():
        if address in (None, node.address) and node_id in (None, node.node_id):
            yield node


def _local_nodes() -> Iterator[LocalNode]:
    for process in psutil.process_iter(["cmdline"]):
        program, *arguments = process.info["cmdline"] or [""]
        options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
        if Path(program).name == "raylet" and "--node_id" in options:
            yield LocalNode(options["--node_id"], options.get("--gcs-address", ""), process)
