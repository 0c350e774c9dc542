"""Files of a storage folder appear whole or not at all."""

import os
from pathlib import Path

import pytest

from prvr_model.files.folder import Folder, StorageError


def test_bytes_come_back(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path).child("trials").child("00001")
    assert folder.names() == []
    assert not folder.exists("a")
    folder.write_bytes("a", b"one")
    folder.write_bytes("a", b"two")
    folder.write_bytes("b", b"")
    assert folder.read_bytes("a") == b"two"
    assert folder.names() == ["a", "b"]
    assert folder.exists("a")
    assert not folder.exists("")
    assert (tmp_path / "trials" / "00001" / "a").read_bytes() == b"two"


def test_files_have_the_usual_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        Folder.open(tmp_path).write_bytes("a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["plain", "with space", "a#b?c%20d", "größe"])
def test_any_folder_name_and_both_ways_to_say_it(tmp_path: Path, name: str) -> None:
    Folder.open(tmp_path / name).write_bytes("a", b"x")
    assert (tmp_path / name / "a").read_bytes() == b"x"
    assert Folder.open((tmp_path / name).as_uri()).read_bytes("a") == b"x"
    again = Folder.open(tmp_path / name).child("sub")
    again.write_bytes("b", b"y")
    assert Folder.open(again.uri).read_bytes("b") == b"y"


@pytest.mark.parametrize("location", ["runs", "./runs", Path("runs")])
def test_relative_paths_are_refused(location: str | Path) -> None:
    with pytest.raises(StorageError, match="runs: give an absolute path or a URI"):
        Folder.open(location)


def test_unknown_kinds_of_storage_are_refused() -> None:
    with pytest.raises(StorageError, match="nowhere://x: cannot be opened"):
        Folder.open("nowhere://x")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAX:tiger@bucket/runs",
        "s3://AKIAX:ti/ger@bucket/runs",
        "hdfs://me:tiger@host:8020/x",
    ],
)
def test_secrets_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(StorageError, match=r"^\w+://\.\.\.: holds a password or secret") as caught:
        Folder.open(uri)
    assert not any(word in str(caught.value) for word in ("AKIAX", "tiger", "ger@"))


@pytest.mark.parametrize("uri", ["nowhere://host:8020/a@b", "nowhere://bucket/a:b@c"])
def test_ports_and_paths_are_no_secrets(uri: str) -> None:
    with pytest.raises(StorageError, match="cannot be opened as a storage folder"):
        Folder.open(uri)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder.open(tmp_path)
    folder.write_bytes("a", b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if call == "fsync" else Path, call, fail)
    with pytest.raises(StorageError, match=r"/a: cannot be written: .*No space left"):
        folder.write_bytes("a", b"new")
    monkeypatch.undo()
    assert folder.read_bytes("a") == b"old"
    assert folder.names() == ["a"]


def test_an_interrupt_while_writing_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Folder.open(tmp_path).write_bytes("a", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"/gone\.bin: cannot be read"):
        Folder.open(tmp_path).read_bytes("gone.bin")


def test_sizes_by_name(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path / "new")
    assert folder.sizes() == {}
    folder.write_bytes("b", b"12345")
    folder.write_bytes("a", b"")
    folder.child("below").write_bytes("c", b"1")
    assert list(folder.sizes().items()) == [("a", 0), ("b", 5)]
