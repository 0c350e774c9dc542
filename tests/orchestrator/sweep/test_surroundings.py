"""Sweeps on a Ray of our own, in surroundings that lead Ray astray or leave it without a home."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.leftovers import left_of
from tests.locations import ROOT
from tests.orchestrator.cluster.test_ray_environment import REDIRECTING
from tests.orchestrator.command_line import TIMEOUT_S, TINY_SPACE, environment, prvr

pytestmark = [pytest.mark.soak, pytest.mark.integration]

_PROXIES = {
    variable: "http://127.0.0.1:9"
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
    for variable in (name, name.upper())
}
_FOREIGN = "raise SystemExit('imported from the working directory')\n"


class Launch:
    """A sweep in a folder of its own, and the processes that it starts.

    Args:
        folder: Where it is launched.
        mark: Value of a variable that its processes inherit.
    """

    def __init__(self, folder: Path, mark: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self._mark = mark
        (folder / "tiny.yaml").write_text(TINY_SPACE)

    def start(
        self, *before: str, options: tuple[str, ...] = (), **variables: str
    ) -> subprocess.Popen[bytes]:
        # -P: as an installed command, it does not look for modules in the working directory.
        launch = [sys.executable, "-P", "-m", "orchestrator.cli", "launch", "tiny.yaml", "--json"]
        # Not pipes, which processes that are left would hold open.
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("w") as err:
            return subprocess.Popen(
                [*before, *launch, "--home", str(self.home), *options],
                cwd=self.folder,
                env={**environment(), "PRVR_TEST": self._mark, **variables},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def run(self, *before: str, **variables: str) -> tuple[int, str, str]:
        process = self.start(*before, **variables)
        code = process.wait(TIMEOUT_S)
        out, err = (self.folder / "out").read_text(), self.err
        assert "Traceback" not in err
        self.check_nothing_is_left(process.pid)
        return code, out, err

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def check_nothing_is_left(self, session: int) -> None:
        assert not left_of(lambda: self._processes(session))

    def _processes(self, session: int) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                in_session = os.getsid(process.pid) == session
                if in_session or process.environ().get("PRVR_TEST") == self._mark:
                    yield process


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    return Launch(tmp_path, uuid.uuid4().hex)


def check_two_complete(code: int, out: str) -> None:
    assert code == 0
    (line,) = out.splitlines()
    assert json.loads(line)["trials"]["complete"] == 2


def test_variables_proxies_modules_and_uv_lead_nowhere(launch: Launch) -> None:
    (launch.folder / "statistics.py").write_text(_FOREIGN)
    for package in ("orchestrator", "prvr_model", "torch"):
        (launch.folder / package).mkdir()
        (launch.folder / package / "__init__.py").write_text(_FOREIGN)
    # What Ray takes for `uv run`: a shell of this name that runs the file `run`.
    (launch.folder / "run").write_text('"$@"\n')
    as_uv = ("bash", "-c", 'exec -a uv bash run "$@"', "bash")
    variables = {**REDIRECTING, **_PROXIES, "RAY_LOG_MONITOR_MAX_OPEN_FILES": "many"}
    code, out, err = launch.run(*as_uv, **variables)
    assert err.splitlines()[-1].startswith("2/2 trials")
    check_two_complete(code, out)


def test_a_killed_driver_leaves_nothing_although_logs_go_to_stderr(launch: Launch) -> None:
    endless = (
        "early_stopping.max_epochs=5000",
        "optimizer.schedule_epochs=5000",
        "training.patience_epochs=null",
    )
    options = tuple(part for change in endless for part in ("--set", change))
    driver = launch.start(options=options, RAY_LOG_TO_STDERR="1")
    limit_s = time.monotonic() + TIMEOUT_S
    while "best" not in launch.err and time.monotonic() < limit_s:
        time.sleep(0.2)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    launch.check_nothing_is_left(driver.pid)
    shown = prvr("status", "tiny", "--home", launch.home, cwd=ROOT)
    assert shown.code == 0
    assert "prvr-sweep resume tiny" in shown.out


def test_a_trial_that_ray_ends_for_memory_says_so(launch: Launch) -> None:
    # Less than is in use before anything starts.
    threshold = max(0.01, psutil.virtual_memory().percent / 200)
    code, out, err = launch.run(
        RAY_memory_usage_threshold=f"{threshold:.3f}", RAY_memory_monitor_refresh_ms="100"
    )
    assert code == 4
    assert json.loads(out)["trials"]["failed"] == 2
    assert err.count("killed by Ray for memory") == 2
    assert "speed.on_out_of_memory: micro_batches" in err


def test_a_user_without_name_home_and_streams(launch: Launch) -> None:
    nobody = ("unshare", "--user", "--map-user=12345", "--map-group=12345")
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([*nobody, "true"], check=False).returncode:
        pytest.skip("this kernel lets nobody be somebody else")
    unnamed = ("env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME", "TERM=dumb", "LC_ALL=C")
    closed = ("bash", "-c", 'umask 077; exec "$@" <&-', "bash")
    code, out, _ = launch.run(*nobody, *unnamed, *closed)
    check_two_complete(code, out)
    assert not (launch.folder / "~").exists()
    assert launch.home.stat().st_mode & 0o077 == 0
    shown = prvr("status", "tiny", "--home", launch.home, cwd=ROOT)
    assert shown.code == 0
