"""Small galleries of a tiny store, for tests."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from prvr_model.network.model_file import load_exported
from prvr_model.retrieval.gallery_encoding import SourceVideo, encoded_blocks
from prvr_model.retrieval.gallery_format import GalleryManifest, VectorType, model_of
from prvr_model.retrieval.gallery_writer import create_gallery
from prvr_model.settings import Settings
from prvr_model.store.reader import FeatureStore
from tests.benchmarks.made_gallery import export_random
from tests.prvr_model.tiny import TEXT_DIM, VIDEO_DIM, tiny_settings


def export_tiny(folder: Path, settings: Settings | None = None) -> Path:
    """An exported model that was never trained; the seed decides on its weights."""
    return export_random(folder, settings or tiny_settings(), VIDEO_DIM, TEXT_DIM)


def tiny_manifest(
    export: Path, dtype: VectorType = "float32", screen: bool = True
) -> GalleryManifest:
    settings = load_exported(export).settings.model
    return GalleryManifest(
        dtype=dtype,
        hidden=settings.hidden_size,
        num_clips=settings.num_clips,
        num_frames=settings.num_frames,
        model=model_of(export, "tiny"),
        recipe=None,
        screen=screen,
    )


def videos_of(
    store: FeatureStore, split: str, names: Sequence[str] | None = None
) -> Iterator[SourceVideo]:
    """Videos of a split, or some of them; each row lasts half a second."""
    rows = store.split(split)
    for number, name in enumerate(rows.video_ids):
        if names is None or name in names:
            features = rows.frames(number)
            yield SourceVideo(name, features, len(features) / 2, f"jpeg of {name}".encode())


def tiny_gallery(
    path: Path, store: FeatureStore, split: str = "val", dtype: VectorType = "float32"
) -> Path:
    """A gallery of a split, made with a model beside it."""
    export = path.with_suffix(".model")
    if not export.exists():
        export_tiny(export)
    model = load_exported(export).build(torch.device("cpu"))
    blocks = encoded_blocks(model, videos_of(store, split))
    create_gallery(path, tiny_manifest(export, dtype), export, blocks)
    return path
