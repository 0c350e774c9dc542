"""The command line by itself: help, errors and exit codes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.base.machine import available_cpus
from tests.orchestrator.command_line import ROOT, TINY_SPACE, environment, prvr

_HEAVY = ("torch", "ray", "mlflow", "optuna", "pyarrow", "pydantic")


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_SPACE)
    return path


@pytest.mark.parametrize("name", ["", *cli._COMMANDS])
def test_help_imports_nothing_heavy(name: str) -> None:
    arguments = [name, "--help"] if name else ["--help"]
    program = (
        f"import sys; from orchestrator.cli import run; code = run({arguments}); "
        f"loaded = [one for one in {_HEAVY} if one in sys.modules]; "
        "sys.exit(f'loaded {loaded}' if loaded else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: prvr-sweep" in done.stdout


def test_every_command_is_in_the_help_and_exists() -> None:
    assert cli._COMMANDS.keys() == cli._HELP.keys()
    for name in cli._COMMANDS:
        command = cli.cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert command.name == name


def test_unknown_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["lanch"]) == 2
    assert "Did you mean launch?" in capsys.readouterr().err


def test_wrong_key_exits_with_2_and_names_the_right_one(
    space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space.write_text(TINY_SPACE.replace("sampler: grid", "samler: grid"))
    assert cli.run(["plan", str(space)]) == 2
    shown = capsys.readouterr()
    line = TINY_SPACE.splitlines().index("  sampler: grid") + 1
    assert f"{space}:{line}: search.samler" in shown.err
    assert "did you mean sampler?" in shown.err
    assert shown.out == ""


def test_missing_store_exits_with_3(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", str(space), "--set", "data=nowhere.store"]) == 3
    assert "nowhere.store" in capsys.readouterr().err


def test_plan_as_json_is_one_line(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", str(space), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    planned = json.loads(line)
    assert planned["trials"] == 2
    assert planned["epochs"] == {"least": 4, "expected": 4, "most": 4}
    assert planned["seconds"]["least"] > 0


def test_plan_loads_neither_torch_nor_ray(space: Path) -> None:
    heavy = [name for name in _HEAVY if name not in ("pyarrow", "pydantic")]
    program = (
        f"import sys; from orchestrator.cli import run; code = run(['plan', {str(space)!r}]); "
        f"loaded = [one for one in {heavy} if one in sys.modules]; "
        "sys.exit(f'loaded {loaded}' if loaded else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_plan_with_a_probe_of_this_machine(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", str(space), "--probe"]) == 0
    shown, told = capsys.readouterr()
    assert told == "timing the training step on this machine, for about half a minute\n"
    assert re.search(r"measured on this machine \(.+\): \d+ steps? of 6 videos\n", shown)
    assert "warning" not in shown


def test_plan_refuses_what_never_fits_with_the_nearest_that_does(
    space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["plan", str(space), "--set", "resources.cpus=9999"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    cpus = available_cpus()
    assert shown.err == (
        f"error: resources.cpus: a worker asks for 9999 CPUs, this machine has {cpus}; nearest "
        f"that fits: cpus {cpus}\n"
    )


def test_several_workers_are_planned(space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if available_cpus() < 2:
        pytest.skip("one CPU has no room for two workers")
    workers = ["--set", "resources.workers=2"]
    assert cli.run(["plan", str(space), *workers]) == 0
    assert "each       2 workers with 1 CPU" in capsys.readouterr().out


def test_plan_for_a_cluster_that_is_not_there(
    space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["plan", str(space), "--address", "ray://head:10001"]) == 2
    assert "--address HOST:PORT of its head" in capsys.readouterr().err


def test_launch_on_a_cluster_that_is_not_there(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launch = ["launch", str(space), "--home", str(tmp_path / "home"), "--address"]
    assert cli.run([*launch, "ray://head:10001"]) == 2
    assert "--address HOST:PORT of its head" in capsys.readouterr().err
    assert cli.run([*launch, "127.0.0.1:99999"]) == 2
    assert "nothing answers at 127.0.0.1:99999" in capsys.readouterr().err
    assert cli.run([*launch, "auto", "--executor", "inline"]) == 2
    assert "--executor inline runs in this process" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_plan_starts_and_writes_nothing(space: Path, tmp_path: Path) -> None:
    done = prvr("plan", space, cwd=tmp_path)
    assert done.code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_status_of_an_unknown_sweep_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["status", "nothing", "--home", str(tmp_path)]) == 2
    assert "no sweep 'nothing'" in capsys.readouterr().err


def test_keyboard_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.cli, "main", interrupted)
    assert cli.run(["plan", "x.yaml"]) == 130
