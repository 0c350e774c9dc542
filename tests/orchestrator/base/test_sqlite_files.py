"""A database is there whole or not at all, whoever looks and whatever happens to its maker."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.base.sqlite_files import make_whole


def with_table(url: str, name: str = "made") -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute(f"CREATE TABLE {name} (number INTEGER)")


def tables(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]


def test_nobody_sees_it_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "study.db"

    def make(url: str) -> None:
        with_table(url)
        assert not path.exists()

    make_whole(path, make)
    assert tables(path) == ["made"]
    make_whole(path, lambda _: pytest.fail("it is there"))
    assert [one.name for one in path.parent.iterdir()] == ["study.db"]


def test_what_another_has_made_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "study.db"

    def make(url: str) -> None:
        with_table(url)
        with_table(f"sqlite:///{path}", "other")

    make_whole(path, make)
    assert tables(path) == ["other"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def make(url: str) -> None:
        with_table(url)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        make_whole(tmp_path / "study.db", make)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(self: Path, target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    make_whole(tmp_path / "study.db", with_table)
    assert tables(tmp_path / "study.db") == ["made"]
    assert len(list(tmp_path.iterdir())) == 1
