"""What a worker says of places that are not the driver's."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import PlaceError
from orchestrator.shared_places import marked_places, problem_here
from prvr_model.feature_store import FeatureStore
from prvr_model.synthetic import SyntheticSettings, write_synthetic


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    path = tmp_path_factory.mktemp("places") / "store"
    write_synthetic(path, SyntheticSettings(train_videos=4, val_videos=4, test_videos=4), name="s")
    return FeatureStore.open(path)


def test_the_same_places_are_fine_and_left_clean(store: FeatureStore, tmp_path: Path) -> None:
    with marked_places(store.path, store.manifest.fingerprint, str(tmp_path)) as places:
        assert [one.name for one in tmp_path.iterdir()] == [places.marker]
        assert problem_here(places) is None
        assert [one.name for one in tmp_path.iterdir()] == [places.marker]
    assert list(tmp_path.iterdir()) == []


def test_other_data(store: FeatureStore, tmp_path: Path) -> None:
    with marked_places(store.path, "f" * 64, str(tmp_path)) as places:
        other = problem_here(places)
        missing = problem_here(replace(places, store=str(tmp_path / "nowhere")))
    assert other is not None
    assert missing is not None
    found = store.manifest.fingerprint[:12]
    assert other == (
        f"data: {store.path} has fingerprint {found}, the driver's has ffffffffffff; put the store "
        "on a file system that all nodes share and name it by data.store; generated data lies in "
        "the home: --home on such a file system"
    )
    assert missing.startswith(f"data: there is no feature store at {tmp_path / 'nowhere'}")


def test_another_folder_of_the_same_name(store: FeatureStore, tmp_path: Path) -> None:
    with marked_places(store.path, store.manifest.fingerprint, str(tmp_path)) as places:
        (tmp_path / places.marker).rename(tmp_path / "elsewhere")
        assert problem_here(places) == (
            f"storage: {tmp_path} is not the driver's folder of this name; set --storage to a "
            "folder that all nodes share and may write, or to s3://..."
        )


def test_a_storage_that_the_driver_cannot_write(store: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "below")
    with (
        pytest.raises(PlaceError, match="cannot use the storage for trials"),
        marked_places(store.path, store.manifest.fingerprint, place),
    ):
        pass
