"""The guard of a sweep's Ray, without a Ray."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.executors import process_guard
from orchestrator.executors.process_guard import OWNER, ProcessGuard

# Starting Python twice and looking through all processes, on a busy machine.
_LIMIT_S = 60

_LOGS_FOR_EVER = (
    "import sys, time; file = open(sys.argv[1], 'a'); print(flush=True); time.sleep(600)"
)
_READS_FOR_EVER = _LOGS_FOR_EVER.replace("'a'", "'r'")
_DRIVER = """
import sys, time
from pathlib import Path
from orchestrator.executors.process_guard import ProcessGuard
guard = ProcessGuard(Path(sys.argv[1]))
print(flush=True)
time.sleep(600)
"""


def started(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A process that has begun its endless work."""
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    (folder / "logs").mkdir(parents=True)
    return folder


@pytest.fixture
def worker(scratch: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that keeps a log in the scratch folder."""
    with started(_LOGS_FOR_EVER, str(scratch / "logs" / "worker.log")) as process:
        yield process
        process.kill()


def test_what_is_marked_as_the_rays_own_goes_with_it(scratch: Path) -> None:
    environment = {**os.environ, OWNER: str(scratch)}
    sleeper = subprocess.Popen(["sleep", "600"], env=environment)
    ProcessGuard(scratch).finish(at_once=True)
    assert sleeper.wait(timeout=_LIMIT_S) == -9


def test_a_guard_that_was_ended_is_not_needed(
    scratch: Path, worker: subprocess.Popen[bytes]
) -> None:
    guard = ProcessGuard(scratch)
    guard._process.kill()
    guard._process.wait()
    guard.finish(at_once=True)
    assert not psutil.pid_exists(worker.pid)
    assert not scratch.exists()


def test_a_killed_driver_leaves_no_process(scratch: Path, worker: subprocess.Popen[bytes]) -> None:
    with started(_DRIVER, str(scratch)) as driver:
        driver.kill()
    worker.wait(timeout=_LIMIT_S)
    assert worker.returncode == -9


@pytest.mark.parametrize(("grace_s", "first"), [(0.0, "kill"), (0.01, "wait")])
def test_without_grace_nothing_is_waited_for(
    scratch: Path, grace_s: float, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    class Stubborn:
        def kill(self) -> None:
            done.append("kill")

    monkeypatch.setattr(
        process_guard, "_processes_of", lambda *_: [] if "kill" in done else [Stubborn()]
    )
    monkeypatch.setattr(psutil, "wait_procs", lambda *_, **__: done.append("wait"))
    process_guard.clean_up(scratch, 0, grace_s)
    assert done[0] == first
    assert not scratch.exists()


@pytest.mark.parametrize("at_once", [False, True])
def test_finish_waits_until_all_is_gone_and_spares_others(
    scratch: Path, worker: subprocess.Popen[bytes], at_once: bool
) -> None:
    with started(_READS_FOR_EVER, str(scratch / "logs" / "worker.log")) as reader:
        with (scratch / "logs" / "driver.log").open("a"):
            ProcessGuard(scratch).finish(at_once=at_once)
        assert worker.poll() == -9
        assert reader.poll() is None
        assert not scratch.exists()
        reader.kill()
