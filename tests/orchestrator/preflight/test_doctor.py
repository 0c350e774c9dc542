"""The command: text, JSON, exit codes, and that it changes nothing."""

import json
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.preflight.doctor import Diagnosis
from orchestrator.preflight.finding import fine, problem, warning
from tests.orchestrator.command_line import TINY_SPACE


def test_warnings_are_no_problems() -> None:
    assert Diagnosis((fine("a", "x"), warning("b", "y", "z"))).exit_code == 0
    assert Diagnosis((fine("a", "x"), problem("b", "y", "z"))).exit_code == 1


def test_each_problem_is_shown_with_its_remedy() -> None:
    lines = Diagnosis((fine("a", "x"), problem("home", "full", "free it"))).render().splitlines()
    assert lines == [
        "ok       a          x",
        "problem  home       full",
        "                    do: free it",
        "1 problem, 0 warnings",
    ]


def test_nothing_is_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = tmp_path / "tiny.yaml"
    space.write_text(TINY_SPACE)
    assert cli.run(["doctor", str(space), "--home", str(tmp_path / "home"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    checks = {finding["check"] for finding in found["findings"]}
    assert checks >= {"versions", "home", "tracking", "study", "ports", "scratch", "gpu", "sweep"}
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_problem_exits_with_1_and_a_wrong_spec_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(tmp_path)]
    assert cli.run(["doctor", *home, "--tracking-uri", "file:///runs"]) == 1
    assert "do: correct --tracking-uri" in capsys.readouterr().out
    space = tmp_path / "tiny.yaml"
    space.write_text(TINY_SPACE.replace("data:", "dota:"))
    assert cli.run(["doctor", str(space), *home]) == 2
    space.write_text(TINY_SPACE + "resources: {cpus: 9999}\n")
    assert cli.run(["doctor", str(space), *home]) == 1
