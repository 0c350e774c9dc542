"""How well windows meet the moments that a store knows, beside baselines that know nothing.

Source: METHOD, moments: recall at an intersection over union given the right video, the same in the
ranked corpus (VCMR), the mean intersection over union; whole video and middle third beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from prvr_model.inputs.prepared_split import PreparedSplit
from prvr_model.network.model import EncodedVideos
from prvr_model.retrieval.moments import (
    TUNED,
    PairScores,
    Refinement,
    WindowArrays,
    frame_times,
    plain_clips,
    window_arrays,
)
from prvr_model.retrieval.query_slices import video_lengths_s
from prvr_model.store.reader import StoreSplit

THRESHOLDS = (0.3, 0.5, 0.7)
"""Intersections over union that a window must reach."""
NUM_WINDOWS = 5
CORPUS_DEPTHS = (1, 5, 10)
WINDOW, CLIP, MIDDLE, WHOLE = "window", "clip", "middle", "whole"
"""What is compared: the refined window, the best clip's span, the middle third, the whole video."""

# Captions whose video's rows are gathered at once; bounds memory.
_BLOCK = 128


@dataclass(frozen=True)
class MomentOutcomes:
    """What every caption with a known moment got.

    Args:
        captions: Rows of the captions in the split.
        videos: Row of each one's video.
        best_window: Intersection over union of its best window, by what is compared.
        any_window: The largest among the first `NUM_WINDOWS` refined windows.
        ranks: Rank of its own video in the corpus, from 1.
    """

    captions: Int[np.ndarray, "captions"]
    videos: Int[np.ndarray, "captions"]
    best_window: Mapping[str, Float[np.ndarray, "captions"]]
    any_window: Float[np.ndarray, "captions"]
    ranks: Int[np.ndarray, "captions"]

    def metrics(self) -> dict[str, float]:
        """Percentages by name.

        `<what>/R1_iou_<t>` and `<what>/mIoU` for what is compared; `window/R5_iou_<t>`; and
        `corpus/R<k>_iou_<t>`: the right video is among the first k and its best window meets t.
        """
        found: dict[str, float] = {}
        for what, overlaps in self.best_window.items():
            found |= {f"{what}/R1_iou_{t}": _percent(overlaps >= t) for t in THRESHOLDS}
            found[f"{what}/mIoU"] = _percent(overlaps)
        found |= {
            f"{WINDOW}/R{NUM_WINDOWS}_iou_{t}": _percent(self.any_window >= t) for t in THRESHOLDS
        }
        for depth in CORPUS_DEPTHS:
            within = self.ranks <= depth
            found |= {
                f"corpus/R{depth}_iou_{t}": _percent(within & (self.best_window[WINDOW] >= t))
                for t in THRESHOLDS
            }
        return found


def moment_outcomes(
    split: StoreSplit,
    prepared: PreparedSplit,
    encoded: tuple[Float[Tensor, "captions hidden"], EncodedVideos],
    ranks: Int[np.ndarray, "captions"],
    seconds_per_row: float | None = None,
    refinement: Refinement = TUNED,
) -> MomentOutcomes | None:
    """Windows of all captions in their own videos, against the known moments.

    Args:
        split: The split's moments and lengths.
        prepared: The same split, prepared.
        encoded: Its query vectors and gallery, of norm 1.
        ranks: Rank of each caption's own video, from 1.
        seconds_per_row: Time of a row, for videos whose length is not annotated.
        refinement: How clips become windows.

    Returns:
        None if no caption has a moment in a video of known length.
    """
    lengths = video_lengths_s(split, seconds_per_row)
    owners = np.asarray(split.caption_video)
    has_moment = np.array([bool(len(moments)) for moments in split.moments], bool)
    captions = np.flatnonzero(has_moment & np.isfinite(lengths[owners]))
    if not len(captions):
        return None
    videos, moments = owners[captions], [split.moments[caption] for caption in captions.tolist()]
    scores = _own_scores(prepared, encoded, captions, split.num_frames, lengths)
    refined = window_arrays(scores, NUM_WINDOWS, refinement)
    compared = {
        WINDOW: refined,
        CLIP: plain_clips(scores),
        MIDDLE: _fixed(lengths[videos], 1 / 3, 2 / 3),
        WHOLE: _fixed(lengths[videos], 0, 1),
    }
    overlaps = {what: window_overlaps(found, moments) for what, found in compared.items()}
    return MomentOutcomes(
        captions=captions,
        videos=videos,
        best_window={what: found[:, 0] for what, found in overlaps.items()},
        any_window=overlaps[WINDOW].max(axis=1),
        ranks=ranks[captions],
    )


def window_overlaps(
    found: WindowArrays, moments: Sequence[Sequence[Sequence[float]]]
) -> Float[np.ndarray, "pairs windows"]:
    """Intersection over union of each window with the moment that it meets best.

    Args:
        found: Windows; one that does not exist meets nothing.
        moments: Start and end of each pair's moments, one or more.
    """
    widest = max(map(len, moments))
    padded = [[*spans, *[spans[0]] * (widest - len(spans))] for spans in moments]
    starts, ends = np.moveaxis(np.array(padded, np.float64), 2, 0)[:, :, None, :]
    first, last = found.starts_s[:, :, None], found.ends_s[:, :, None]
    shared = np.maximum(np.minimum(last, ends) - np.maximum(first, starts), 0)
    joint = (last - first) + (ends - starts) - shared
    overlaps: np.ndarray = np.nan_to_num((shared / joint).max(axis=2))
    return overlaps


def _own_scores(
    prepared: PreparedSplit,
    encoded: tuple[Tensor, EncodedVideos],
    captions: Int[np.ndarray, "pairs"],
    num_rows: Int[np.ndarray, "videos"],
    lengths_s: Float[np.ndarray, "videos"],
) -> PairScores:
    """Scores of captions with the rows of their own videos."""
    queries, gallery = encoded
    videos = np.asarray(prepared.caption_video)[captions]
    clips, frames = (
        _products(queries, rows, captions, videos) for rows in (gallery.clips, gallery.frames)
    )
    times = frame_times(num_rows, frames.shape[1], lengths_s).of(videos)
    return PairScores(clips, frames, np.asarray(prepared.frame_to_clip)[videos], times)


def _products(
    queries: Float[Tensor, "captions hidden"],
    rows: Float[Tensor, "videos rows hidden"],
    captions: Int[np.ndarray, "pairs"],
    videos: Int[np.ndarray, "pairs"],
) -> Float[np.ndarray, "pairs rows"]:
    parts = []
    for start in range(0, len(captions), _BLOCK):
        block = slice(start, start + _BLOCK)
        own = rows[torch.from_numpy(videos[block]).to(rows.device)]
        asked = queries[torch.from_numpy(captions[block]).to(rows.device)]
        parts.append(torch.bmm(own, asked[:, :, None])[:, :, 0].float().cpu().numpy())
    return np.concatenate(parts)


def _fixed(lengths_s: Float[np.ndarray, "pairs"], start: float, end: float) -> WindowArrays:
    """The same share of every video."""
    column = lengths_s[:, None]
    return WindowArrays(start * column, end * column, np.ones_like(column))


def _percent(outcomes: np.ndarray) -> float:
    return float(100 * np.mean(outcomes))
