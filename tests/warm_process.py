"""Runs commands in processes of their own whose imports are made once.

Most of a small command's seconds are imports. A server that has imported everything and run nothing
forks a process for each run: it can be killed like any other, and begins at once.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path

_CONTEXT: ForkServerContext = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.warm_imports"])
# Libraries read these when they are imported: the server's are its runs' too.
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (minus a signal's number), and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class _Run:
    work: Callable[[list[str]], int]
    arguments: list[str]
    cwd: Path
    environment: dict[str, str]
    out: Path
    err: Path

    def begin(self) -> None:
        """Run in the new process, and end it."""
        for stream, path in ((sys.stdout, self.out), (sys.stderr, self.err)):
            with path.open("wb") as file:
                os.dup2(file.fileno(), stream.fileno())
        os.chdir(self.cwd)
        os.environ.clear()
        os.environ.update(self.environment)
        # A shell that starts the tests in the background ignores Ctrl-C, and children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(self.work(self.arguments))


def run_warm(
    work: Callable[[list[str]], int],
    arguments: list[str],
    limit_s: float,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run `work(arguments)` in a forked process, its numerical libraries on one thread.

    Args:
        work: A function of a module; what it returns is the exit code.
        arguments: Its argument.
        limit_s: Seconds after which it counts as hung.
        cwd: Its working directory; None: the caller's.
        environment: Its environment; None: the caller's.

    Raises:
        TimeoutError: It hung; it was killed, and its last words are in the message.
    """
    context = warm_context()
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        out, err = Path(folder) / "stdout.txt", Path(folder) / "stderr.txt"
        own = {**(os.environ if environment is None else environment), **_ONE_THREAD}
        run = _Run(work, arguments, cwd or Path.cwd(), own, out, err)
        process = context.Process(target=run.begin)
        process.start()
        process.join(limit_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"{arguments} took over {limit_s:g} s: {err.read_text()[-2000:]}")
        return Ended(process.exitcode, out.read_text(), err.read_text())


def warm_context() -> ForkServerContext:
    """Starts processes that have the imports; starts its server at the first call."""
    before = dict(os.environ)
    os.environ.update(_ONE_THREAD)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return _CONTEXT
