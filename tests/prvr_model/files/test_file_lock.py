"""A lock has one holder at a time, among processes; a killed holder holds nothing."""

import errno
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from prvr_model.files.file_lock import exclusive

_HOLDS_AND_WAITS = """
import sys, time
from pathlib import Path
from prvr_model.files.file_lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
    Path(sys.argv[2]).touch()
"""


def holder(lock: Path, done: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDS_AND_WAITS, str(lock), str(done)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_waited_for(tmp_path: Path) -> None:
    lock, done = tmp_path / "lock", tmp_path / "done"
    with holder(lock, done) as process:
        seen: list[bool] = []

        def wait() -> None:
            with exclusive(lock):
                seen.append(done.exists())

        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(timeout=0.2)
        assert seen == []
        process.communicate("go\n")
        waiting.join(timeout=30)
    assert seen == [True]
    assert not lock.exists()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    lock, done = tmp_path / "lock", tmp_path / "done"
    with holder(lock, done) as process:
        process.kill()
        process.wait()
        assert lock.exists()
        with exclusive(lock):
            pass
    assert not lock.exists()
    assert not done.exists()


def test_threads_take_turns(tmp_path: Path) -> None:
    inside: list[int] = []

    def work() -> None:
        for _ in range(20):
            with exclusive(tmp_path / "lock"):
                inside.append(1)
                assert len(inside) == 1
                inside.clear()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == []
    assert list(tmp_path.iterdir()) == []


def test_where_no_file_can_be_made_the_block_runs_without_a_lock(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with exclusive(tmp_path / "file" / "lock") as is_held:
        assert not is_held


def test_where_there_are_no_locks_the_block_runs_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with exclusive(tmp_path / "lock") as is_held:
        assert not is_held
