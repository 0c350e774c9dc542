"""Asks a running Ray cluster about its nodes, through another process and in bounded time.

This process does not load Ray; the other one, `attached_process`, does.
"""

import json
import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.base.errors import ClusterError, LocationError, ProbeError
from orchestrator.base.our_code import ATTACHED_PROCESS, environment_with_our_code, module_command
from orchestrator.base.text import command, count
from orchestrator.cluster.capacity import COMING_LIMIT_S, Node
from orchestrator.cluster.node_check import SharedLocations
from prvr_model.training.probe_messages import PROBE_START_LIMIT_S, ProbeRequest, ProbeResult

_CLIENT_SCHEME = "ray://"
# Of the head's dashboard, see `ray dashboard`.
_TUNNEL = "http://127.0.0.1:8265"
# A port on which no program listens refuses at once; a firewall stays silent.
_CONNECT_S = 5.0
# A cluster answers within a second; importing Ray on a busy machine takes more.
_ATTACH_S = 25.0
_LEAVE_S = 10.0
# A worker starts and imports; a storage that does not answer is given up after two minutes.
_LOCATIONS_S = 180.0
# A worker starts and imports torch, on all nodes at once.
_LOOK_S = 180.0
# How much later than Ray's own limit an answer may come.
_MARGIN_S = 5.0
# What Ray logs if the cluster refuses it; Ray keeps trying.
_REFUSED = "Unauthenticated"


class Cluster:
    """A running cluster as it was on attaching.

    Args:
        nodes: Living nodes with all their resources, free or in use.
        in_use: CPUs and GPUs that are in use.
        line: Connection to the attached process.
    """

    def __init__(self, nodes: list[Node], in_use: Mapping[str, float], line: "_Line") -> None:
        self.nodes = nodes
        self.in_use = in_use
        self._line = line

    @property
    def busy(self) -> str:
        """CPUs and GPUs in use, in words; empty if none are."""
        texts = [count(round(amount, 2), name) for name, amount in self.in_use.items()]
        return " and ".join(texts)

    def probe(self, request: ProbeRequest, bundle: Mapping[str, float]) -> tuple[str, ProbeResult]:
        """Probe one worker; returns the address of its node and what was measured.

        Raises:
            ProbeError: The probe failed, or no worker was free in time.
        """
        limit_s = PROBE_START_LIMIT_S + 2 * request.limit_s
        asked = {
            "what": "probe",
            "request": request.model_dump_json(),
            "bundle": dict(bundle),
            "limit_s": limit_s,
        }
        answer = self._line.ask(asked, limit_s + _MARGIN_S)
        if answer is None:
            raise ProbeError(f"the cluster gave no answer within {limit_s:.0f} s")
        if "error" in answer:
            raise ProbeError(answer["error"])
        return answer["node"], ProbeResult.model_validate_json(answer["result"])

    def await_worker(self, bundle: Mapping[str, float]) -> None:
        """Wait until a node has room for a process, then update `nodes`.

        Args:
            bundle: Resources of the process by Ray's names.

        Raises:
            ClusterError: No worker started in time.
        """
        asked = {"what": "worker", "bundle": dict(bundle), "limit_s": COMING_LIMIT_S}
        answer = self._line.ask(asked, COMING_LIMIT_S + _MARGIN_S)
        if answer is None or not answer["came"]:
            raise ClusterError(
                f"no worker of the cluster started within {COMING_LIMIT_S / 60:.0f} min, so no "
                "trial was begun; `ray status` on the head says what it waits for, `ray monitor "
                "FILE` why; launch again when one is up"
            )
        self.nodes = [Node(**node) for node in answer["nodes"]]

    def check_locations(self, locations: SharedLocations) -> list[str]:
        """Check from a worker on each node whether it finds data and storage.

        Returns:
            The nodes that data must be sent to.

        Raises:
            LocationError: A node does not; says which, what it found and what to do.
            ClusterError: The cluster gave no answer.
        """
        asked = {"what": "locations", "locations": asdict(locations), "limit_s": _LOCATIONS_S}
        answer = self._line.ask(asked, _LOCATIONS_S + _MARGIN_S)
        if answer is None:
            raise ClusterError(f"the cluster gave no answer within {_LOCATIONS_S:.0f} s")
        if answer["problems"]:
            found = "\n".join(f"  {problem}" for problem in answer["problems"])
            raise LocationError(f"not every node can run trials; nothing was started:\n{found}")
        lacking: list[str] = answer["lacking"]
        return lacking

    def look_at_nodes(self) -> list[dict[str, Any]]:
        """Look at each node from a worker on it: see `node_survey.look_at_nodes`.

        Raises:
            ClusterError: The cluster gave no answer.
        """
        answer = self._line.ask({"what": "look", "limit_s": _LOOK_S}, _LOOK_S + _MARGIN_S)
        if answer is None:
            raise ClusterError(f"the cluster gave no answer within {_LOOK_S:.0f} s")
        nodes: list[dict[str, Any]] = answer["nodes"]
        return nodes


@contextmanager
def attached_cluster(address: str) -> Iterator[Cluster]:
    """Attach to a running cluster while the block runs.

    Args:
        address: `auto`, or HOST:PORT of its head. Authentication comes from the environment.

    Raises:
        ClusterError: The address cannot be used, or nothing answers there in time.
    """
    _check_address(address)
    with tempfile.NamedTemporaryFile("w+") as log, _Line.to_child(log) as line:
        answer = line.ask({"address": address}, _ATTACH_S, until=_REFUSED)
        if answer is None:
            raise ClusterError(_no_answer(address, line.log_text()))
        if "error" in answer:
            raise ClusterError(f"cannot attach to Ray at {address}: {answer['error']}")
        nodes = [Node(**node) for node in answer["nodes"]]
        yield Cluster(nodes, answer["in_use"], line)


class _Line:
    """Questions to a process and its answers, one line of JSON each; its stderr goes to a file."""

    def __init__(self, child: subprocess.Popen[bytes], log: Path) -> None:
        self._child = child
        self._log = log
        self._text = b""

    @classmethod
    @contextmanager
    def to_child(cls, log: "tempfile._TemporaryFileWrapper[str]") -> Iterator["_Line"]:
        child = subprocess.Popen(
            module_command(ATTACHED_PROCESS),
            env=environment_with_our_code(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            yield cls(child, Path(log.name))
        except BaseException:
            child.kill()
            raise
        finally:
            _leave(child)

    def ask(
        self, question: Mapping[str, Any], limit_s: float, until: str | None = None
    ) -> dict[str, Any] | None:
        """The answer; None if it does not come in time, or cannot come.

        Args:
            question: What is asked.
            limit_s: Seconds to wait.
            until: Text in the process's stderr after which no answer will come.
        """
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):  # it is gone, and so is the answer
            self._child.stdin.write(json.dumps(question).encode() + b"\n")
            self._child.stdin.flush()
        end = time.monotonic() + limit_s
        while b"\n" not in self._text:
            if time.monotonic() > end or (until and until in self.log_text()) or not self._read():
                return None
        line, _, self._text = self._text.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def log_text(self) -> str:
        """What the process has written to stderr so far."""
        return self._log.read_text(errors="replace")

    def _read(self) -> bool:
        """Wait a moment for more; False if the process is gone."""
        assert self._child.stdout is not None
        if not select.select([self._child.stdout], [], [], 0.5)[0]:
            return True
        more = os.read(self._child.stdout.fileno(), 1 << 16)
        self._text += more
        return bool(more)


def _leave(child: subprocess.Popen[bytes]) -> None:
    """End the questions: the process then leaves the cluster and ends."""
    assert child.stdin is not None
    assert child.stdout is not None
    with suppress(BrokenPipeError):
        child.stdin.close()
    try:
        child.wait(_LEAVE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    child.stdout.close()


def _check_address(address: str) -> None:
    """Refuse what cannot be an address, and one at which no program listens."""
    for candidate in (address, os.environ.get("RAY_ADDRESS", "") if address == "auto" else ""):
        if candidate.startswith(_CLIENT_SCHEME):
            raise ClusterError(
                f"found {candidate}: through Ray Client a sweep would end with the connection; "
                f"send it with `{command('launch', 'SPACE.yaml', submit=_TUNNEL)}` (the head's "
                "dashboard, through a tunnel), or run the command on a node of the cluster with "
                "--address HOST:PORT of its head"
            )
    option, of_environment = "--address", ""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or "auto"
        option, of_environment = "RAY_ADDRESS", ", which RAY_ADDRESS names"
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "://" in address:
        raise ClusterError(f"found {option} {address!r}; allowed: auto, or HOST:PORT of the head")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ClusterError(
            f"nothing answers at {address}{of_environment} ({reason}); is Ray running there? `ray "
            "status` on its head shows the address"
        ) from error


def _no_answer(address: str, log: str) -> str:
    if _REFUSED in log:
        return (
            f"the cluster at {address} refuses the token; set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to what the cluster was started with"
        )
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = f"; Ray said: {lines[-1]}" if lines else ""
    return f"no Ray answered at {address}{said}"
