"""The same sweep in many surroundings: containers, shared boxes, odd paths, odd environments.

In each, `launch`, `status`, `sync` and `report`, in odd homes `resume` too, give their result and
exit code, show no traceback, leave no process behind, and write nothing outside of the home.
What redirects Ray's processes themselves, uv's hook and proxies too, is in
sweep/test_surroundings.py.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.leftovers import left_of
from tests.locations import ROOT
from tests.orchestrator.command_line import TINY_SPACE, Done, prvr

pytestmark = pytest.mark.soak

TIMEOUT_S = 240
SPACE = TINY_SPACE + "register: {top: 0}\n"
GREEK = SPACE.replace("Does a sweep run from end to end?", "哪些 τ → best?")


@dataclass(frozen=True)
class Surroundings:
    """What is unlike a plain shell.

    Args:
        home: Path of the home, below an empty folder.
        variables: Changes of the environment; None removes one. `{folder}` is the test's folder.
        on_ray: Whether trials run on Ray, not in the launching process.
        is_warm: Whether a process that has its imports made is good enough: the surroundings do
            not reach into imports.
        before: Prefix of each command, e.g. a program that limits it; shell words.
        space: The sweep.
        prepare: Makes more of the surroundings; gives why they cannot be had here, or None.
    """

    home: str = "runs"
    variables: dict[str, str | None] = field(default_factory=dict)
    on_ray: bool = False
    is_warm: bool = False
    before: str = ""
    space: str = SPACE
    prepare: Callable[[Path], str | None] = lambda _: None


def _fake_gpus(folder: Path) -> None:
    tool = folder / "tools" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\necho "NVIDIA A100"; echo "NVIDIA A100"\n')
    tool.chmod(0o755)


def _limited(folder: Path) -> str | None:
    """A control group of one CPU and 1,500 MiB, of version 1 or 2."""
    name = f"prvr-test-{os.getpid()}"
    roots = [Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/memory")]
    limits = {"cpu/cpu.cfs_quota_us": "100000", "memory/memory.limit_in_bytes": "1500M"}
    if not all(root.is_dir() for root in roots):
        return "needs control groups of version 1"
    try:
        for root in roots:
            (root / name).mkdir(exist_ok=True)
        for path, limit in limits.items():
            root, file = path.split("/")
            (Path("/sys/fs/cgroup") / root / name / file).write_text(limit)
    except OSError as error:
        return f"needs to make control groups: {error.strerror}"
    joins = "; ".join(f"echo $$ > {root}/{name}/cgroup.procs" for root in roots)
    (folder / "limit.sh").write_text(f'{joins}; exec "$@"\n')
    return None


def _made(make: Callable[[Path], object]) -> Callable[[Path], str | None]:
    def prepare(folder: Path) -> str | None:
        make(folder)
        return None

    return prepare


PROXY = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "all_proxy")}
LONG = "/".join(["a-folder-with-a-rather-long-name"] * 5)
# Several in one sweep, where none hides another: what fails is run again with fewer by hand.
# Odd letters of homes are in commands/test_odd_homes.py.
MATRIX: dict[str, Surroundings] = {
    "home in a variable, of 180 letters, beyond ASCII": Surroundings(
        f"$PRVR_TEST_HOME/{LONG}/Läufe/实验 1", {"PRVR_TEST_HOME": "{folder}"}, is_warm=True
    ),
    "home below a tilde": Surroundings("~/runs", {"HOME": "{folder}"}, is_warm=True),
    "another Ray's address, one of two GPUs hidden, a long TMPDIR": Surroundings(
        variables={
            "PATH": "{folder}/tools:{PATH}",
            "CUDA_VISIBLE_DEVICES": "1",
            "RAY_ADDRESS": "192.0.2.1:6379",
            "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}",
            "TMPDIR": "{folder}/" + LONG,
        },
        prepare=_made(lambda folder: (_fake_gpus(folder), (folder / LONG).mkdir(parents=True))),
        on_ray=True,
    ),
    "a container of one CPU and 1,500 MiB, a TMPDIR that is missing": Surroundings(
        variables={"TMPDIR": "{folder}/none"},
        before="sh {folder}/limit.sh",
        prepare=_limited,
        on_ray=True,
    ),
    "uv's hook, proxies, all GPUs hidden, ASCII output, no HOME": Surroundings(
        variables={
            **PROXY,
            "RAY_RUNTIME_ENV_HOOK": "ray._private.runtime_env.uv_runtime_env_hook.hook",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "1",
            "PATH": "{folder}/tools:{PATH}",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONUTF8": "0",
            "PYTHONIOENCODING": "ascii",
            "LC_ALL": "C",
            "HOME": None,
        },
        prepare=_made(_fake_gpus),
        space=GREEK,
    ),
    "few open files, umask 077, no stdin, threads, Latin output, HOME is not there": Surroundings(
        variables={
            "OMP_NUM_THREADS": "64",
            "MKL_NUM_THREADS": "0",
            "KMP_AFFINITY": "none",
            "PYTHONIOENCODING": "iso8859-1",
            "COLUMNS": "60",
            "NO_COLOR": "1",
            "HOME": "/nonexistent",
        },
        before="sh -c 'umask 077; ulimit -n 256; exec \"$@\" <&-' sh",
        space=GREEK,
    ),
}


@dataclass(frozen=True)
class Shell:
    """Runs commands in surroundings."""

    folder: Path
    around: Surroundings

    @property
    def work(self) -> Path:
        """Where commands are run."""
        return self.folder / "work"

    def run(self, *arguments: str, is_warm: bool = False) -> Done:
        """Run a command of ours; as a shell does, unless only the home is odd or `is_warm`."""
        around = self.around
        changes = {
            name: value.replace("{folder}", str(self.folder)).replace("{PATH}", os.environ["PATH"])
            for name, value in around.variables.items()
            if value is not None
        }
        if around.is_warm or is_warm:
            return prvr(*arguments, cwd=self.work, **changes)
        removed = around.variables.keys() - changes.keys()
        kept = {name: value for name, value in os.environ.items() if name not in removed}
        before = shlex.split(around.before.replace("{folder}", str(self.folder)))
        done = subprocess.run(
            [*before, sys.executable, "-m", "orchestrator.cli", *arguments],
            cwd=self.work,
            env={**kept, "PYTHONPATH": str(ROOT), **changes},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
        texts = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
        return Done(done.returncode, *texts)

    def named_home(self) -> str:
        """The home as the user writes it."""
        home = self.around.home
        return home if home.startswith(("~", "$")) else str(self.folder / home)

    def home(self) -> Path:
        """Where it is."""
        text = self.around.home
        return self.folder / text.removeprefix("~/").removeprefix("$PRVR_TEST_HOME/")


def files_outside(shell: Shell) -> set[str]:
    """What lies in the test's folder beside the home."""
    home = shell.home()
    return {
        str(path.relative_to(shell.folder))
        for path in shell.folder.rglob("*")
        if path.is_file() and not path.is_relative_to(home)
    }


@pytest.fixture
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    around: Surroundings = request.param
    shell = Shell(tmp_path, around)
    shell.work.mkdir()
    if why := around.prepare(tmp_path):
        pytest.skip(why)
    (shell.work / "tiny.yaml").write_text(around.space, encoding="utf-8")
    yield shell
    assert not left_of(
        lambda: (
            process
            for process in psutil.process_iter(["cmdline"])
            if str(tmp_path) in " ".join(process.info["cmdline"] or [])
        )
    )


@pytest.mark.parametrize("shell", MATRIX.values(), ids=MATRIX, indirect=True)
def test_a_sweep_runs_and_can_be_looked_at(shell: Shell, new_home: Callable[[Path], Path]) -> None:
    around, before = shell.around, files_outside(shell)
    new_home(shell.home())
    executor = "tune" if around.on_ray else "inline"
    home = ("--home", shell.named_home())
    launched = shell.run("launch", "tiny.yaml", "--json", "--executor", executor, *home)
    assert launched.code == 0, launched
    (line,) = launched.out.splitlines()
    assert json.loads(line)["trials"]["complete"] == 2
    # A new process for each command would take most of the time with its imports.
    done = [
        shell.run("status", "tiny", *home, is_warm=True),
        shell.run("sync", "tiny", *home, is_warm=not around.variables),
        shell.run("report", "tiny", *home, is_warm=True),
    ]
    if around.is_warm:
        done.append(shell.run("resume", "tiny", "--executor", executor, *home))
    assert [each.code for each in done] == [0] * len(done), done
    assert not [each for each in (launched, *done) if "Traceback" in each.out + each.err]
    assert files_outside(shell) == before
    left = [path.name for path in shell.home().rglob("*")]
    assert not [name for name in left if name.endswith(("-wal", "-shm", ".partial"))]
