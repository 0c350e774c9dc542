"""Homes and storages that are moved, and a storage that two homes use."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from orchestrator import cli
from orchestrator.base.errors import LocationError
from orchestrator.sweep.locations import OWNER, claim
from prvr_model.files.folder import Folder
from tests.orchestrator.command_line import TINY_SPACE

Run: TypeAlias = Callable[..., tuple[int, str]]
"""Runs a command; returns its exit code and all its output."""


@pytest.fixture
def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], new_home: Callable[[Path], Path]
) -> Run:
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)

    def running(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        home = Path(arguments[arguments.index("--home") + 1])
        if not home.exists():
            new_home(home)
        code = cli.run(list(arguments))
        return code, "".join(capsys.readouterr())

    return running


def launch(run: Run, home: Path, *options: str) -> tuple[int, str]:
    space = str(home.parent / "tiny.yaml")
    return run("launch", space, "--home", str(home), "--executor", "inline", *options)


def test_a_home_that_was_moved_has_its_trials(run: Run, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    assert launch(run, there)[0] == 0
    there.rename(here)
    code, text = run("report", "tiny", "--home", str(here), "--format", "json")
    assert code == 0
    found: dict[str, Any] = json.loads(text)
    assert found["problems"] == []
    assert found["winner"]["folder"].startswith(str(here))
    code, text = run("resume", "tiny", "--home", str(here), "--json")
    assert code == 0, text
    code, text = run("gc", "tiny", "--home", str(here), "--dry-run", "--json")
    assert (code, len(json.loads(text)["kept"])) == (0, 2)


def test_a_storage_that_was_moved_is_followed(run: Run, tmp_path: Path) -> None:
    home, old, new = tmp_path / "home", tmp_path / "old", tmp_path / "new"
    assert launch(run, home, "--storage", str(old), "--set", "register.top=0")[0] == 0
    shutil.move(old, new)
    code, text = run(
        "resume", "tiny", "--home", str(home), "--storage", str(new), "--executor", "inline"
    )
    assert code == 0, text
    code, text = run("report", "tiny", "--home", str(home), "--format", "json")
    assert json.loads(text)["problems"] == []
    assert json.loads(text)["winner"]["folder"].startswith(str(new))


@pytest.mark.soak
def test_finished_trials_stay_where_they_are_if_only_new_ones_go_elsewhere(
    run: Run, tmp_path: Path
) -> None:
    home, old, new = tmp_path / "home", tmp_path / "old", tmp_path / "new"
    assert launch(run, home, "--storage", str(old), "--set", "register.top=0")[0] == 0
    assert run("resume", "tiny", "--home", str(home), "--storage", str(new))[0] == 0
    _, text = run("report", "tiny", "--home", str(home), "--format", "json")
    assert json.loads(text)["problems"] == []
    assert json.loads(text)["winner"]["folder"].startswith(str(old))


@pytest.mark.soak
def test_a_moved_home_and_then_a_storage_and_then_moved_again(run: Run, tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    storage = tmp_path / "storage"
    assert launch(run, first, "--set", "register.top=0")[0] == 0
    first.rename(second)
    assert run("resume", "tiny", "--home", str(second), "--storage", str(storage))[0] == 0
    _, text = run("report", "tiny", "--home", str(second), "--format", "json")
    assert json.loads(text)["problems"] == []
    assert json.loads(text)["winner"]["folder"].startswith(str(second))
    second.rename(third)
    assert run("resume", "tiny", "--home", str(third), "--storage", str(storage))[0] == 0
    _, text = run("report", "tiny", "--home", str(third), "--format", "json")
    assert json.loads(text)["problems"] == []
    assert json.loads(text)["winner"]["folder"].startswith(str(third))


def test_a_file_that_is_no_outbox_is_set_aside(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert launch(run, home, "--set", "register.top=0")[0] == 0
    outbox = home / "outbox" / "tiny.jsonl"
    outbox.write_bytes(b"\0" * 40 + b"\n")
    code, text = run("resume", "tiny", "--home", str(home))
    assert code == 0, text
    assert outbox.read_bytes().startswith(b"{")


@pytest.mark.soak
def test_a_name_on_a_storage_belongs_to_one_home(run: Run, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    storage = ["--storage", str(tmp_path / "storage")]
    assert launch(run, first, *storage)[0] == 0
    before = sorted((tmp_path / "storage").rglob("*"))
    code, text = launch(run, second, *storage)
    assert code == 2
    assert f"another sweep of this name, launched from the home {first} on" in text
    assert "--set name=..." in text
    assert sorted((tmp_path / "storage").rglob("*")) == before
    # Its own home resumes it, and under another name the other home reuses its results.
    assert run("resume", "tiny", "--home", str(first))[0] == 0
    assert launch(run, second, *storage, "--set", "name=other")[0] == 0


def test_an_owner_that_cannot_be_read_is_replaced(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path / "sweep")
    for torn in (b"", b'{"sweep_id": "a"', b"[]", b'{"sweep_id": "a"}'):
        folder.write_bytes(OWNER, torn)
        claim(folder, "mine", tmp_path)
        assert json.loads(folder.read_bytes(OWNER))["sweep_id"] == "mine"
    # A new sweep of the same home, which has lost its study.
    claim(folder, "again", tmp_path)
    with pytest.raises(LocationError):
        claim(folder, "mine", tmp_path / "other")
