"""Resampling of a video's rows to a fixed number, on the host, once per store.

Source: METHOD, inputs 1 and 3, and uniform clips.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

# Added to a row's norm before the division; published value.
NORM_FLOOR = 1e-5


def span_boundaries(length: int, num_spans: int) -> Int[np.ndarray, "spans_plus_one"]:
    """Boundaries of equal spans, `min(round(i * length / num_spans), length - 1)`.

    Halves round to even. For `length >= 1.5 * num_spans` the last row is in no span: kept for
    parity with the published features.
    """
    exact = np.arange(num_spans + 1) * length / num_spans
    return np.minimum(np.rint(exact).astype(np.int64), length - 1)


def resample(
    videos: Sequence[Float[np.ndarray, "_ dim"]], num_rows: int
) -> Float[np.ndarray, "videos rows dim"]:
    """Mean of each of `num_rows` equal spans of every video; an empty span takes its first row.

    Args:
        videos: Raw features, any float type, at least one row each.
        num_rows: Rows wanted of each video.

    Returns:
        float32; row i of a video is the mean of its span i.
    """
    boundaries = np.stack([span_boundaries(len(video), num_rows) for video in videos])
    offsets = np.cumsum([0, *(len(video) for video in videos[:-1])])
    rows = np.concatenate(videos).astype(np.float32, copy=False)
    starts = boundaries + offsets[:, None]
    # reduceat takes rows[start] alone where the next start is not larger: the rule for empty spans.
    sums = np.add.reduceat(rows, starts.reshape(-1), axis=0)
    counts = np.maximum(np.diff(boundaries, axis=1), 1).astype(np.float32)
    return sums.reshape(len(videos), num_rows + 1, -1)[:, :-1] / counts[:, :, None]


def uniform_clips(
    frames: Float[np.ndarray, "videos frames dim"], num_clips: int
) -> tuple[
    Float[np.ndarray, "videos clips dim"],
    Float[np.ndarray, "videos clips"],
    Int[np.ndarray, "videos frames"],
]:
    """Clips as equal spans of frames: features, sizes in frames, and each frame's clip.

    The resampling rule leaves the last frame out of the last span: it counts neither in the
    mean nor in the size, and belongs to the last clip in the map.
    """
    num_videos, num_frames, _ = frames.shape
    boundaries = span_boundaries(num_frames, num_clips)
    frame_to_clip = np.searchsorted(boundaries[1:-1], np.arange(num_frames), side="right")
    sizes = np.maximum(np.diff(boundaries), 1).astype(np.float32)
    return (
        resample(list(frames), num_clips),
        np.tile(sizes, (num_videos, 1)),
        np.tile(frame_to_clip, (num_videos, 1)),
    )


def normalise_rows(rows: Float[np.ndarray, "*batch dim"]) -> Float[np.ndarray, "*batch dim"]:
    """Every row divided by its Euclidean norm plus 1e-5; a zero row stays zero."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: np.ndarray = rows / (norms + NORM_FLOOR)
    return scaled
