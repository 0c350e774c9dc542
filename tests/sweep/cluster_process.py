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

from tests.cli.commands import ROOT, TIMEOUT_S, Done, command


@dataclass(frozen=True)
class SmallCluster:
    """A running cluster: its address, and the environment of those who may use it."""

    address: str
    environment: Mapping[str, str]

    def run(self, name: str, space: Path, *arguments: str | Path, **changes: str) -> Done:
        """Run a command with `--address` on it."""
        done = subprocess.run(
            command(name, space, "--address", self.address, *arguments),
            env={**self.environment, **changes},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def small_cluster(*nodes: str) -> Iterator[SmallCluster]:
    """Two nodes of 1 and 3 CPUs, or these, each as JSON of its options."""
    # Socket paths must be shorter than 108 letters.
    scratch = Path(tempfile.mkdtemp(prefix="pc-", dir="/tmp"))
    (scratch / "ray").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_TMPDIR": str(scratch),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.sweep.small_cluster", *nodes],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        lines = (line.strip() for line in process.stdout)
        address = next(line for line in lines if line.startswith("127.0.0.1:"))
        yield SmallCluster(address, environment)
    finally:
        process.stdin.close()
        process.wait(TIMEOUT_S)
        process.stdout.close()
        shutil.rmtree(scratch, ignore_errors=True)
