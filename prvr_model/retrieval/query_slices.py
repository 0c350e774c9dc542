"""Parts of a split's captions by which papers read their numbers, e.g. short moments.

Source: METHOD, yardsticks of 2026: moment-to-video ratio, video length, query length and type.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from prvr_model.store.reader import StoreSplit

# Upper ends of the parts of moment-to-video ratios: short, middle and long moments. Fixed, so that
# a part means the same on every data set.
RATIO_ENDS = (0.2, 0.4, 1.0)
# A column of more names than these is hardly one of types.
_MOST_TYPES = 8
# Moments of a video that overlap by this intersection over union show the same event.
_SAME_EVENT = 0.5


@dataclass(frozen=True)
class QuerySlice:
    """Captions of a split that are alike in one respect.

    Args:
        kind: The respect, e.g. `video length`.
        part: Which captions, e.g. `up to 76 s`.
        captions: Whether each caption of the split is one of them.
    """

    kind: str
    part: str
    captions: Bool[np.ndarray, "captions"]


def query_slices(split: StoreSplit, seconds_per_row: float | None) -> tuple[QuerySlice, ...]:
    """The slices of a split; captions of which a respect is not known are in none of its parts.

    Moment-to-video ratio (of all moments of a caption together), length of the video (short and
    long half), events of the video (few and many: moments that differ among its captions, or its
    captions where no moments are known), words of the query (short and long half), and type of the
    query where it is named. A respect in which all captions are alike is left out.

    Args:
        split: The split.
        seconds_per_row: Time of a row, for videos whose length is not annotated.
    """
    lengths_s = video_lengths_s(split, seconds_per_row)[split.caption_video]
    words = np.array([len(text.split()) for text in split.caption_texts], np.float64)
    rows = split.num_frames[split.caption_video].astype(np.float64)
    length = (rows, "rows") if np.isnan(lengths_s).all() else (lengths_s, "s")
    found = [
        *_ratio_slices(_moments_s(split) / lengths_s),
        *_halves("video length", *length),
        *_event_slices(split),
        *_halves("words of the query", words, ""),
        *_type_slices(split.query_types),
    ]
    return tuple(found)


def video_lengths_s(
    split: StoreSplit, seconds_per_row: float | None
) -> Float[np.ndarray, "videos"]:
    """Length of each video: as annotated, else its rows' time; NaN where neither is known."""
    lengths = np.array(split.durations_s, np.float64)
    if seconds_per_row is None:
        return lengths
    return np.where(np.isnan(lengths), split.num_frames * seconds_per_row, lengths)


def _moments_s(split: StoreSplit) -> Float[np.ndarray, "captions"]:
    """Seconds that each caption's moments take; NaN where none is known."""
    return np.array(
        [
            sum(end - start for start, end in moments) if len(moments) else np.nan
            for moments in split.moments
        ],
        np.float64,
    )


def _ratio_slices(ratios: Float[np.ndarray, "captions"]) -> list[QuerySlice]:
    kind, low, found = "moment-to-video ratio", 0.0, list[QuerySlice]()
    for end in RATIO_ENDS:
        # What is annotated beyond the end of its video counts as long.
        is_below = ratios <= end if end < RATIO_ENDS[-1] else np.isfinite(ratios)
        found.append(QuerySlice(kind, f"{low:g} to {end:g}", (ratios > low) & is_below))
        low = end
    return _told_apart(found)


def _halves(kind: str, values: Float[np.ndarray, "captions"], unit: str) -> list[QuerySlice]:
    """Captions of small and of large values, cut as near to the middle as equal values allow."""
    known, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    if len(known) < 2:
        return []
    shares = np.cumsum(counts)[:-1] / counts.sum()
    middle = float(known[np.abs(shares - 0.5).argmin()])
    label = f"{middle:.4g} {unit}".strip()
    return _told_apart(
        [
            QuerySlice(kind, f"up to {label}", values <= middle),
            QuerySlice(kind, f"more than {label}", values > middle),
        ]
    )


def _event_slices(split: StoreSplit) -> list[QuerySlice]:
    if not any(map(len, split.moments)):
        counts = np.bincount(split.caption_video, minlength=len(split.video_ids))
        return _halves("captions of the video", counts[split.caption_video].astype(np.float64), "")
    spans: list[list[Sequence[float]]] = [[] for _ in split.video_ids]
    for video, moments in zip(split.caption_video.tolist(), split.moments, strict=True):
        spans[video] += moments
    events = np.array([_num_events(of_video) or np.nan for of_video in spans])
    return _halves("events of the video", events[split.caption_video], "")


def _num_events(moments: Sequence[Sequence[float]]) -> int:
    """Number of moments, each of which differs from those that were counted before it."""
    kept: list[Sequence[float]] = []
    for start, end in sorted((start, end) for start, end in moments):
        overlaps = (
            max(0.0, min(end, last) - max(start, first)) / (max(end, last) - min(start, first))
            for first, last in kept
        )
        if not any(overlap >= _SAME_EVENT for overlap in overlaps):
            kept.append((start, end))
    return len(kept)


def _type_slices(types: Sequence[str]) -> list[QuerySlice]:
    """Captions of each named type, the most frequent first."""
    names = [name for name, _ in Counter(filter(None, types)).most_common()]
    of_captions = np.array(types, np.str_)
    if len(names) > _MOST_TYPES:
        return []
    return _told_apart([QuerySlice("query type", name, of_captions == name) for name in names])


def _told_apart(slices: list[QuerySlice]) -> list[QuerySlice]:
    filled = [each for each in slices if each.captions.any()]
    return filled if len(filled) > 1 else []
