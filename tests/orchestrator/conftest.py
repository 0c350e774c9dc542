"""Stores for the tests: an empty SQLite one, copied per test, and one real `mlflow server`."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG

from orchestrator.base.addresses import sqlite_file
from orchestrator.study import storage
from orchestrator.tracking.store import TrackingStore, settle_mlflow

# A server takes up to a minute to answer on two busy cores.
_START_TIMEOUT_S = 120.0

_PRINT_SVG = FigureCanvasSVG.print_svg


class Server:
    """An `mlflow server` on 127.0.0.1 that can go away and come back with what it held."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.store = TrackingStore(f"http://127.0.0.1:{self.port}", None)

    def start(self) -> None:
        environment = dict(os.environ)
        settle_mlflow(environment)
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
                   "--port", str(self.port), "--workers", "1",
                   "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db",
                   "--artifacts-destination", str(self._folder / "files")]  # fmt: skip
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait()

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(30)
            self._process = None

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.store.uri}/health", timeout=5).close()
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
            else:
                return
        raise TimeoutError(f"no MLflow server on port {self.port}")


@pytest.fixture(scope="session", autouse=True)
def _study_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Optuna takes a tenth of a second to make its tables: it does so once, the rest are copies."""
    empty = tmp_path_factory.mktemp("empty") / "study.db"
    make = storage._make_tables

    def copy(url: str) -> None:
        if not empty.exists():
            make(f"sqlite:///{empty}")
        file = sqlite_file(url)
        assert file is not None
        shutil.copy(empty, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "_make_tables", copy)
        yield


@pytest.fixture(scope="session", autouse=True)
def _empty_figures() -> Iterator[None]:
    """Every launch makes a report, and drawing takes most of it: only its own tests draw."""

    def empty(canvas: FigureCanvasSVG, file: IO[str], **_: object) -> None:
        file.write("<svg></svg>")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasSVG, "print_svg", empty)
        yield


@pytest.fixture(scope="module")
def real_figures() -> Iterator[None]:
    """Figures are drawn in a module that looks at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasSVG, "print_svg", _PRINT_SVG)
        yield


@pytest.fixture
def drawn_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn in one test."""
    monkeypatch.setattr(FigureCanvasSVG, "print_svg", _PRINT_SVG)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database; MLflow takes seconds to make its tables, so tests copy this one."""
    settle_mlflow()
    from orchestrator.tracking.writer import connect

    home = tmp_path_factory.mktemp("empty")
    connect(TrackingStore.of_home(home)).search_experiments()
    return home / "mlflow.db"


@pytest.fixture(scope="session")
def new_home(empty_database: Path) -> Callable[[Path], Path]:
    """Makes a folder a home with an empty MLflow database in it, and returns it."""

    def make(folder: Path) -> Path:
        folder.mkdir(parents=True)
        shutil.copy(empty_database, folder / "mlflow.db")
        return folder

    return make


@pytest.fixture
def home(tmp_path: Path, new_home: Callable[[Path], Path]) -> Path:
    """A home with an empty MLflow database in it."""
    return new_home(tmp_path / "home")


@pytest.fixture
def store(home: Path) -> TrackingStore:
    return TrackingStore.of_home(home)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, driven by selenium."""
    chromium, driver_file = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver_file is None:
        pytest.skip("there is no chromium with its chromedriver on this machine")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(prefix="prvr-chromium-") as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for argument in (
            "headless",
            "no-sandbox",
            "disable-gpu",
            "disable-quic",
            "no-first-run",
            "disable-background-networking",
            "disable-component-update",
            "disable-sync",
            f"user-data-dir={profile}",
        ):
            options.add_argument(f"--{argument}")
        driver = webdriver.Chrome(options=options, service=Service(driver_file))
        try:
            yield driver
        finally:
            driver.quit()
