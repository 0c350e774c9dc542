"""The writer: all or nothing, and refusals that name the item."""

import errno
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from prvr_model.errors import DataError, StoreError
from prvr_model.store import arrow_file
from prvr_model.store.format import read_manifest, zero_row_warnings
from prvr_model.store.reader import FeatureStore
from prvr_model.store.writer import StoreWriter, check_room, check_target

ROWS = np.ones((2, 3), np.float32)


def writer_at(path: Path, overwrite: bool = False) -> StoreWriter:
    return StoreWriter(path, name="t", video_dim=3, text_dim=3, overwrite=overwrite)


def fill(writer: StoreWriter, videos: int = 1) -> None:
    for number in range(videos):
        writer.add_video("train", f"v{number}", ROWS)
        writer.add_caption("train", f"v{number}#0", f"v{number}", "text", ROWS)


def fill_and_raise(writer: StoreWriter, error: type[BaseException]) -> None:
    with writer:
        fill(writer)
        raise error


def test_nothing_is_at_the_target_before_the_end(tmp_path: Path) -> None:
    with writer_at(tmp_path / "s") as writer:
        fill(writer)
        assert not (tmp_path / "s").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_error_in_the_block_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        fill_and_raise(writer_at(tmp_path / "s"), error)
    assert not list(tmp_path.iterdir())


def test_an_error_leaves_the_old_store(tmp_path: Path) -> None:
    with writer_at(tmp_path / "s") as writer:
        fill(writer, videos=2)
    with pytest.raises(RuntimeError):
        fill_and_raise(writer_at(tmp_path / "s", overwrite=True), RuntimeError)
    assert FeatureStore.open(tmp_path / "s").manifest.splits["train"].videos == 2
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_failed_rename_puts_the_old_store_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writer_at(tmp_path / "s") as writer:
        fill(writer, videos=2)
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with (
        pytest.raises(StoreError, match="Input/output error"),
        writer_at(tmp_path / "s", True) as writer,
    ):
        fill(writer)
    assert FeatureStore.open(tmp_path / "s").manifest.splits["train"].videos == 2
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_an_existing_store_is_refused_unless_overwritten(tmp_path: Path) -> None:
    with writer_at(tmp_path / "s") as writer:
        fill(writer)
    with pytest.raises(StoreError, match="exists; give --overwrite"), writer_at(tmp_path / "s"):
        pass
    with writer_at(tmp_path / "s", overwrite=True) as writer:
        fill(writer, videos=3)
    assert FeatureStore.open(tmp_path / "s").manifest.splits["train"].videos == 3
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_mapped_store_can_be_replaced(tmp_path: Path) -> None:
    with writer_at(tmp_path / "s") as writer:
        fill(writer)
    frames = FeatureStore.open(tmp_path / "s").split("train").frames(0)
    with writer_at(tmp_path / "s", overwrite=True) as writer:
        fill(writer, videos=2)
    np.testing.assert_array_equal(frames, ROWS)


def test_overwrite_never_removes_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("mine")
    with (
        pytest.raises(StoreError, match="exists and is not a feature store"),
        writer_at(tmp_path / "home", overwrite=True),
    ):
        pass
    assert (tmp_path / "home" / "thesis.txt").read_text() == "mine"


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_file, "_BATCH_BYTES", 1)


@pytest.mark.usefixtures("small_batches")
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arrow_file, "sync_file", refuse)
    with (
        pytest.raises(
            StoreError, match="No space left on device; nothing was left behind; make room"
        ) as caught,
        writer_at(tmp_path / "s") as writer,
    ):
        fill(writer)
    assert caught.value.exit_code == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("small_batches")
def test_a_disk_that_fills_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with (
        file_size_limit(20_000),
        pytest.raises(StoreError, match=r"cannot write store .*File too large"),
        writer_at(tmp_path / "s") as writer,
    ):
        fill(writer, videos=1000)
    assert not list(tmp_path.iterdir())


@contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match="cannot write store"),
        writer_at(tmp_path / "file" / "s") as writer,
    ):
        fill(writer)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((2, 4)), r"video 'x' of split train has shape \(2, 4\), expected \(any number, 3"),
        (np.ones(3), r"has shape \(3,\)"),
        (np.ones((0, 3)), "video 'x' of split train has no rows"),
        (np.array([[1, np.nan, np.inf]]), "has 2 values that are NaN or infinite"),
        (np.array([[1, 1e6, 1]]), "has 1 values that are NaN or infinite"),  # too big for float16
    ],
)
def test_rows_that_cannot_be_stored(tmp_path: Path, rows: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message), writer_at(tmp_path / "s") as writer:
        writer.add_video("train", "x", rows)


def test_large_finite_values_are_not_taken_for_infinity(tmp_path: Path) -> None:
    rows = np.full((5000, 3), np.finfo(np.float16).max, np.float16)
    with writer_at(tmp_path / "s") as writer:
        writer.add_video("train", "x", rows)
        writer.add_caption("train", "x#0", "x", "text", ROWS)
    np.testing.assert_array_equal(FeatureStore.open(tmp_path / "s").split("train").frames(0), rows)


def test_the_caller_may_reuse_its_array(tmp_path: Path) -> None:
    rows = np.ones((1, 3), np.float16)
    with writer_at(tmp_path / "s") as writer:
        writer.add_video("train", "x", rows)
        rows[:] = 7
        writer.add_caption("train", "x#0", "x", "text", rows)
    store = FeatureStore.open(tmp_path / "s")
    store.verify()
    assert store.split("train").frames(0).max() == 1


def test_duplicate_and_dangling_ids(tmp_path: Path) -> None:
    with writer_at(tmp_path / "s") as writer:
        fill(writer)
        with pytest.raises(DataError, match="video 'v0' comes twice in split train"):
            writer.add_video("train", "v0", ROWS)
        with pytest.raises(DataError, match="caption 'v0#0' comes twice in split train"):
            writer.add_caption("train", "v0#0", "v0", "text", ROWS)
        with pytest.raises(DataError, match="caption 'q#0': split train has no video 'q'"):
            writer.add_caption("train", "q#0", "q", "text", ROWS)
        with pytest.raises(DataError, match="unknown split 'dev'; splits are train, val, test"):
            writer.add_video("dev", "v0", ROWS)


def test_a_video_without_caption_and_an_empty_store(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="1 videos without a caption, the first is 'silent'"),
        writer_at(tmp_path / "s") as writer,
    ):
        writer.add_video("train", "silent", ROWS)
    with pytest.raises(DataError, match="no video was given"), writer_at(tmp_path / "s"):
        pass
    assert not list(tmp_path.iterdir())


def test_rows_of_zeros_are_noted_in_the_manifest(tmp_path: Path) -> None:
    padded, zero = np.vstack([ROWS, 0 * ROWS]), 0 * ROWS
    with writer_at(tmp_path / "s") as writer:
        fill(writer)
        writer.add_video("val", "dark", zero)
        writer.add_video("val", "padded", padded)
        # Too small for float16: zero in the store.
        writer.add_caption("val", "dark#0", "dark", "text", np.full((1, 3), 1e-9))
        for number in range(4):
            writer.add_caption("val", f"padded#{number}", "padded", "text", padded)
    assert zero_row_warnings(read_manifest(tmp_path / "s")) == [
        "zeros in every row of 1 of 3 videos ('dark'): make their features again and import again",
        "rows of zeros at the end of 1 of 3 videos ('padded'): cut the padding off and import "
        "again",
        "zeros in every row of 1 of 6 captions ('dark#0'), so the sentence vector, which is the "
        "last row, is zero: make their features again and import again",
        "rows of zeros at the end of 4 of 6 captions ('padded#0', 'padded#1', 'padded#2', ...), so "
        "the sentence vector, which is the last row, is zero: cut the padding off and import again",
    ]


def test_folders_made_around_a_store_go_with_it(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(RuntimeError):
        fill_and_raise(writer_at(tmp_path / "old" / "new" / "newer" / "s"), RuntimeError)
    with (
        pytest.raises(StoreError, match="File name too long"),
        writer_at(tmp_path / "new" / ("s" * 250)),
    ):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["old"]


def test_a_target_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="File name too long"):
        check_target(tmp_path / ("s" * 300), overwrite=False)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=f"{tmp_path}/file is a file, not a folder"):
        check_target(tmp_path / "file" / "a" / "s", overwrite=False)
    # Root may write everywhere.
    access = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda path, mode: access(path, mode) and (mode == os.F_OK or path != tmp_path),
    )
    with pytest.raises(StoreError, match=f"{tmp_path} is not writable for this user"):
        check_target(tmp_path / "a" / "s", overwrite=False)


def test_a_disk_without_room_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_room(tmp_path / "a" / "s", 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(2**40, 2**40 - 2**29, 2**29))
    with pytest.raises(StoreError, match=r"its features take 1.0 GiB, .* has 512.0 MiB free; make"):
        check_room(tmp_path / "a" / "s", 2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(0, 0, 0))
    check_room(tmp_path / "a" / "s", 2**30)


class DiskUsage(NamedTuple):
    """As `shutil.disk_usage` gives it."""

    total: int
    used: int
    free: int
