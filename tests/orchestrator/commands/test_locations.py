"""Homes, storages and databases that cannot be used are refused before anything starts."""

from pathlib import Path

import pytest

from orchestrator import cli
from tests.orchestrator.command_line import TINY_SPACE


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_SPACE)
    return path


def test_a_home_that_cannot_be_made(
    space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    assert cli.run(["launch", str(space), "--home", str(home)]) == 2
    assert f"cannot use {home} as home: Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("storage", "problem"),
    [
        ("runs", "give an absolute path or a URI"),
        ("nowhere://bucket/runs", "cannot be opened as a storage folder"),
        ("{folder}/file/runs", "owner.json: cannot be written"),
    ],
)
def test_a_storage_that_cannot_be_written(
    space: Path, tmp_path: Path, storage: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    arguments = ["--home", str(tmp_path / "home"), "--storage", storage.format(folder=tmp_path)]
    assert cli.run(["launch", str(space), *arguments]) == 2
    shown = capsys.readouterr().err
    assert "cannot use the storage for trials (--storage)" in shown
    assert problem in shown
    assert not (tmp_path / "home" / "study.db").exists()


@pytest.mark.parametrize("command", [["ui"], ["promote", "prvr-synthetic", "1"]])
def test_no_database_is_made_by_looking_at_it(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    assert cli.run([*command, "--home", str(home)]) == 2
    assert "there is no MLflow database" in capsys.readouterr().err
    assert not home.exists()
