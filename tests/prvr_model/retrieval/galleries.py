"""Small galleries of a tiny store, for tests."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save

from prvr_model.network.model import MscModel
from prvr_model.network.model_file import load_exported, model_header
from prvr_model.retrieval.gallery_encoding import SourceVideo, encoded_blocks
from prvr_model.retrieval.gallery_format import GalleryManifest, VectorType, model_of
from prvr_model.retrieval.gallery_writer import create_gallery
from prvr_model.settings import Settings
from prvr_model.store.reader import FeatureStore
from tests.prvr_model.tiny import TEXT_DIM, VIDEO_DIM, tiny_settings


def export_tiny(folder: Path, settings: Settings | None = None) -> Path:
    """An exported model that was never trained; the seed decides on its weights."""
    settings = settings or tiny_settings()
    folder.mkdir(parents=True)
    model = MscModel(settings.model, VIDEO_DIM, TEXT_DIM)
    (folder / "model.safetensors").write_bytes(save(model.state_dict()))
    header = {**model_header(model, settings), "epoch": 1}
    (folder / "config.json").write_text(json.dumps(header))
    return folder


def tiny_manifest(export: Path, dtype: VectorType = "float32") -> GalleryManifest:
    settings = load_exported(export).settings.model
    return GalleryManifest(
        dtype=dtype,
        hidden=settings.hidden_size,
        num_clips=settings.num_clips,
        num_frames=settings.num_frames,
        model=model_of(export, "tiny"),
        recipe=None,
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
