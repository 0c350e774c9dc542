"""The spans of a video that answer a query: windows in seconds from clip and frame scores.

Source: METHOD, moments; the refinement of a window's ends is ours.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from prvr_model.inputs.resampling import span_boundaries


@dataclass(frozen=True)
class Window:
    """A span of a video that may show what a query says.

    Args:
        start_s: Its start in seconds.
        end_s: Its end.
        score: Score of its best place, comparable within one video.
    """

    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True)
class FrameTimes:
    """The time that each frame of some videos shows, in seconds; neighbours may overlap."""

    starts_s: Float[np.ndarray, "videos frames"]
    ends_s: Float[np.ndarray, "videos frames"]

    def of(self, videos: Int[np.ndarray, "pairs"]) -> "FrameTimes":
        """Times of some of the videos, in the order named, repeated where named again."""
        return FrameTimes(self.starts_s[videos], self.ends_s[videos])


@dataclass(frozen=True)
class PairScores:
    """Cosines of queries with the rows of one video each: a row is a pair of query and video.

    Args:
        clips: With the video's clips.
        frames: With its frames.
        frame_to_clip: Clip of each frame, ascending.
        times: What each frame shows.
    """

    clips: Float[np.ndarray, "pairs clips"]
    frames: Float[np.ndarray, "pairs frames"]
    frame_to_clip: Int[np.ndarray, "pairs frames"]
    times: FrameTimes


@dataclass(frozen=True)
class Refinement:
    """How a clip becomes a window; the values are the best on train and val of `tvr_mini`.

    Args:
        level: Where the level lies that frames must exceed, from the mean of the video's frames (0)
            to the best frame of the candidate (1).
        clip_share: Share of the clip's score in a frame's score; the rest is the frame's own.
        overlap: Intersection over union from which two candidates are one.
    """

    level: float = 0.5
    clip_share: float = 0.4
    overlap: float = 0.5


PUBLISHED_REFINEMENT = Refinement()


def frame_times(
    num_rows: Int[np.ndarray, "videos"], num_frames: int, durations_s: Float[np.ndarray, "videos"]
) -> FrameTimes:
    """The time that each resampled frame of a video shows.

    A frame is the mean of a span of the video's rows, or one row if the video has fewer rows than
    frames: it shows the time of these rows. The last row, which resampling leaves out, belongs to
    the last frame.

    Args:
        num_rows: Rows of each video before resampling; they share its duration evenly.
        num_frames: Frames after resampling.
        durations_s: Length of each video.
    """
    boundaries = np.array([span_boundaries(int(rows), num_frames) for rows in num_rows])
    boundaries = boundaries.reshape(len(num_rows), num_frames + 1)
    ends = np.maximum(boundaries[:, 1:], boundaries[:, :-1] + 1)
    ends[:, -1] = num_rows
    row_s = (durations_s / num_rows)[:, None]
    return FrameTimes(boundaries[:, :-1] * row_s, ends * row_s)


def windows(
    scores: PairScores, num_windows: int = 1, refinement: Refinement = PUBLISHED_REFINEMENT
) -> tuple[tuple[Window, ...], ...]:
    """The best windows of each pair of query and video, best first.

    Args:
        scores: Scores of the pairs.
        num_windows: Windows wanted of each pair.
        refinement: How a clip becomes a window.

    Returns:
        A tuple for each pair, of one window or more, fewer than wanted where candidates merge.
    """
    found = window_arrays(scores, num_windows, refinement)
    return tuple(
        tuple(
            Window(*map(float, values)) for values in zip(*rows, strict=True) if values[2] > -np.inf
        )
        for rows in zip(found.starts_s, found.ends_s, found.scores, strict=True)
    )


@dataclass(frozen=True)
class WindowArrays:
    """Windows of many pairs, best first; score -inf and times NaN where a pair has no more."""

    starts_s: Float[np.ndarray, "pairs windows"]
    ends_s: Float[np.ndarray, "pairs windows"]
    scores: Float[np.ndarray, "pairs windows"]


def window_arrays(
    scores: PairScores, num_windows: int, refinement: Refinement = PUBLISHED_REFINEMENT
) -> WindowArrays:
    """The best windows of each pair of query and video as arrays; see `windows`."""
    spans = clip_spans(scores.frame_to_clip, scores.clips.shape[1])
    best = scores.clips.argmax(axis=1)
    pairs = np.arange(len(best))
    starts = scores.times.starts_s[pairs, spans[pairs, best, 0]]
    ends = scores.times.ends_s[pairs, spans[pairs, best, 1]]
    return WindowArrays(starts[:, None], ends[:, None], scores.clips[pairs, best][:, None])


def clip_spans(
    frame_to_clip: Int[np.ndarray, "pairs frames"], num_clips: int
) -> Int[np.ndarray, "pairs clips 2"]:
    """First and last frame of each clip."""
    clips = np.arange(num_clips)
    first = (frame_to_clip[:, :, None] < clips).sum(axis=1)
    last = (frame_to_clip[:, :, None] <= clips).sum(axis=1) - 1
    return np.stack([first, last], axis=2)
