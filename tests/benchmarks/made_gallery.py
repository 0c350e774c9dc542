"""Galleries of made-up vectors: a video's rows lie around a few events that other videos share."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from prvr_model.network.model import EncodedVideos, MscModel
from prvr_model.network.model_file import model_header
from prvr_model.network.similarity import unit_rows
from prvr_model.retrieval.gallery_encoding import EncodedBlock
from prvr_model.retrieval.gallery_format import GalleryManifest, VectorType, model_of
from prvr_model.retrieval.gallery_writer import create_gallery
from prvr_model.retrieval.moments import FrameTimes
from prvr_model.settings import Settings, build_settings

BLOCK = 256
EVENTS_PER_VIDEO = 6
# Relative to an event's length 1: what one video's view of an event adds, and what a row adds.
VIDEO_NOISE, ROW_NOISE, QUERY_NOISE = 0.7, 0.5, 0.7


def made_settings(hidden: int, num_clips: int, num_frames: int) -> Settings:
    """Settings of the model that a made-up gallery claims to be of."""
    values = {
        "model.hidden_size": hidden,
        "model.num_clips": num_clips,
        "model.num_frames": num_frames,
        "model.merge_ratio": 0.75,
        "model.num_scales": 1,
        "losses.num_levels": 2,
        "losses.smallest_level": max(1, num_clips // 4),
    }
    return build_settings(None, values)


def export_random(folder: Path, settings: Settings, video_dim: int = 8, text_dim: int = 8) -> Path:
    """An exported model that was never trained."""
    folder.mkdir(parents=True)
    model = MscModel(settings.model, video_dim, text_dim)
    (folder / "model.safetensors").write_bytes(save(model.state_dict()))
    header = {**model_header(model, settings), "epoch": 1}
    (folder / "config.json").write_text(json.dumps(header))
    return folder


def events(hidden: int, count: int) -> Tensor:
    """What happens in all videos: the same for the same numbers."""
    return unit_rows(torch.randn(count, hidden, generator=torch.Generator().manual_seed(1)))


def queries(hidden: int, num_events: int, count: int, seed: int = 2) -> Tensor:
    """Query vectors of norm 1, each near an event."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(num_events, (count,), generator=generator)
    noise = torch.randn(count, hidden, generator=generator) / hidden**0.5
    return unit_rows(events(hidden, num_events)[chosen] + QUERY_NOISE * noise)


def make_gallery(
    path: Path, num_videos: int, settings: Settings, dtype: VectorType, num_events: int
) -> GalleryManifest:
    """Write a gallery of made-up vectors."""
    model = settings.model
    export = export_random(path.with_suffix(".model"), settings)
    manifest = GalleryManifest(
        dtype=dtype,
        hidden=model.hidden_size,
        num_clips=model.num_clips,
        num_frames=model.num_frames,
        model=model_of(export, "made up"),
        recipe=None,
        screen=True,
    )
    return create_gallery(path, manifest, export, blocks(num_videos, settings, num_events))


def blocks(
    num_videos: int, settings: Settings, num_events: int, prefix: str = "video"
) -> Iterator[EncodedBlock]:
    """Made-up videos with names of a prefix; their vectors are always the same."""
    model = settings.model
    known = events(model.hidden_size, num_events)
    generator = torch.Generator().manual_seed(3)
    frame_to_clip = np.arange(model.num_frames) * model.num_clips // model.num_frames
    for start in range(0, num_videos, BLOCK):
        count = min(BLOCK, num_videos - start)
        chosen = torch.randint(num_events, (count, EVENTS_PER_VIDEO), generator=generator)
        scale = model.hidden_size**0.5
        noise = torch.randn(count, EVENTS_PER_VIDEO, model.hidden_size, generator=generator)
        seen = known[chosen] + VIDEO_NOISE * noise / scale
        clips, frames = (
            _rows(seen, rows, generator) for rows in (model.num_clips, model.num_frames)
        )
        ends = np.tile(np.arange(1, model.num_frames + 1, dtype=np.float64), (count, 1))
        yield EncodedBlock(
            names=[f"{prefix}-{number:07d}" for number in range(start, start + count)],
            durations_s=np.full(count, float(model.num_frames)),
            times=FrameTimes(ends - 1, ends),
            clip_of_frame=np.tile(frame_to_clip, (count, 1)),
            thumbnails=[None] * count,
            vectors=EncodedVideos(clips, frames),
        )


def _rows(seen: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """Vectors of a video, event after event."""
    event_of_row = torch.arange(rows) * seen.shape[1] // rows
    noise = torch.randn(len(seen), rows, seen.shape[2], generator=generator)
    return unit_rows(seen[:, event_of_row] + ROW_NOISE * noise / seen.shape[2] ** 0.5)
