"""Resampling of a video's rows to a fixed number, on the host, once per store.

Source: the MSC paper, inputs; uniform clips are its baseline.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from prvr_model.inputs.buffers import ReusedMemory

# Spans of more rows are summed by numpy, which adds them in another order.
_FEW_ROWS = 8
# Rows that are normalised at once: they stay in the processor's cache.
_BLOCK_ROWS = 128
# torch splits work on 2^15 values and more among threads, which on a busy machine wait for one
# another longer than the work takes.
_PIECE = (1 << 15) - 1
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
    videos: Sequence[Float[np.ndarray, "_ dim"]],
    num_rows: int,
    memory: ReusedMemory | None = None,
) -> Float[np.ndarray, "videos rows dim"]:
    """Mean of each of `num_rows` equal spans of every video; an empty span takes its first row.

    Args:
        videos: Raw features, any float type, at least one row each.
        num_rows: Rows wanted of each video.
        memory: Memory of the result, which is valid until it is used for other videos; without
            it, new memory.

    Returns:
        float32; row i of a video is the mean of its span i.
    """
    shape = (len(videos), num_rows, videos[0].shape[1])
    resampled = (memory or ReusedMemory()).array("resampled", shape, np.float32)
    # One video at a time: it stays in the processor's cache.
    for video, rows in zip(videos, resampled, strict=True):
        _resample_one(video, rows)
    return resampled


def _resample_one(video: Float[np.ndarray, "_ dim"], rows: Float[np.ndarray, "rows dim"]) -> None:
    """Fill `rows` with the means of a video's spans.

    `np.add.reduceat` does it in one line, but ten times slower: it takes a span and a column at a
    time. Here the first rows of all spans are added at once, then the second ones, and so on.
    """
    boundaries = span_boundaries(len(video), len(rows))
    counts = np.maximum(np.diff(boundaries), 1)
    if counts.max() > _FEW_ROWS:
        sums = np.add.reduceat(video.astype(np.float32, copy=False), boundaries, axis=0)[:-1]
        np.divide(sums, counts[:, None].astype(np.float32), out=rows)
        return
    widen(video.take(boundaries[:-1], axis=0), rows)
    longer = np.flatnonzero(counts > 1)
    if not len(longer):
        return
    starts, lengths = boundaries[longer], counts[longer]
    # The other rows are added first, then the first row: the order of `reduceat`, so that the last
    # bits of a video's numbers do not depend on its length.
    others = np.empty((len(longer), rows.shape[1]), np.float32)
    widen(video.take(starts + 1, axis=0), others)
    for step in range(2, lengths.max()):
        reaching = np.flatnonzero(lengths > step)
        others[reaching] += video[starts[reaching] + step]
    others += rows.take(longer, axis=0)
    others /= lengths[:, None].astype(np.float32)
    rows[longer] = others


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


def widen(values: Float[np.ndarray, "*shape"], out: Float[np.ndarray, "*shape"]) -> None:
    """Copy contiguous values of any float type into a contiguous float32 array.

    numpy converts float16 one value at a time, torch with the processor's own instruction.
    """
    if values.dtype != np.float16:
        out[...] = values
        return
    source, target = torch.from_numpy(values).view(-1), torch.from_numpy(out).view(-1)
    for part, wide_part in zip(source.split(_PIECE), target.split(_PIECE), strict=True):
        wide_part.copy_(part)


def normalise_rows(
    rows: Float[np.ndarray, "*batch dim"], out: Float[np.ndarray, "*batch dim"] | None = None
) -> Float[np.ndarray, "*batch dim"]:
    """Every row divided by its Euclidean norm plus 1e-5; a zero row stays zero.

    Args:
        rows: Any float type.
        out: Contiguous memory of the result, perhaps `rows` itself; without it, new memory.
    """
    scaled = np.empty_like(rows) if out is None else out
    flat, flat_scaled = (part.reshape(-1, rows.shape[-1]) for part in (rows, scaled))
    squares = np.empty((min(len(flat), _BLOCK_ROWS), rows.shape[-1]), rows.dtype)
    for start in range(0, len(flat), _BLOCK_ROWS):
        block = flat[start : start + _BLOCK_ROWS]
        # np.linalg.norm gives the same but makes two more copies.
        norms = np.add.reduce(np.multiply(block, block, out=squares[: len(block)]), axis=-1)
        norms = np.sqrt(norms, out=norms)
        norms += NORM_FLOOR
        np.divide(block, norms[:, None], out=flat_scaled[start : start + _BLOCK_ROWS])
    return scaled
