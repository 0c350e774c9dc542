"""The feature store that a spec's `data` names; generated data is made once and kept."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.spec.objectives import LABELLED
from orchestrator.spec.sections import DataSource
from prvr_model.files.location import is_uri
from prvr_model.store.synthetic import SyntheticSettings

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec
    from prvr_model.store.format import Manifest
    from prvr_model.store.label_needs import LabelNeed
    from prvr_model.store.reader import FeatureStore

_GENERATED_NAME = "synthetic"


@dataclass(frozen=True)
class DataSize:
    """Sizes of a trial's data, known before any data is made; ratios are means."""

    train_videos: int
    val_videos: int
    video_dim: int
    text_dim: int
    captions_per_video: float
    tokens_per_caption: float


def open_data(
    source: DataSource,
    home: Path,
    say: Callable[[str], None],
    fingerprint: str | None = None,
    *,
    generates: bool = True,
) -> "FeatureStore":
    """Open the store on this machine; make or copy it first if it is missing.

    Generated data is written below the home. A store at a URI is copied to the cache, see
    `prvr_model.store.staging`.

    Args:
        source: The data.
        home: Home folder, absolute.
        say: Takes a line for the user when something takes long.
        fingerprint: Fingerprint that copied data must have; None: any.
        generates: Whether generated data is written if the home lacks it.

    Raises:
        StoreError: The store is missing, damaged, or lacks the splits that a trial needs, or
            generated data cannot be written.
    """
    from prvr_model.store.reader import FeatureStore

    if source.store is not None and is_uri(source.store):
        return _copied(source.store, say, fingerprint)
    store = FeatureStore.open(_path(source, home, generates))
    _check_splits(store.manifest, str(store.path))
    return store


def known_fingerprint(source: DataSource, home: Path) -> str | None:
    """Fingerprint of the data; None if it is not generated yet.

    Raises:
        StoreError: The store is missing or damaged.
    """
    from prvr_model.store.sources import manifest_at

    if source.store is not None:
        return manifest_at(source.store).fingerprint
    path = _generated_path(source.synthetic or SyntheticSettings(), home)
    return manifest_at(str(path)).fingerprint if path.exists() else None


def trial_store(source: DataSource, store: "FeatureStore") -> str:
    """Path or URI of the data for a trial on any machine; `store` was opened on this one."""
    return source.store if source.store and is_uri(source.store) else str(store.path)


def _copied(uri: str, say: Callable[[str], None], fingerprint: str | None) -> "FeatureStore":
    from prvr_model.store.reader import FeatureStore
    from prvr_model.store.sources import FolderFiles, manifest_at
    from prvr_model.store.staging import cache_folder, staged_store

    manifest = manifest_at(uri)
    _check_splits(manifest, uri)
    expected = fingerprint or manifest.fingerprint
    path = staged_store(FolderFiles.open(uri), expected, cache_folder(), say)
    # The copy may be of another store with the same content; use the name of this one.
    here = FeatureStore.open(path)
    names = {"name": manifest.name, "source": manifest.source}
    return FeatureStore(path, here.manifest.model_copy(update=names))


def _check_splits(manifest: "Manifest", store: str) -> None:
    from prvr_model.errors import StoreError

    if missing := [split for split in ("train", "val") if split not in manifest.splits]:
        splits = ", ".join(manifest.splits)
        raise StoreError(
            f"{store} has no split {' and '.join(missing)} (it has {splits}); a sweep trains "
            "on train and selects on val: importing it with --val-from-train 0.1 makes one"
        )


def _path(source: DataSource, home: Path, generates: bool) -> Path:
    if source.store is not None:
        return Path(source.store)
    settings = source.synthetic or SyntheticSettings()
    path = _generated_path(settings, home)
    if generates and not path.exists():
        _generate(path, settings)
    return path


def _generate(path: Path, settings: SyntheticSettings) -> None:
    from prvr_model.errors import StoreError
    from prvr_model.store.synthetic import write_synthetic

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path} is not there, and the generated data cannot be written: {error.strerror}; use "
            "a home that can be written, or a copy of this one"
        ) from error
    write_synthetic(path, settings, name=_GENERATED_NAME)


def _generated_path(settings: SyntheticSettings, home: Path) -> Path:
    return home / "stores" / f"{_GENERATED_NAME}-{settings.digest}"


def data_size(source: DataSource) -> DataSize:
    """Sizes of the data; nothing is written, and of a store only the manifest is read.

    Raises:
        StoreError: The store is missing or damaged.
    """
    if source.store is None:
        return _generated_size(source.synthetic or SyntheticSettings())
    from prvr_model.store.sources import manifest_at

    manifest = manifest_at(source.store)
    train, val = (manifest.splits.get(name) for name in ("train", "val"))
    counts = [split for split in (train, val) if split]
    captions = sum(count.captions for count in counts) or 1
    return DataSize(
        train.videos if train else 0,
        val.videos if val else 0,
        manifest.video_dim,
        manifest.text_dim,
        captions / (sum(count.videos for count in counts) or 1),
        sum(count.tokens for count in counts) / captions,
    )


def data_warnings(source: DataSource) -> list[str]:
    """What training suffers from: rows of zeros, and features that do not match.

    Whether features match is asked of a store on this machine; of one at a URI, `launch` asks when
    it has the copy.

    Raises:
        StoreError: The store is missing or damaged.
    """
    if source.store is None:
        return []
    from prvr_model.store.format import zero_row_warnings
    from prvr_model.store.reader import FeatureStore
    from prvr_model.store.sources import manifest_at

    found = zero_row_warnings(manifest_at(source.store))
    zeros = [f"data: {'; '.join(found)}"] if found else []
    if is_uri(source.store):
        return zeros
    return [*zeros, *mismatch_warnings(FeatureStore.open(Path(source.store)))]


def mismatch_warnings(store: "FeatureStore") -> list[str]:
    """That the features of text and video do not match, from a sample; takes under a second."""
    from prvr_model.retrieval.sanity import near_chance_warning

    warning = near_chance_warning(store)
    return [f"data: {warning}"] if warning else []


def check_labels(spec: "SweepSpec", store: "FeatureStore | None" = None) -> None:
    """Refuse a sweep that asks for verified labels on data without them.

    Args:
        spec: The sweep.
        store: Its data; None: what is on this machine already. Of a store at a URI that is
            nothing: it is checked when it was copied.

    Raises:
        StoreError: A split that must have labels has none.
    """
    needs = list(_label_needs(spec))
    if not needs:
        return
    from prvr_model.errors import StoreError
    from prvr_model.store.label_needs import require_labels
    from prvr_model.store.reader import FeatureStore

    if store is None:
        if spec.data.store is None:
            raise StoreError(
                f"{needs[0].asked}, but generated data has no verified labels; import data with "
                f"--relevance FILE, or {needs[0].instead}"
            )
        if is_uri(spec.data.store):
            return
        store = FeatureStore.open(Path(spec.data.store))
    for need in needs:
        if store.has_split(need.split):
            require_labels(store.split(need.split), need)


def _label_needs(spec: "SweepSpec") -> "Iterator[LabelNeed]":
    from prvr_model.store.label_needs import NEGATIVES, RELEVANCE, LabelNeed

    if spec.objective.metric in LABELLED:
        asked = f"objective.metric is {spec.objective.metric}"
        yield LabelNeed("val", asked, "choose a metric without verified, e.g. val/SumR")
    if "verified" in spec.setting_values("evaluation.relevance"):
        yield RELEVANCE
        yield replace(RELEVANCE, split="test")
    if True in spec.setting_values("losses.ignore_relevant"):
        yield NEGATIVES


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
