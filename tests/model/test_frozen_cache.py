"""What is prepared once: reused, rebuilt for other content, safe among concurrent builders."""

import os
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from prvr_model import dataset
from prvr_model.dataset import PreparedSplit, prepare_split
from prvr_model.feature_store import FeatureStore
from prvr_model.frozen_cache import Arrays, ArrayWriter, FrozenCache
from prvr_model.settings import Settings
from prvr_model.synthetic import write_synthetic
from tests.model.tiny import TINY_DATA, tiny_settings

BUILDERS = ("resample", "merge_neighbours", "segment_plans", "spanning_tree_weights")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    write_synthetic(tmp_path / "a.store", TINY_DATA)
    return FeatureStore.open(tmp_path / "a.store")


def forbid_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("prepared again")

    for name in (*BUILDERS, "normalise_rows"):
        monkeypatch.setattr(dataset, name, refuse)


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


def test_builders_at_the_same_time_agree(store: FeatureStore) -> None:
    cache = FrozenCache(store.path, "f")
    barrier = threading.Barrier(4)
    found: list[Arrays] = []

    def build(writer: ArrayWriter) -> None:
        # All are in the middle of building before the first is done.
        barrier.wait(timeout=30)
        writer.create("numbers", (3,), np.int64)[:] = [1, 2, 3]

    def work() -> None:
        found.append(cache.arrays("group", {"a": 1}, build))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [arrays["numbers"].tolist() for arrays in found] == [[1, 2, 3]] * 4
    assert len(list((store.path / "prepared").iterdir())) == 1


def test_a_builder_that_fails_leaves_nothing(store: FeatureStore) -> None:
    cache = FrozenCache(store.path, "f")

    def build(writer: ArrayWriter) -> None:
        writer.create("numbers", (3,), np.int64)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        cache.arrays("group", {"a": 1}, build)
    assert list((store.path / "prepared").iterdir()) == []


def test_what_one_user_prepared_others_can_read(store: FeatureStore) -> None:
    prepare_split(store, "val", tiny_settings())
    root = store.path / "prepared"
    modes = {folder.stat().st_mode & 0o777 for folder in root.iterdir()}
    assert modes == {root.stat().st_mode & 0o777}
    assert os.access(root, os.R_OK)


@pytest.mark.parametrize("settings", [tiny_settings(), tiny_settings(model__clips="uniform")])
def test_chunks_do_not_change_the_numbers(
    store: FeatureStore, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = prepare_split(store, "train", settings)
    shutil.copytree(store.path, tmp_path / "b.store", ignore=shutil.ignore_patterns("prepared"))
    monkeypatch.setattr(dataset, "_CHUNK", 5)
    parts = prepare_split(FeatureStore.open(tmp_path / "b.store"), "train", settings)
    assert equal(whole, parts)
