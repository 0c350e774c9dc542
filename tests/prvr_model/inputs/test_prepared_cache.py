"""What is prepared once: reused, rebuilt for other content, safe among concurrent builders."""

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from prvr_model.errors import StoreError
from prvr_model.files import array_files
from prvr_model.inputs import preparation, raw_videos
from prvr_model.inputs.prepared_cache import Arrays, ArrayWriter, FrozenCache
from prvr_model.inputs.prepared_split import PreparedSplit, prepare_split
from prvr_model.settings import Settings
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import write_synthetic
from tests.prvr_model.tiny import TINY_DATA, tiny_settings

# All work on features goes through these.
BUILDERS = ("resample", "merge_neighbours", "inner_products", "widen", "normalise_rows")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    write_synthetic(tmp_path / "a.store", TINY_DATA)
    return FeatureStore.open(tmp_path / "a.store")


def forbid_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("prepared again")

    for name in BUILDERS:
        place = preparation if hasattr(preparation, name) else raw_videos
        monkeypatch.setattr(place, name, refuse)


def equal(left: PreparedSplit, right: PreparedSplit) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in vars(left))


def test_the_second_time_nothing_is_computed(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare_split(store, "train", tiny_settings())
    forbid_building(monkeypatch)
    again = prepare_split(FeatureStore.open(store.path), "train", tiny_settings())
    assert equal(first, again)
    # What only training reads is not part of what is kept.
    others = tiny_settings(losses__tau=0.3, optimizer__learning_rate=1e-4, training__seed=9)
    prepare_split(store, "train", others)


@pytest.mark.parametrize(
    "changes",
    [{"model__merge_ratio": 0.5}, {"model__clips": "uniform"}, {"losses__num_levels": 2}],
)
def test_other_settings_are_built(
    store: FeatureStore, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_split(store, "train", tiny_settings())
    forbid_building(monkeypatch)
    with pytest.raises(AssertionError, match="prepared again"):
        prepare_split(store, "train", tiny_settings(**changes))


def test_other_content_at_the_same_place_is_built(store: FeatureStore) -> None:
    before = prepare_split(store, "train", tiny_settings())
    kept = store.path / "prepared"
    moved = store.path.with_name("kept")
    shutil.move(kept, moved)
    write_synthetic(store.path, TINY_DATA.model_copy(update={"seed": 2}), overwrite=True)
    shutil.rmtree(store.path / "prepared", ignore_errors=True)
    shutil.move(moved, store.path / "prepared")
    after = prepare_split(FeatureStore.open(store.path), "train", tiny_settings())
    assert not np.array_equal(before.frames, after.frames)


def test_arrays_cannot_be_changed(store: FeatureStore) -> None:
    split = prepare_split(store, "val", tiny_settings())
    with pytest.raises(ValueError, match="read-only"):
        split.frames[0, 0, 0] = 1


def test_a_read_only_store_is_prepared_elsewhere(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    mkdir = Path.mkdir

    def refuse(path: Path, *args: int, **options: bool) -> None:
        if path.is_relative_to(store.path):
            raise PermissionError(30, "Read-only file system")
        mkdir(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    split = prepare_split(store, "val", tiny_settings())
    assert split.num_videos == TINY_DATA.val_videos
    assert not (store.path / "prepared").exists()
    assert list(elsewhere.rglob("*.npy"))


def test_what_a_read_only_store_has_is_used(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_split(store, "train", tiny_settings())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    monkeypatch.setattr(os, "access", lambda _, mode: mode == os.F_OK)
    prepare_split(store, "train", tiny_settings())
    assert list(elsewhere.iterdir()) == []
    prepare_split(store, "val", tiny_settings())
    assert list(elsewhere.rglob("*.npy"))


def in_threads(work: Callable[[], None], count: int = 4) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_one_builds_and_the_others_wait(store: FeatureStore) -> None:
    cache = FrozenCache(store.path, "f")
    barrier = threading.Barrier(4)
    builders: list[int] = []
    found: list[Arrays] = []

    def build(writer: ArrayWriter) -> None:
        builders.append(threading.get_ident())
        writer.create("numbers", (3,), np.int64)[:] = [1, 2, 3]

    def work() -> None:
        barrier.wait(timeout=30)
        found.append(cache.arrays("group", {"a": 1}, build))

    in_threads(work)
    assert len(builders) == 1
    assert [arrays["numbers"].tolist() for arrays in found] == [[1, 2, 3]] * 4
    assert len(list((store.path / "prepared").iterdir())) == 1


def test_builders_at_the_same_time_agree_where_there_are_no_locks(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FrozenCache(store.path, "f")
    barrier = threading.Barrier(4)
    found: list[Arrays] = []

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    def build(writer: ArrayWriter) -> None:
        # All are in the middle of building before the first is done.
        barrier.wait(timeout=30)
        writer.create("numbers", (3,), np.int64)[:] = [1, 2, 3]

    monkeypatch.setattr("fcntl.flock", refuse)
    in_threads(lambda: found.append(cache.arrays("group", {"a": 1}, build)))
    assert [arrays["numbers"].tolist() for arrays in found] == [[1, 2, 3]] * 4
    assert [path.name[0] for path in (store.path / "prepared").iterdir()].count("g") == 1


def test_a_torn_cache_is_built_anew(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare_split(store, "train", tiny_settings())
    wanted = {name: np.array(array) for name, array in vars(first).items()}
    (torn,) = (store.path / "prepared").rglob("frames.npy")
    # What a power cut may leave: the size is right, the content has not reached the disk.
    with torn.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(bytes(4096))
    monkeypatch.setattr(array_files, "_BOOT_ID", another_boot(store.path.parent))
    again = prepare_split(store, "train", tiny_settings())
    assert all(np.array_equal(getattr(again, name), array) for name, array in wanted.items())


def test_another_boot_checks_and_does_not_build(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_split(store, "train", tiny_settings())
    forbid_building(monkeypatch)
    monkeypatch.setattr(array_files, "_BOOT_ID", another_boot(store.path.parent))
    prepare_split(store, "train", tiny_settings())


def another_boot(folder: Path) -> Path:
    boot = folder / "boot_id"
    boot.write_text("another\n")
    return boot


def test_only_what_a_setting_changes_is_built(store: FeatureStore) -> None:
    def groups() -> dict[str, set[str]]:
        names = [folder.name.split("-") for folder in (store.path / "prepared").iterdir()]
        return {group: {key for name, key in names if name == group} for group, _ in names}

    prepare_split(store, "train", tiny_settings())
    before = groups()
    assert {group: len(keys) for group, keys in before.items()} == {
        "frames": 1,
        "clips": 1,
        "segments": 1,
        "tokens": 1,
    }
    prepare_split(store, "train", tiny_settings(losses__num_levels=2))
    levels = groups()
    assert {group for group in levels if levels[group] != before[group]} == {"segments"}
    prepare_split(store, "train", tiny_settings(model__merge_ratio=0.5))
    merging = groups()
    assert {group for group in merging if merging[group] != levels[group]} == {"clips", "segments"}


def test_a_builder_that_fails_leaves_nothing(store: FeatureStore) -> None:
    cache = FrozenCache(store.path, "f")

    def build(writer: ArrayWriter) -> None:
        writer.create("numbers", (3,), np.int64)
        raise OSError(28, "No space left on device")

    message = rf"cannot prepare features in {store.path}/prepared: No space left"
    with pytest.raises(StoreError, match=message):
        cache.arrays("group", {"a": 1}, build)
    assert list((store.path / "prepared").iterdir()) == []


def test_a_full_disk_is_seen_before_anything_is_filled_in(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved: list[int] = []

    def refuse(descriptor: int, start: int, size: int) -> None:
        reserved.append(size)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(StoreError, match="No space left on device; nothing was left behind"):
        prepare_split(store, "train", tiny_settings())
    values = TINY_DATA.train_videos * tiny_settings().model.num_frames * TINY_DATA.video_dim
    assert reserved[0] > 4 * values
    assert list((store.path / "prepared").iterdir()) == []


def test_arrays_have_no_holes(store: FeatureStore) -> None:
    cache = FrozenCache(store.path, "f")
    cache.arrays("group", {}, lambda writer: writer.create("zeros", (1000, 100), np.int64))
    (file,) = (store.path / "prepared").rglob("*.npy")
    assert file.stat().st_blocks * 512 >= file.stat().st_size


def test_only_what_is_trained_on_has_segments(store: FeatureStore) -> None:
    for split, expected in (("val", False), ("test", False), ("train", True)):
        prepared = prepare_split(store, split, tiny_settings())
        found = list((store.path / "prepared").glob("segments-*"))
        assert bool(found) == expected
        assert prepared.segment_of_clip.shape == prepared.clip_sizes.shape


def test_what_one_user_prepared_others_can_read(store: FeatureStore) -> None:
    prepare_split(store, "val", tiny_settings())
    root = store.path / "prepared"
    plain = root.with_name("plain")
    plain.mkdir()
    (plain / "file").touch()
    assert {path.stat().st_mode for path in root.iterdir()} == {plain.stat().st_mode}
    assert {path.stat().st_mode for path in root.rglob("*.npy")} == {
        (plain / "file").stat().st_mode
    }


@pytest.mark.parametrize("settings", [tiny_settings(), tiny_settings(model__clips="uniform")])
def test_chunks_do_not_change_the_numbers(
    store: FeatureStore, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = prepare_split(store, "train", settings)
    shutil.copytree(store.path, tmp_path / "b.store", ignore=shutil.ignore_patterns("prepared"))
    monkeypatch.setattr(preparation, "CHUNK", 5)
    parts = prepare_split(FeatureStore.open(tmp_path / "b.store"), "train", settings)
    assert equal(whole, parts)
