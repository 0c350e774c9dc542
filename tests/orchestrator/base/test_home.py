"""The home's lock: one driver at a time, who it is, and what a killed one leaves."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.base.errors import HomeLockedError
from orchestrator.base.home import locked_home

_HOLDER = """
import sys, time
from pathlib import Path
from orchestrator.base.home import locked_home
with locked_home(Path(sys.argv[1]), "first"):
    print(flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock of a home."""
    command = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_the_second_driver_is_told_who_runs_where_and_since_when(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    with pytest.raises(HomeLockedError) as caught, locked_home(tmp_path):
        pass
    message = str(caught.value)
    assert f"process {holder.pid} on {socket.gethostname()} (alive, since 20" in message
    assert "with sweep 'first'" in message
    assert caught.value.exit_code == 2


def test_a_killed_driver_leaves_no_lock(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()
    with locked_home(tmp_path):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()


def test_a_lock_whose_holder_has_not_written_yet(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "lock").write_text("")
    with (
        pytest.raises(HomeLockedError, match="another process runs a sweep"),
        locked_home(tmp_path),
    ):
        pass
