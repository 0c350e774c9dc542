"""Sizes at which a trial takes a moment, and batches of random numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from prvr_model.inputs.batching import Batch
from prvr_model.losses.objective import BranchDraws
from prvr_model.losses.triplet import NegativeDraws
from prvr_model.network.model import MscModel
from prvr_model.settings import Settings, build_settings
from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import SyntheticSettings
from prvr_model.store.writer import StoreWriter
from tests.prvr_model.clip_segments import segment_plans

TINY_DATA = SyntheticSettings(
    train_videos=12,
    val_videos=8,
    test_videos=4,
    video_dim=12,
    text_dim=10,
    event_dim=6,
    event_pool=8,
    max_frames=40,
)
VIDEO_DIM, TEXT_DIM = 12, 10


def tiny_settings(**changes: Any) -> Settings:  # noqa: ANN401
    """Settings of a small trial; `training__epochs=2` sets `training.epochs`."""
    values: dict[str, Any] = {
        "model.hidden_size": 16,
        "model.num_frames": 16,
        "model.num_clips": 8,
        "model.merge_ratio": 0.75,
        "model.num_scales": 2,
        "losses.num_levels": 3,
        "losses.smallest_level": 2,
        "training.batch_videos": 5,
        "training.epochs": 4,
        "optimizer.learning_rate": 3e-3,
        "optimizer.schedule_epochs": 20,
    }
    values.update({name.replace("__", "."): value for name, value in changes.items()})
    return build_settings(None, values)


def tiny_model(settings: Settings, dtype: torch.dtype = torch.float32) -> MscModel:
    return MscModel(settings.model, VIDEO_DIM, TEXT_DIM).to(dtype)


def random_batch(
    settings: Settings, captions: list[int], seed: int = 0, dtype: torch.dtype = torch.float32
) -> Batch:
    """A batch of random features with `captions[v]` captions of video v."""
    rng = np.random.default_rng(seed)
    videos, num_clips = len(captions), settings.model.num_clips
    num_frames = settings.model.num_frames
    clips = _unit(rng.standard_normal((videos, num_clips, VIDEO_DIM)))
    sizes = np.full((videos, num_clips), num_frames // num_clips, np.float32)
    plans = segment_plans(clips, sizes, settings.segment_levels)
    levels = rng.integers(plans.shape[1], size=videos)
    lengths = rng.integers(1, 7, size=sum(captions))
    valid = np.arange(lengths.max()) < lengths[:, None]
    tokens = _unit(rng.standard_normal((*valid.shape, TEXT_DIM))) * valid[:, :, None]

    def real(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(dtype)

    return Batch(
        frames=real(_unit(rng.standard_normal((videos, num_frames, VIDEO_DIM)))),
        clips=real(clips),
        clip_sizes=real(sizes),
        frame_to_clip=torch.arange(num_frames)
        .div(num_frames // num_clips, rounding_mode="floor")
        .repeat(videos, 1),
        segment_of_clip=torch.from_numpy(plans[np.arange(videos), levels]),
        tokens=real(tokens),
        tokens_valid=torch.from_numpy(valid),
        teacher=real(tokens[np.arange(len(lengths)), lengths - 1]),
        video_of_caption=torch.from_numpy(np.repeat(np.arange(videos), captions)),
    )


def random_draws(batch: Batch, seed: int = 0) -> BranchDraws:
    generator = torch.Generator().manual_seed(seed)
    draws = [
        NegativeDraws(
            torch.rand(len(batch.tokens), generator=generator),
            torch.rand(len(batch.frames), generator=generator),
        )
        for _ in range(2)
    ]
    return BranchDraws(*draws)


def write_labelled(source: FeatureStore, path: Path) -> Path:
    """A copy of a store where the first caption of each video is right for the next one as well."""
    dims = {"video_dim": source.manifest.video_dim, "text_dim": source.manifest.text_dim}
    with StoreWriter(path, name="labelled", **dims) as writer:
        for name in source.manifest.splits:
            split = source.split(name)
            for row, video in enumerate(split.video_ids):
                writer.add_video(name, video, split.frames(row), 10.0 + row)
            firsts = set(np.unique(split.caption_video, return_index=True)[1].tolist())
            for row, owner in enumerate(split.caption_video.tolist()):
                own, other = (split.video_ids[(owner + k) % len(split.video_ids)] for k in range(2))
                known = CaptionAnnotation(relevant=[own, other] if row in firsts else [own])
                texts = split.caption_ids[row], own, split.caption_texts[row]
                writer.add_caption(name, *texts, split.tokens(row), known)
    return path


def ignored_pairs(batch: Batch) -> torch.Tensor:
    """Every second caption is ignored by the next video, the last one by all videos."""
    owners, videos = batch.video_of_caption, batch.spread.videos.total
    pairs = torch.zeros(len(owners), videos, dtype=torch.bool)
    pairs[torch.arange(0, len(owners), 2), (owners[::2] + 1) % videos] = True
    pairs[-1] = True
    pairs[torch.arange(len(owners)), owners] = False
    return pairs


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return unit.astype(np.float32)
