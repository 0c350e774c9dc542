"""The image, its entry script and the compose file: linted, without secrets, and run as written."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from orchestrator.commands.launch import launch
from tests.locations import ROOT

CLUSTER = ROOT / "cluster"
SCRIPT = CLUSTER / "container.sh"


def linter(name: str) -> str:
    """A linter of this environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.parametrize("script", ["container.sh", "slurm.sh"])
def test_shellcheck_finds_nothing(script: str) -> None:
    command = [linter("shellcheck"), str(CLUSTER / script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_finds_nothing() -> None:
    command = [linter("hadolint"), "--no-color", str(CLUSTER / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_nobody_special_and_knows_whether_it_is_well() -> None:
    text = (CLUSTER / "Dockerfile").read_text()
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 1000$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert not re.search(r"(?i)(password|token|secret)=", text)


@pytest.fixture
def compose() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load((CLUSTER / "compose.yaml").read_text())[
        "services"
    ]
    return services


def test_compose_listens_on_this_machine_alone_and_holds_no_secret(
    compose: dict[str, dict[str, Any]],
) -> None:
    assert set(compose) == {"database", "mlflow", "head", "worker"}
    ports = [port for service in compose.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    text = (CLUSTER / "compose.yaml").read_text()
    for name in ("PRVR_DATABASE_PASSWORD", "RAY_AUTH_TOKEN"):
        assert f"${{{name}:?any long secret}}" in text


def test_compose_sets_variables_that_launch_reads(compose: dict[str, dict[str, Any]]) -> None:
    read = {name for option in launch.params for name in [option.envvar] if name}
    given = compose["head"]["environment"]
    assert {"PRVR_STORAGE", "PRVR_TRACKING_URI"} <= read & given.keys()


# As in a container, its processes see each other alone; the first of them is the script.
ALONE = ("unshare", "--pid", "--fork", "--mount-proc")


def start(folder: Path, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
    """A container's process, with a folder of its own in place of its /tmp."""
    (folder / name).mkdir()
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [*ALONE, "bash", str(SCRIPT), *arguments],
            env=environment(folder, name),
            stdout=log,
            stderr=log,
            cwd=folder,
        )


def environment(folder: Path, name: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder / name),
        "PRVR_PORT": "26379",
        "PRVR_GRACE_S": "60",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 2,
    }


def is_well(folder: Path, name: str) -> bool:
    """Whether the health check of the image passes."""
    done = subprocess.run(
        ["bash", str(SCRIPT), "health"],
        env=environment(folder, name),
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def wait_until_well(folder: Path, name: str) -> None:
    end = time.monotonic() + 120
    # Before its script has begun, a container has no Ray to ask, and counts as well.
    address = folder / name / "prvr-ray-address"
    while not (address.exists() and is_well(folder, name)):
        assert time.monotonic() < end, (folder / f"{name}.log").read_text()
        time.sleep(1)


@pytest.mark.soak
@pytest.mark.skipif(
    subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode != 0,
    reason="only root can part processes as containers do",
)
def test_head_and_worker_start_are_well_and_end() -> None:
    # Ray's sockets need a short path.
    folder = Path(tempfile.mkdtemp(prefix="prvr-c-", dir="/tmp"))
    running, log = [], folder / "worker.log"
    try:
        (folder / "idle").mkdir()
        assert is_well(folder, "idle")
        running.append(start(folder, "head", "head"))
        wait_until_well(folder, "head")
        running.append(start(folder, "worker", "worker", "127.0.0.1:26379"))
        end = time.monotonic() + 120
        while "watching over node" not in log.read_text():
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.5)
        wait_until_well(folder, "worker")
    finally:
        for process in reversed(running):
            for script in psutil.Process(process.pid).children():
                script.send_signal(signal.SIGTERM)
            process.wait(90)
        told = log.read_text()
        shutil.rmtree(folder)
    assert "is draining" in told
