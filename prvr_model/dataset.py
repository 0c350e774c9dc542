"""A split prepared for the model: resampled frames, clips, segments and caption tokens.

Source: the MSC paper, inputs, OP-ToMe and CBVA's plans. All arrays are mapped from `frozen_cache`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from prvr_model.feature_store import FeatureStore, StoreSplit
from prvr_model.frozen_cache import Arrays, ArrayWriter, FrozenCache
from prvr_model.resampling import normalise_rows, resample, uniform_clips
from prvr_model.settings import ModelSettings, Settings
from prvr_model.token_merging import (
    choose_levels,
    merge_neighbours,
    segment_plans,
    spanning_tree_weights,
)

# Videos or captions prepared at once: large enough to vectorise over, and few enough that their
# arrays (0.4 MB a video) stay in the processor's cache from step to step.
_CHUNK = 16
# The losses, and so CBVA's segments, are for this split; others are only evaluated.
_TRAINED = "train"


@dataclass(frozen=True)
class PreparedSplit:
    """Arrays of a split; rows of `frames`, `clips` and `tokens` have norm 1.

    Args:
        frames: Resampled frames.
        clips: Merged clips.
        clip_sizes: Frames in each clip.
        frame_to_clip: Clip of each frame.
        segment_of_clip: CBVA segment of each clip at the video's level; each clip its own
            where the term is off or the split is not trained on.
        tokens: Token features of all captions, one after the other.
        token_offsets: First token of each caption, and the end.
        caption_video: Video of each caption.
        caption_order: Captions sorted by video.
        caption_starts: First caption of each video in `caption_order`, and the end.
    """

    frames: Float[np.ndarray, "videos frames dim"]
    clips: Float[np.ndarray, "videos clips dim"]
    clip_sizes: Float[np.ndarray, "videos clips"]
    frame_to_clip: Int[np.ndarray, "videos frames"]
    segment_of_clip: Int[np.ndarray, "videos clips"]
    tokens: Float[np.ndarray, "tokens text_dim"]
    token_offsets: Int[np.ndarray, "captions_plus_one"]
    caption_video: Int[np.ndarray, "captions"]
    caption_order: Int[np.ndarray, "captions"]
    caption_starts: Int[np.ndarray, "videos_plus_one"]

    @property
    def num_videos(self) -> int:
        """Number of videos."""
        return len(self.frames)

    @property
    def num_captions(self) -> int:
        """Number of captions."""
        return len(self.caption_video)

    def captions_of(self, videos: Int[np.ndarray, "batch"]) -> Int[np.ndarray, "captions"]:
        """Captions of some videos, each video's one after the other, in the videos' order."""
        starts, ends = self.caption_starts[videos], self.caption_starts[videos + 1]
        counts = ends - starts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        captions: np.ndarray = self.caption_order[np.repeat(starts, counts) + within]
        return captions


def prepare_split(store: FeatureStore, name: str, settings: Settings) -> PreparedSplit:
    """Prepare a split, or map what was prepared before.

    Raises:
        StoreError: The store has no such split.
    """
    split = store.split(name)
    cache = FrozenCache(store.path, store.manifest.fingerprint)
    dims = store.manifest.video_dim, store.manifest.text_dim
    frames = _cached_frames(cache, split, settings.model, dims[0])
    clips = _cached_clips(cache, split, settings.model, dims[0])
    tokens = _cached_tokens(cache, split, settings.model.max_caption_tokens, dims[1])
    order = np.argsort(split.caption_video, kind="stable")
    counts = np.bincount(split.caption_video, minlength=len(split.video_ids))
    return PreparedSplit(
        frames=frames["frames"],
        clips=clips["clips"],
        clip_sizes=clips["sizes"],
        frame_to_clip=clips["frame_to_clip"],
        segment_of_clip=_segments(cache, split, settings, clips),
        tokens=tokens["tokens"],
        token_offsets=tokens["offsets"],
        caption_video=np.asarray(split.caption_video),
        caption_order=order,
        caption_starts=np.concatenate([[0], np.cumsum(counts)]),
    )


def _cached_frames(
    cache: FrozenCache, split: StoreSplit, settings: ModelSettings, video_dim: int
) -> Arrays:
    """Resampled and normalised frames."""
    num_frames = settings.num_frames

    def build(writer: ArrayWriter) -> None:
        shape = (len(split.video_ids), num_frames, video_dim)
        frames = writer.create("frames", shape, np.float32)
        for chunk in _chunks(len(frames)):
            frames[chunk] = normalise_rows(_resampled(split, chunk, num_frames))

    return cache.arrays("frames", {"split": split.name, "num_frames": num_frames}, build)


def _resampled(
    split: StoreSplit, videos: slice, num_frames: int
) -> Float[np.ndarray, "videos frames dim"]:
    """Resampled raw frames of some videos; made anew where wanted, which is faster than reading."""
    return resample([split.frames(v) for v in range(videos.start, videos.stop)], num_frames)


def _merge_key(split: StoreSplit, settings: ModelSettings) -> dict[str, object]:
    targets = settings.merge_targets if settings.clips == "op_tome" else None
    return {
        "split": split.name,
        "num_frames": settings.num_frames,
        "clips": settings.clips,
        "num_clips": settings.num_clips,
        "targets": targets,
    }


def _cached_clips(
    cache: FrozenCache, split: StoreSplit, settings: ModelSettings, video_dim: int
) -> Arrays:
    """Normalised clips, their sizes and frame maps."""

    def build(writer: ArrayWriter) -> None:
        num_videos, num_frames = len(split.video_ids), settings.num_frames
        num_clips = settings.num_clips
        clips = writer.create("clips", (num_videos, num_clips, video_dim), np.float32)
        sizes = writer.create("sizes", (num_videos, num_clips), np.float32)
        frame_to_clip = writer.create("frame_to_clip", (num_videos, num_frames), np.int64)
        tree = writer.create("tree", (num_videos, num_clips - 1), np.float64)
        for chunk in _chunks(num_videos):
            merged = _merge(_resampled(split, chunk, num_frames), settings)
            clips[chunk] = normalise_rows(merged[0])
            sizes[chunk], frame_to_clip[chunk] = merged[1:]
            tree[chunk] = spanning_tree_weights(clips[chunk])

    return cache.arrays("clips", _merge_key(split, settings), build)


def _merge(
    raw: Float[np.ndarray, "videos frames dim"], settings: ModelSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if settings.clips == "uniform":
        return uniform_clips(raw, settings.num_clips)
    merged = merge_neighbours(raw, settings.merge_targets)
    return merged.features, merged.sizes, merged.frame_to_clip


def _segments(
    cache: FrozenCache, split: StoreSplit, settings: Settings, clips: Arrays
) -> Int[np.ndarray, "videos clips"]:
    """Segment of each clip at the level that the video's connectivity chooses."""
    num_videos, num_clips = clips["sizes"].shape
    if split.name != _TRAINED or not settings.losses.uses_cbva:
        return np.tile(np.arange(num_clips), (num_videos, 1))
    levels = settings.segment_levels

    def build(writer: ArrayWriter) -> None:
        plans = writer.create("plans", (num_videos, len(levels), num_clips), np.int64)
        tree = writer.create("tree", (num_videos, num_clips - 1), np.float64)
        for chunk in _chunks(num_videos):
            tree[chunk] = spanning_tree_weights(clips["clips"][chunk])
            plans[chunk] = segment_plans(clips["clips"][chunk], clips["sizes"][chunk], levels)

    key = {**_merge_key(split, settings.model), "levels": levels}
    made = cache.arrays("segments", key, build)
    chosen = choose_levels(made["tree"], settings.losses.tau, len(levels))
    return np.asarray(made["plans"][np.arange(num_videos), chosen])


def _cached_tokens(cache: FrozenCache, split: StoreSplit, max_tokens: int, text_dim: int) -> Arrays:
    """Normalised token features, cut to the maximum length, and the captions' offsets."""

    def build(writer: ArrayWriter) -> None:
        lengths = np.minimum(split.num_tokens, max_tokens)
        offsets = writer.create("offsets", (len(lengths) + 1,), np.int64)
        offsets[1:] = np.cumsum(lengths)
        tokens = writer.create("tokens", (int(offsets[-1]), text_dim), np.float32)
        for chunk in _chunks(len(lengths)):
            rows = [
                split.tokens(caption)[:max_tokens] for caption in range(chunk.start, chunk.stop)
            ]
            part = slice(int(offsets[chunk.start]), int(offsets[chunk.stop]))
            tokens[part] = normalise_rows(np.concatenate(rows).astype(np.float32, copy=False))

    return cache.arrays("tokens", {"split": split.name, "max_tokens": max_tokens}, build)


def _chunks(total: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, total)) for start in range(0, total, _CHUNK))
