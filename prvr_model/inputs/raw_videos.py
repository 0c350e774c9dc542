"""Raw features of a video become frames and clips, as preparation, evaluation and galleries do."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from prvr_model.inputs.buffers import ReusedMemory
from prvr_model.inputs.resampling import normalise_rows, resample, uniform_clips
from prvr_model.inputs.token_merging import merge_neighbours
from prvr_model.settings import ModelSettings

CHUNK = 16
"""Videos prepared at once: enough to vectorise over what is small, and few enough that their arrays
(0.4 MB a video) stay near the processor from step to step."""


@dataclass(frozen=True)
class VideoInputs:
    """Inputs of the video branches; rows of `frames` and `clips` have norm 1.

    Args:
        frames: Resampled frames.
        clips: Merged clips.
        clip_sizes: Frames in each clip.
        frame_to_clip: Clip of each frame, ascending.
    """

    frames: Float[np.ndarray, "videos frames dim"]
    clips: Float[np.ndarray, "videos clips dim"]
    clip_sizes: Float[np.ndarray, "videos clips"]
    frame_to_clip: Int[np.ndarray, "videos frames"]


def video_inputs(
    videos: Sequence[Float[np.ndarray, "_ dim"]], settings: ModelSettings
) -> VideoInputs:
    """Frames and clips of some videos, at least one; those of `prepare_split` in every bit.

    Args:
        videos: Raw features, any float type, at least one row each.
        settings: Numbers of frames and clips, and how clips are made.
    """
    parts = [
        _inputs(videos[start : start + CHUNK], settings) for start in range(0, len(videos), CHUNK)
    ]
    names = ("frames", "clips", "clip_sizes", "frame_to_clip")
    return VideoInputs(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )


def _inputs(videos: Sequence[np.ndarray], settings: ModelSettings) -> VideoInputs:
    raw = resample(videos, settings.num_frames)
    frames = normalise_rows(raw)
    return VideoInputs(frames, *merged_clips(raw, settings, ReusedMemory()))


def merged_clips(
    raw: Float[np.ndarray, "videos frames dim"], settings: ModelSettings, memory: ReusedMemory
) -> tuple[
    Float[np.ndarray, "videos clips dim"],
    Float[np.ndarray, "videos clips"],
    Int[np.ndarray, "videos frames"],
]:
    """Normalised clips, the frames in each, and each frame's clip.

    Args:
        raw: Resampled frames, not normalised.
        settings: How clips are made.
        memory: Memory of the work.
    """
    if settings.clips == "uniform":
        clips, sizes, frame_to_clip = uniform_clips(raw, settings.num_clips)
    else:
        merged = merge_neighbours(raw, settings.merge_targets, memory)
        clips, sizes, frame_to_clip = merged.features, merged.sizes, merged.frame_to_clip
    return normalise_rows(clips, clips), sizes, frame_to_clip
