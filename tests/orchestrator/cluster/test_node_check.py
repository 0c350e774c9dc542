"""What a worker says of locations that are not the driver's."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.base.errors import LocationError
from orchestrator.cluster import node_check
from orchestrator.cluster.node_check import Look, SharedData, look_here, marked_locations
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import SyntheticSettings, write_synthetic


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    path = tmp_path_factory.mktemp("locations") / "store"
    write_synthetic(path, SyntheticSettings(train_videos=4, val_videos=4, test_videos=4), name="s")
    return FeatureStore.open(path)


def data_of(store: FeatureStore, /, **changes: object) -> SharedData:
    """The data, too large to be sent."""
    data = SharedData(str(store.path), store.manifest.fingerprint)
    return replace(data, **changes)  # type: ignore[arg-type]


def test_the_same_locations_are_fine_and_left_clean(store: FeatureStore, tmp_path: Path) -> None:
    with marked_locations(data_of(store), str(tmp_path)) as locations:
        assert [path.name for path in tmp_path.iterdir()] == [locations.marker]
        assert look_here(locations) == Look(None)
        assert [path.name for path in tmp_path.iterdir()] == [locations.marker]
    assert list(tmp_path.iterdir()) == []


def test_other_data(store: FeatureStore, tmp_path: Path) -> None:
    nowhere = data_of(store, store=str(tmp_path / "nowhere"))
    with marked_locations(data_of(store, fingerprint="f" * 64), str(tmp_path)) as locations:
        other = look_here(locations).problem
        missing = look_here(replace(locations, data=nowhere)).problem
    assert other is not None
    assert missing is not None
    found = store.manifest.fingerprint[:12]
    assert other == (
        f"data: {store.path} has fingerprint {found}, the driver's has ffffffffffff; put the store "
        "on a file system that all nodes share and name it by data.store, or into an object store "
        "and name it by its URI (data: s3://...); a store of up to 256 MiB would travel with the "
        "sweep"
    )
    assert missing.startswith(f"data: there is no feature store at {tmp_path / 'nowhere'}")


def test_small_data_that_is_not_there_is_to_be_sent(store: FeatureStore, tmp_path: Path) -> None:
    nowhere = data_of(store, store=str(tmp_path / "nowhere"), is_small=True)
    with marked_locations(nowhere, str(tmp_path)) as locations:
        assert look_here(locations) == Look(None, lacks_data=True)
        there = replace(locations, data=data_of(store, is_small=True))
        assert look_here(there) == Look(None)
        (tmp_path / locations.marker).rename(tmp_path / "elsewhere")
        found = look_here(locations)
    assert found.problem is not None
    assert found.problem.startswith("storage: ")


def test_what_is_small(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(path.size_bytes for path in store.manifest.files.values())
    monkeypatch.setattr(node_check, "SENT_STORE_LIMIT_BYTES", size)
    assert SharedData.of(str(store.path), store.manifest).is_small
    assert not SharedData.of(f"file://{store.path}", store.manifest).is_small
    monkeypatch.setattr(node_check, "SENT_STORE_LIMIT_BYTES", size - 1)
    assert not SharedData.of(str(store.path), store.manifest).is_small


def test_data_at_a_uri_needs_room(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = str(tmp_path / "cache")
    monkeypatch.delenv("PRVR_SWEEP_CACHE", raising=False)
    data = data_of(store, store=f"file://{store.path}", cache=cache)
    with marked_locations(data, str(tmp_path)) as locations:
        assert look_here(locations) == Look(None)
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
        full = look_here(locations)
        gone = look_here(replace(locations, data=replace(data, store="file:///nowhere")))
    assert full.problem is not None
    assert full.problem.startswith(f"data: {cache} has room for 0.0 MiB")
    assert gone.problem is not None
    assert "no feature store to be read at file:///nowhere" in gone.problem
    assert "each node reads it with its own credentials" in gone.problem


def test_another_folder_of_the_same_name(store: FeatureStore, tmp_path: Path) -> None:
    with marked_locations(data_of(store), str(tmp_path)) as locations:
        (tmp_path / locations.marker).rename(tmp_path / "elsewhere")
        assert look_here(locations).problem == (
            f"storage: {tmp_path} is not the driver's folder of this name; set --storage to a "
            "folder that all nodes share and may write, or to s3://..."
        )


def test_a_storage_that_the_driver_cannot_write(store: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    storage = str(tmp_path / "file" / "below")
    with (
        pytest.raises(LocationError, match="cannot use the storage for trials"),
        marked_locations(data_of(store), storage),
    ):
        pass
