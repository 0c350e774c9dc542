"""The feature store that a spec's `data` names; generated data is made once and kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.spec_sections import DataSource
from prvr_model.synthetic import SyntheticSettings

if TYPE_CHECKING:
    from prvr_model.feature_store import FeatureStore

_GENERATED_NAME = "synthetic"


@dataclass(frozen=True)
class DataSize:
    """How much a trial trains on and evaluates, known before any data is made; ratios are means."""

    train_videos: int
    val_videos: int
    video_dim: int
    text_dim: int
    captions_per_video: float
    tokens_per_caption: float


def open_data(source: DataSource, home: Path) -> "FeatureStore":
    """Open the store; generated data is written below the home first if it is not there.

    Raises:
        StoreError: The store is missing, damaged, or lacks the splits that a trial needs.
    """
    from prvr_model.errors import StoreError
    from prvr_model.feature_store import FeatureStore

    store = FeatureStore.open(_path(source, home))
    missing = [split for split in ("train", "val") if not store.has_split(split)]
    if missing:
        there = ", ".join(store.manifest.splits)
        raise StoreError(
            f"{store.path} has no split {' and '.join(missing)} (it has {there}); a sweep trains "
            "on train and selects on val: `prvr-sweep data import --val-from-train` makes one"
        )
    return store


def _path(source: DataSource, home: Path) -> Path:
    if source.store is not None:
        return Path(source.store)
    settings = source.synthetic or SyntheticSettings()
    path = home / "stores" / f"{_GENERATED_NAME}-{settings.digest}"
    if not path.exists():
        from prvr_model.synthetic import write_synthetic

        path.parent.mkdir(parents=True, exist_ok=True)
        write_synthetic(path, settings, name=_GENERATED_NAME)
    return path


def data_size(source: DataSource) -> DataSize:
    """Sizes of the data; nothing is written.

    Raises:
        StoreError: The store is missing or damaged.
    """
    if source.store is None:
        return _generated_size(source.synthetic or SyntheticSettings())
    from prvr_model.store_format import read_manifest

    manifest = read_manifest(Path(source.store))
    train, val = (manifest.splits.get(name) for name in ("train", "val"))
    counts = [one for one in (train, val) if one]
    captions = sum(one.captions for one in counts) or 1
    return DataSize(
        train.videos if train else 0,
        val.videos if val else 0,
        manifest.video_dim,
        manifest.text_dim,
        captions / (sum(one.videos for one in counts) or 1),
        sum(one.tokens for one in counts) / captions,
    )


def _generated_size(made: SyntheticSettings) -> DataSize:
    events, tokens = made.min_events + made.max_events, made.min_tokens + made.max_tokens
    return DataSize(
        made.train_videos,
        made.val_videos,
        made.video_dim,
        made.text_dim,
        made.captions_per_event * events / 2,
        tokens / 2,
    )
