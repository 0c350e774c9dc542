"""Runs of the command line in processes of their own whose imports are made once.

Half of a small sweep's seconds are imports. A server that has imported everything and run nothing
forks a process for each run: it can be killed like any other, and begins at once.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

_CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.warm_imports"])
_THREADS = tuple(f"{one}_NUM_THREADS" for one in ("OMP", "MKL", "OPENBLAS"))


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (minus a signal's number), and what it said."""

    returncode: int
    stdout: str
    stderr: str


def run_warm(
    work: Callable[[list[str]], int], arguments: list[str], folder: Path, limit_s: float
) -> Ended:
    """Run `work(arguments)` in a forked process, its numerical libraries on one thread.

    Args:
        work: A function of a module; what it returns is the exit code.
        arguments: Its argument.
        folder: Where the process's output is kept meanwhile.
        limit_s: Seconds after which it counts as hung.

    Raises:
        TimeoutError: It hung; it was killed, and its last words are in the message.
    """
    # The server takes its environment when it is first asked.
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    process = _CONTEXT.Process(target=_begin, args=(work, arguments, out, err))
    process.start()
    process.join(limit_s)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"{arguments} took over {limit_s:g} s: {err.read_text()[-2000:]}")
    return Ended(process.exitcode, out.read_text(), err.read_text())


def _begin(work: Callable[[list[str]], int], arguments: list[str], out: Path, err: Path) -> None:
    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    sys.exit(work(arguments))
