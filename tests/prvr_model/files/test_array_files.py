"""Arrays written by parts are those that numpy reads; what is torn is known as torn."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from prvr_model.files import array_files
from prvr_model.files.array_files import ArrayWriter, is_whole


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "arrays").mkdir()
    return tmp_path / "arrays"


def write(folder: Path) -> np.ndarray:
    """Seven rows of three numbers in parts, and an empty array."""
    values = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
    writer = ArrayWriter(folder)
    file = writer.create("values", values.shape, np.float32)
    for part in (slice(4, 7), slice(0, 1), slice(1, 4)):
        file[part] = values[part]
    writer.create("none", (0, 5), np.int64)[:] = np.zeros((0, 5))
    writer.finish()
    return values


@pytest.fixture
def another_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def start() -> None:
        boot = tmp_path / "boot_id"
        boot.write_text("another\n")
        monkeypatch.setattr(array_files, "_BOOT_ID", boot)

    return start


def test_numpy_reads_what_was_written(folder: Path) -> None:
    values = write(folder)
    found = np.load(folder / "values.npy", mmap_mode="r")
    assert found.dtype == np.float32
    assert (found == values).all()
    assert np.load(folder / "none.npy").shape == (0, 5)
    assert is_whole(folder)


def test_rows_not_written_are_zero_and_values_are_converted(folder: Path) -> None:
    writer = ArrayWriter(folder)
    file = writer.create("numbers", (4, 2), np.int64)
    file[1:3] = np.array([7, 8], np.float64)
    writer.finish()
    assert np.load(folder / "numbers.npy").tolist() == [[0, 0], [7, 8], [7, 8], [0, 0]]
    assert len(file) == 4


def test_values_of_another_shape_are_refused(folder: Path) -> None:
    file = ArrayWriter(folder).create("numbers", (4, 2), np.int64)
    with pytest.raises(ValueError, match="broadcast"):
        file[1:3] = np.zeros((3, 2))
    file.close()


def test_a_folder_that_was_not_finished_is_not_whole(folder: Path) -> None:
    writer = ArrayWriter(folder)
    writer.create("numbers", (4, 2), np.int64)
    writer.close()
    assert not is_whole(folder)
    assert not is_whole(folder / "not there")


def test_within_a_boot_sizes_are_compared_and_after_another_all_content(
    folder: Path, another_boot: Callable[[], None]
) -> None:
    write(folder)
    with (folder / "values.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read()
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    assert is_whole(folder)
    another_boot()
    assert not is_whole(folder)


def test_a_boot_checks_once(
    folder: Path, another_boot: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder)
    another_boot()
    assert is_whole(folder)
    monkeypatch.setattr(array_files, "_sums_agree", lambda *_: False)
    assert is_whole(folder)


def test_without_a_boots_name_every_reader_checks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_files, "_BOOT_ID", folder / "not there")
    write(folder)
    assert is_whole(folder)
    monkeypatch.setattr(array_files, "_sums_agree", lambda *_: False)
    assert not is_whole(folder)


def test_a_truncated_or_missing_file_is_not_whole(folder: Path) -> None:
    write(folder)
    os.truncate(folder / "values.npy", 100)
    assert not is_whole(folder)
    (folder / "values.npy").unlink()
    assert not is_whole(folder)


@pytest.mark.parametrize(
    "torn", ["", "\0\0\0\0", "[]", "3", '{"values.npy": {}}', '{"values.npy": 1}']
)
def test_a_torn_list_of_contents_is_not_whole(folder: Path, torn: str) -> None:
    write(folder)
    (folder / "contents.json").write_text(torn)
    assert not is_whole(folder)


def test_contents_without_parts_are_not_whole_after_another_boot(
    folder: Path, another_boot: Callable[[], None]
) -> None:
    write(folder)
    contents = json.loads((folder / "contents.json").read_text())
    del contents["values.npy"]["parts"]
    (folder / "contents.json").write_text(json.dumps(contents))
    another_boot()
    assert not is_whole(folder)
