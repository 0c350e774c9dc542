"""An ablation from launch to extension, as a user types it; trials run in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli
from prvr_model.store.synthetic import write_synthetic
from tests.orchestrator.command_line import ROOT, TINY_SPACE, prvr
from tests.prvr_model.tiny import TINY_DATA

TINY_ABLATION = (
    TINY_SPACE.partition("search:")[0].replace("name: tiny", "name: rows")
    + """\
  training.epochs: 2
ablation:
  design: swap
  variants: {slow: {optimizer.learning_rate: 1e-4}, fast: {optimizer.learning_rate: 1e-2}}
  seeds: 2
"""
)
RACE = "ablation.race={max_seeds: 4}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Path:
    """A folder with the file and its finished sweep of six trials."""
    path = tmp_path_factory.mktemp("rows")
    new_home(path / "home")
    (path / "rows.yaml").write_text(TINY_ABLATION)
    assert run(path, "launch", path / "rows.yaml", "--executor", "inline", "--home") == 0
    return path


def run(folder: Path, *arguments: object) -> int:
    """A command in this process; a last `--home` gets the folder's."""
    home = [str(folder / "home")] if arguments[-1] == "--home" else []
    return cli.run([*map(str, arguments), *home])


def status(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert run(folder, "status", "rows", "--json", "--home") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_rows_and_seeds_are_in_the_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = status(folder, capsys)
    assert [(one["name"], one["complete"]) for one in found["rows"]] == [
        ("baseline", 2),
        ("slow", 2),
        ("fast", 2),
    ]
    trials = [(one["variant"], one["seed"]) for one in found["trials"]]
    assert trials == [(name, seed) for seed in (1, 2) for name in ("baseline", "slow", "fast")]
    assert found["best"]["variant"] in ("baseline", "slow", "fast")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("resume", "rows", "--trials", "9"), "is an ablation: its trials are its rows"),
        (("resume", "rows", "--seeds", "1"), "the sweep has 2, and a resume takes nothing away"),
        (("launch", "rows.yaml", "--set", "ablation.seeds=4"), "resume rows --home"),
    ],
)
def test_what_an_ablation_refuses(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    reason: str,
) -> None:
    monkeypatch.chdir(folder)
    assert run(folder, *arguments, "--home") == 2
    assert reason in capsys.readouterr().err


def test_more_seeds_run_what_is_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = status(folder, capsys)["trials"]
    assert run(folder, "resume", "rows", "--seeds", "3", "--home") == 0
    assert "winner: trial" in capsys.readouterr().out
    found = status(folder, capsys)
    assert found["trials"][:6] == before
    assert [(one["variant"], one["seed"]) for one in found["trials"][6:]] == [
        ("baseline", 3),
        ("slow", 3),
        ("fast", 3),
    ]
    capsys.readouterr()
    assert run(folder, "report", "rows", "--format", "json", "--home") == 0
    ablation = json.loads(capsys.readouterr().out)["ablation"]
    assert ablation["judged_before"] == [2]
    for one in ablation["comparisons"]:
        if one["p_value"] is not None:
            assert one["corrected_p"] >= min(1.0, 2 * one["p_value"])
    assert run(folder, "report", "rows", "--home") == 0
    assert "added after the table had been judged at 2: p is multiplied by 2" in (
        capsys.readouterr().out
    )


@pytest.mark.soak
def test_a_shipped_ladder_runs_quickly(tmp_path: Path) -> None:
    """The other files are the same to everything but their plan, which has its own test."""
    space = ROOT / "search_spaces" / "ablation_ladder.yaml"
    write_synthetic(tmp_path / "small", TINY_DATA)
    small = ("--set", f"data={tmp_path / 'small'}", "--set", "training.batch_videos=6")
    inline = ("--executor", "inline")
    done = prvr("launch", space, "--quick", "--json", *inline, *small, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "--quick: 3 epochs and 2 seeds" in done.err
    found = json.loads(done.out)
    assert (found["sweep"], found["trials"]["complete"]) == ("ablation-ladder-quick", 10)
