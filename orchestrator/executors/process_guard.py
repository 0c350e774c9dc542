"""Ends a sweep's Ray when its driver has ended, however it ended, and removes its scratch folder.

A killed driver cannot clean up, and Ray's processes outlive it: some for a minute, some for ever.
Surviving workers would write to trials that a resumed sweep runs again. So a small process waits
on a pipe, which closes when the driver ends.
"""

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

OWNER = "PRVR_RAY"
"""Environment variable of a Ray's processes that names their scratch folder."""

# Ctrl-C may take 10 s in all; processes that have not ended after this time are killed.
_GRACE_S = 2.0
_AT_ONCE = b"at once"


class ProcessGuard:
    """Watches over a scratch folder from another process.

    Args:
        scratch: Folder of one Ray, in which its processes keep their logs.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        # -P: the folder of this file holds modules that are named like Python's own.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).resolve()), str(scratch), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def finish(self, *, at_once: bool = False) -> None:
        """Clean up now, and wait until it is done.

        Args:
            at_once: Kill without waiting for processes to end by themselves.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # somebody ended it
            self._process.stdin.write(_AT_ONCE if at_once else b"")
            self._process.stdin.close()
        if self._process.wait():
            clean_up(self._scratch, os.getpid(), 0.0 if at_once else _GRACE_S)


def clean_up(scratch: Path, driver: int, grace_s: float) -> None:
    """End the processes of a scratch folder, except the driver, and remove the folder."""
    limit_s = time.monotonic() + grace_s
    while (left := _processes_of(scratch, driver)) and time.monotonic() < limit_s:
        psutil.wait_procs(left, timeout=0.1)
    # More than once: a process that is starting opens its log after the first look.
    while left := _processes_of(scratch, driver):
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=_GRACE_S)
    shutil.rmtree(scratch, ignore_errors=True)


def _processes_of(scratch: Path, driver: int) -> list[psutil.Process]:
    others = (
        process for process in psutil.process_iter() if process.pid not in (driver, os.getpid())
    )
    return [other for other in others if _is_of(other, scratch)]


def _is_of(process: psutil.Process, scratch: Path) -> bool:
    """Whether a process keeps a log in the folder, as each of Ray's does, or is marked as its own.

    Ray's processes rename themselves, which wipes out their environment; what they start, and they
    themselves before they open their logs, still has it.
    """
    with suppress(psutil.Error, OSError):  # of other users, or gone meanwhile
        if process.environ().get(OWNER) == str(scratch):
            return True
        files = process.open_files()
        return any(file.path.startswith(f"{scratch}/") and file.mode != "r" for file in files)
    return False


if __name__ == "__main__":
    said = sys.stdin.buffer.read()
    clean_up(Path(sys.argv[1]), int(sys.argv[2]), 0.0 if said == _AT_ONCE else _GRACE_S)
