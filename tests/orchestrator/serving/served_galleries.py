"""Galleries that take sentences, of a tiny encoder and a tiny model that were never trained."""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from prvr_model.extraction.encoder import FeatureEncoder
from prvr_model.network.model import MscModel
from prvr_model.network.model_file import load_exported, model_header
from prvr_model.retrieval.gallery_encoding import SourceVideo, encoded_blocks
from prvr_model.retrieval.gallery_format import GalleryManifest, model_of
from prvr_model.retrieval.gallery_writer import add_videos, create_gallery
from tests.prvr_model.tiny import tiny_settings
from tests.tiny_encoder import CLIP_DIM, write_tiny_clip

NAMES = tuple(f"shelf/clip {number:02d}" for number in range(12))
"""With a folder and a space, as real ones have."""


def sentence_gallery(folder: Path, names: Sequence[str] = NAMES) -> Path:
    """A gallery `folder/my.gallery`, its encoder in `folder/encoder`."""
    encoder = write_tiny_clip(folder / "encoder")
    export = folder / "model"
    if not export.exists():
        export_sentence_model(export)
    settings = load_exported(export).settings.model
    manifest = GalleryManifest(
        dtype="float32",
        hidden=settings.hidden_size,
        num_clips=settings.num_clips,
        num_frames=settings.num_frames,
        model=model_of(export, "models:/tiny/1"),
        screen=True,
        recipe=FeatureEncoder.load(str(encoder)).recipe(2.0),
    )
    path = folder / "my.gallery"
    model = load_exported(export).build(torch.device("cpu"))
    create_gallery(path, manifest, export, encoded_blocks(model, _videos(names[::2])))
    # Shards share batches: every change makes one more.
    if names[1::2]:
        add_more(path, names[1::2])
    return path


def add_more(gallery: Path, names: Sequence[str]) -> None:
    """Append videos to a gallery of `sentence_gallery`."""
    model = load_exported(gallery / "model").build(torch.device("cpu"))
    add_videos(gallery, encoded_blocks(model, _videos(names)))


def write_video(file: Path, seconds: int = 24) -> None:
    """A small video whose brightness says how far it is; browsers play it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libvpx", rate=4)
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        for number in range(4 * seconds):
            shade = np.full((36, 64, 3), 255 * number // (4 * seconds), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
        container.mux(stream.encode())


def export_sentence_model(folder: Path, seed: int = 0) -> Path:
    """An exported model for the features of the tiny encoder."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    settings = tiny_settings()
    model = MscModel(settings.model, CLIP_DIM, CLIP_DIM)
    (folder / "model.safetensors").write_bytes(save(model.state_dict()))
    header = {**model_header(model, settings), "epoch": 1}
    (folder / "config.json").write_text(json.dumps(header))
    return folder


def _videos(names: Sequence[str]) -> Iterator[SourceVideo]:
    for name in names:
        # Its name decides on its features, so that every build has the same.
        draw = np.random.default_rng(list(name.encode()))
        events = np.repeat(draw.standard_normal((6, CLIP_DIM)), 8, axis=0)
        rows = events + 0.3 * draw.standard_normal(events.shape)
        yield SourceVideo(name, rows.astype(np.float32), 24.0, _jpeg(draw))


def _jpeg(draw: np.random.Generator) -> bytes:
    file = io.BytesIO()
    colour = tuple(int(value) for value in draw.integers(40, 220, 3))
    Image.new("RGB", (64, 36), colour).save(file, "JPEG")
    return file.getvalue()
