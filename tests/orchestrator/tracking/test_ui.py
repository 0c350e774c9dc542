"""MLflow's pages start on the home's store and end with the command."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.base.errors import TrackingError
from orchestrator.tracking.store import TrackingStore
from orchestrator.tracking.ui import check_port, page_addresses, serve_ui, ui_command
from orchestrator.tracking.writer import connect
from tests.leftovers import left_of
from tests.locations import ROOT

_START_TIMEOUT_S = 120.0


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_a_taken_port_is_told(taken_port: int, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=f"port {taken_port} .*--port"):
        serve_ui(TrackingStore.of_home(tmp_path), taken_port)


def test_a_server_has_pages_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="http://host:5000 is an MLflow server"):
        serve_ui(TrackingStore("http://host:5000", None))


def test_addresses_lead_to_the_runs_of_our_experiments(store: TrackingStore) -> None:
    client = connect(store)
    client.create_experiment("somebody-else")
    identity = client.create_experiment("prvr-builtin")
    runs = f"/#/experiments/{identity}/runs?workflowType=machine_learning"
    assert page_addresses(store, 5001) == {"prvr-builtin": f"http://127.0.0.1:5001{runs}"}


def test_the_command_stays_on_this_machine(tmp_path: Path) -> None:
    command = ui_command(TrackingStore.of_home(tmp_path), 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert f"sqlite:///{tmp_path}/mlflow.db" in command


def test_the_server_is_mlflows_own_whatever_the_working_directory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = {}

    def start(command: list[str], **options: Any) -> None:  # noqa: ANN401
        started.update(options, command=command)
        raise OSError

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError):  # noqa: PT011 - our own
        serve_ui(TrackingStore.of_home(tmp_path), 5001)
    assert started["command"][1:4] == ["-P", "-m", "mlflow"]
    assert started["cwd"] == "/"


@pytest.mark.soak
@pytest.mark.integration
def test_pages_answer_and_end_with_a_signal(home: Path, taken_port: int, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    check_port(port)
    script = (
        "import sys; from pathlib import Path; from orchestrator.tracking.ui import serve_ui;"
        "from orchestrator.tracking.store import TrackingStore;"
        "sys.exit(serve_ui(TrackingStore.of_home(Path(sys.argv[1])), int(sys.argv[2])))"
    )
    root = str(ROOT)
    log = (tmp_path / "log").open("wb")
    ours = subprocess.Popen(
        [sys.executable, "-c", script, str(home), str(port)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        stdout=log,
        stderr=log,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        children = psutil.Process(ours.pid).children(recursive=True)
        assert children
        ours.send_signal(signal.SIGINT)
        assert ours.wait(30) == 0
        assert not left_of(lambda: children)
    finally:
        ours.kill()
        log.close()


def wait_for(address: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(address)
