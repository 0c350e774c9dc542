"""A running `prvr-sweep serve`, and clients that ask it."""

import asyncio
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tests.orchestrator.command_line import command, environment

# Far longer than any start or recovery takes on a busy machine.
LIMIT_S = 240.0


@dataclass
class ServeProcess:
    """The process and its address."""

    process: "subprocess.Popen[str]"
    address: str
    errors: Path

    def replicas(self, kind: str) -> list[psutil.Process]:
        """Processes of Ray Serve that run a class."""
        every = psutil.Process(self.process.pid).children(recursive=True)
        return [found for found in every if kind in title(found)]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT_S)


def title(process: psutil.Process) -> str:
    """What a process calls itself; empty where it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def serving(folder: Path, *arguments: str | Path, **changes: str) -> Iterator[ServeProcess]:
    """Serve the gallery of `sentence_gallery(folder)` on a free port for the time of the block."""
    line = command("serve", folder / "my.gallery", "--port", "0")
    line += [*map(str, arguments)]
    if (folder / "encoder").exists():
        line += ["--encoder", str(folder / "encoder")]
    errors = folder / "stderr.txt"
    with errors.open("w") as sink:
        process = subprocess.Popen(
            line,
            env={**environment(), **changes},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
        )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), errors.read_text()
        yield ServeProcess(process, address, errors)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(LIMIT_S)
        process.stdout.close()


@dataclass
class Asking:
    """Clients that ask all the time, each its next question when it has its answer."""

    address: str
    clients: int = 8
    statuses: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    videos: set[str] = field(default_factory=set)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Asking":
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask_all()))
        self._thread.start()
        self.wait_for(self.clients)
        return self

    def __exit__(self, *of_error: object) -> None:
        self._is_over.set()
        self._thread.join(LIMIT_S)

    def wait_for(self, more: int) -> None:
        """Wait until so many further questions were answered."""
        wanted = len(self.statuses) + more
        wait_until(lambda: len(self.statuses) >= wanted or not self._thread.is_alive())

    async def _ask_all(self) -> None:
        async with httpx.AsyncClient(base_url=self.address, timeout=LIMIT_S) as client:
            await asyncio.gather(*(self._ask(client, number) for number in range(self.clients)))

    async def _ask(self, client: httpx.AsyncClient, number: int) -> None:
        while not self._is_over.is_set():
            try:
                found = await client.post("/query", json={"query": f"scene {number}", "top": 20})
            except httpx.HTTPError as error:
                self.problems.append(repr(error))
                return
            self.statuses.append(found.status_code)
            if found.status_code == 200:
                self.videos |= {answer["video"] for answer in found.json()["answers"]}
            else:
                self.problems.append(found.text)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    limit = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def free_port() -> int:
    """A port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
