"""The batch script for Slurm, with a srun that starts every node on this machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.leftovers import left_of
from tests.orchestrator.command_line import ROOT

SCRIPT = ROOT / "cluster" / "slurm.sh"
FAKES = Path(__file__).parent / "fake_slurm"
# Far longer than the script takes; what hangs must not hang the tests.
_LIMIT_S = 120.0
# Of no job that could run at the same time.
_JOB = str(os.getpid())


def environment(folder: Path, **others: str) -> dict[str, str]:
    programs = [str(folder / "bin"), str(FAKES), str(Path(sys.executable).parent), "/usr/bin:/bin"]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": ":".join(programs),
        "PYTHONPATH": str(ROOT),
        "SLURM_JOB_ID": _JOB,
        "SLURM_JOB_NODELIST": "node1,node2",
        "SLURM_CPUS_PER_TASK": "1",
        # Not 127.0.0.1, which Ray replaces by the address of the network.
        "PRVR_HEAD_IP": "127.0.0.2",
        **others,
    }


class Job:
    """A run of the script in a folder."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.log = folder / "job.log"
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [str(SCRIPT), *arguments],
                cwd=folder,
                env=environment(folder, **variables),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, file: Path) -> None:
        limit_s = time.monotonic() + _LIMIT_S
        while not file.exists():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < limit_s, self.log.read_text()
            time.sleep(0.1)

    def notice(self) -> None:
        """What Slurm sends some minutes before the job's time is up: to the script alone."""
        self._process.send_signal(signal.SIGUSR1)

    def end(self) -> int:
        return self._process.wait(_LIMIT_S)

    def kill(self) -> None:
        """End all that is left of a script that failed the test."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for one in left_over():
            one.kill()


def left_over() -> list[psutil.Process]:
    """Processes of the job that still run."""
    return [process for process in psutil.process_iter() if belongs(process)]


def belongs(process: psutil.Process) -> bool:
    try:
        return process.environ().get("SLURM_JOB_ID") == _JOB
    except psutil.Error:
        return False


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "bin").mkdir()
    yield tmp_path
    shutil.rmtree(f"/tmp/prvr-sweep-{_JOB}", ignore_errors=True)


def test_the_script_is_bash() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


@pytest.mark.soak
def test_a_job_runs_a_sweep_and_saves_it_before_its_time_is_up(folder: Path) -> None:
    job = Job(folder, "launch", "space.yaml", "--storage", "/shared", PRVR_GRACE_S="600")
    try:
        job.wait_for(folder / "started.json")
        note = json.loads((folder / "started.json").read_text())
        address, process = note["arguments"].pop(), note.pop("process")
        assert note == {
            "arguments": ["launch", "space.yaml", "--storage", "/shared", "--address"],
            "nodes": 2,
            "cpus": 2.0,
            "train_driver": 100.0,
            "token_mode": "0o600",
            "folder_mode": "0o700",
            "token_length": 64,
            "mode": "token",
        }
        assert address.startswith("127.0.0.2:")
        wait_for_agents(job)
        job.notice()
        # Every node is drained, while the sweep has its time.
        job.wait_for(folder / "drained")
        os.kill(process, signal.SIGTERM)
        check_ends(job, 130, "Ray runs on 2 nodes at 127.0.0.2:")
        assert not Path(f"/tmp/prvr-sweep-{_JOB}").exists()
    finally:
        job.kill()


def wait_for_agents(job: Job) -> None:
    limit_s = time.monotonic() + _LIMIT_S
    while job.log.read_text().count("watching over node") < 2:
        assert time.monotonic() < limit_s, job.log.read_text()
        time.sleep(0.1)


def fake(folder: Path, name: str, script: str) -> None:
    program = folder / "bin" / name
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def without_ray(folder: Path) -> Path:
    """A folder in which everything but the script is made up, and nodes join at once."""
    fake(folder, "ray", "exec sleep 600")
    fake(folder, "python3", f'[[ "$1" != - ]] || exit 0; exec {sys.executable} "$@"')
    return folder


@pytest.mark.parametrize("code", [0, 4])
def test_the_job_ends_as_the_sweep_does(without_ray: Path, code: int) -> None:
    fake(without_ray, "prvr-sweep", f'[[ "$1" != drain-agent ]] || exec sleep 600; exit {code}')
    check_ends(Job(without_ray, "status", "x"), code, f"the sweep ended with exit code {code}")


def test_a_sweep_that_does_not_end_by_itself_is_ended(without_ray: Path) -> None:
    agent = "trap 'touch saved' USR1; touch $SLURMD_NODENAME; while :; do sleep 0.05; done"
    sweep = "trap 'exit 130' TERM; touch started.json; while :; do sleep 0.05; done"
    fake(without_ray, "prvr-sweep", f'if [[ "$1" == drain-agent ]]; then {agent}; fi; {sweep}')
    job = Job(without_ray, "launch", "space.yaml", PRVR_GRACE_S="1")
    for name in ("started.json", "node1", "node2"):
        job.wait_for(without_ray / name)
    job.notice()
    check_ends(job, 130, "the job's time is nearly up; trials save themselves")
    assert (without_ray / "saved").exists()


def check_ends(job: Job, code: int, words: str) -> None:
    """The job ends with a code and leaves nothing behind."""
    try:
        assert job.end() == code, job.log.read_text()
        assert words in job.log.read_text()
        assert left_of(left_over) == []
        assert [path for path in job.log.parent.iterdir() if path.name.startswith(".prvr")] == []
    finally:
        job.kill()


@pytest.mark.integration
def test_nodes_that_do_not_come_end_the_job(folder: Path) -> None:
    fake(folder, "ray", "exec sleep 600")
    job = Job(folder, "launch", "space.yaml", PRVR_START_LIMIT_S="1")
    check_ends(job, 1, "0 of 1 nodes joined within 1 s; see the log above")


def test_without_a_command_it_says_how(folder: Path) -> None:
    check_ends(Job(folder), 2, "usage: sbatch cluster/slurm.sh COMMAND")
