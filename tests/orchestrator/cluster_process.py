"""A small Ray cluster with a token, in a process of its own, and commands that are run on it."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tests.orchestrator.command_line import ROOT, TIMEOUT_S, Done, prvr


@dataclass(frozen=True)
class SmallCluster:
    """A running cluster: its address, and the environment of those who may use it.

    `dashboard` is the dashboard's URL; empty: there is none. `commands` takes options of nodes.
    """

    address: str
    environment: Mapping[str, str]
    dashboard: str
    commands: TextIO

    def add_node(self, options: str) -> None:
        """Start one more node, with its options as JSON; does not wait for it."""
        self.commands.write(f"{options}\n")
        self.commands.flush()

    def run(self, name: str, space: Path, *arguments: str | Path, **changes: str) -> Done:
        """Run a command with `--address` on it."""
        own = {**self.environment, **changes}
        line = (name, space, "--address", self.address, *arguments)
        return prvr(*line, cwd=Path.cwd(), **own)


@contextmanager
def small_cluster(
    *nodes: str,
    python: str | Path = sys.executable,
    environment: Mapping[str, str | None] | None = None,
) -> Iterator[SmallCluster]:
    """A cluster that ends with the block.

    Args:
        nodes: Options of each node as JSON; none: two nodes of 1 and 3 CPUs.
        python: Interpreter of the nodes.
        environment: What the nodes' processes have in theirs beside what users have; None: not.
    """
    # Socket paths must be shorter than 108 letters.
    scratch = Path(tempfile.mkdtemp(prefix="pc-", dir="/tmp"))
    (scratch / "ray").mkdir()
    secret = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_TMPDIR": str(scratch),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    users = {**os.environ, "PYTHONPATH": str(ROOT), **secret}
    changed = {**users, **(environment or {})}
    process = subprocess.Popen(
        # By its file and elsewhere: from this folder the nodes would import this checkout.
        [python, str(Path(__file__).with_name("small_cluster.py")), *nodes],
        cwd=scratch,
        env={name: value for name, value in changed.items() if value is not None},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        lines = (line.strip() for line in process.stdout)
        address, dashboard = next(line for line in lines if line.startswith("127.")).split()
        url = "" if dashboard == "-" else f"http://{dashboard}"
        yield SmallCluster(address, users, url, process.stdin)
    finally:
        process.stdin.close()
        process.wait(TIMEOUT_S)
        process.stdout.close()
        shutil.rmtree(scratch, ignore_errors=True)
