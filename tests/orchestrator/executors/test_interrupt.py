"""Ctrl-C in a sweep on Ray: no process is left, and a study that can go on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.study.trial import TrialRequest, TrialState
from orchestrator.sweep.status import read_status
from tests.leftovers import left_of
from tests.orchestrator.helpers import new_searcher, reopened_study, small_spec

# Ray's start on a busy machine; only a sweep that never starts takes as long.
_START_LIMIT_S = 120
# What users are promised of Ctrl-C.
_END_LIMIT_S = 10


def _has_value(home: Path) -> bool:
    """Whether a trial's first epoch is in the study."""
    return any(trial.value is not None for trial in read_status(home, "small").trials)


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A sweep in a session of its own, as a terminal has, with its trials running."""
    markers = tmp_path / "markers"
    markers.mkdir()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.orchestrator.sweep.interrupted_sweep",
            str(tmp_path / "home"),
        ],
        env={**os.environ, "PRVR_TEST_MARKERS": str(markers)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    limit_s = time.monotonic() + _START_LIMIT_S
    while not (any(markers.iterdir()) and _has_value(tmp_path / "home")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit_s, "no trial has started"
        time.sleep(0.2)
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest.mark.soak
def test_interrupt_ends_all_soon_and_keeps_the_study(
    sweep: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    started = psutil.Process(sweep.pid).children(recursive=True)
    assert started
    os.killpg(sweep.pid, signal.SIGINT)
    stdout, stderr = sweep.communicate(timeout=_END_LIMIT_S)
    assert sweep.returncode == 130
    assert stdout == b""
    assert b"Traceback" not in stderr
    assert not left_of(lambda: started)
    status = read_status(tmp_path / "home", "small")
    assert status.state == "interrupted"
    assert status.counts[TrialState.FAILED] == 0
    running = [trial for trial in status.trials if trial.state is TrialState.RUNNING]
    # Whichever process was there first.
    assert any(one.value is not None for one in running)
    spec = small_spec()
    again = new_searcher(reopened_study(tmp_path / "home", spec), spec).next()
    assert isinstance(again, TrialRequest)
    assert again.number == running[0].number
