"""Homes and storages that cannot be written or are full; nothing stays behind."""

import errno
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from orchestrator.preflight import check_locations as doctor_places
from orchestrator.preflight.check_locations import check_home, check_storage
from prvr_model.files.folder import Folder

Usage = namedtuple("Usage", "total used free")


def contents(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_a_home_that_is_not_there_yet_is_fine_and_not_made(tmp_path: Path) -> None:
    found = check_home(tmp_path / "new" / "home")
    assert "it will be made" in found[0].message
    assert found[0].level == "ok"
    assert contents(tmp_path) == []


def test_a_home_below_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (found,) = check_home(tmp_path / "file" / "home")
    assert (found.level, found.check) == ("problem", "home")
    assert f"{tmp_path}/file cannot be written: Not a directory" in found.message
    assert "--home" in found.remedy


def test_a_home_that_is_read_only_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.mkdtemp", refused)
    (found,) = check_home(tmp_path)
    assert found.message == f"{tmp_path} cannot be written: Read-only file system"


@pytest.mark.parametrize(("free", "level"), [(2**20, "problem"), (2**30, "warning")])
def test_little_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40 - free, free))
    assert check_home(tmp_path)[-1].level == level
    (_, room) = check_storage(str(tmp_path / "storage"), tmp_path)
    assert (room.check, room.level) == ("storage", level)
    assert "--storage" in room.remedy


def test_a_network_file_system_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_places, "network_file_system", lambda _: "nfs4")
    found = check_home(tmp_path)[1]
    assert found.level == "warning"
    assert "(nfs4)" in found.message


def test_the_home_as_storage_is_looked_at_once(tmp_path: Path) -> None:
    assert check_storage(None, tmp_path) == []
    assert check_storage(str(tmp_path), tmp_path) == []
    assert contents(tmp_path) == []


def test_a_storage_of_an_unknown_kind_is_a_problem(tmp_path: Path) -> None:
    (found,) = check_storage("nowhere://bucket/folder", tmp_path)
    assert found.level == "problem"
    assert "nowhere://bucket/folder" in found.message


def test_a_storage_that_changes_bytes_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_places, "local_path", lambda _: None)
    monkeypatch.setattr(Folder, "read_bytes", lambda *_: b"other")
    (found,) = check_storage(str(tmp_path), tmp_path / "home")
    assert found.message == f"{tmp_path} gives back other bytes"
    assert contents(tmp_path) == []
