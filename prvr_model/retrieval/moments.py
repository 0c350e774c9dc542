"""The spans of a video that answer a query: windows in seconds from clip and frame scores.

The winning clip alone is a poor window: OP-ToMe merges the frames that are alike, at most eight, so
a clip ends where it is full and not where the moment ends. Here a clip's ends are refined:

* A frame's score is the fused one, 0.4 of its clip's cosine and 0.6 of its own: the clip steadies
  the frame, the frame says where in the clip the moment is.
* What a frame scores above a level speaks for it, what it lacks speaks against it. A window is the
  span in which this excess has the largest sum, so it reaches over a short dip only where more lies
  beyond than the dip costs. The level lies between the mean of the video's frames, which no
  constant could follow from query to query, and their maximum.
* The next window is the span of the largest sum among the frames that are left. Candidates that
  would overlap have merged by then: windows of one pair never share a frame, and no two of them
  would be better as one. (They are the maximal segments of Ruzzo and Tompa 1999.)

Tuned on the train and val splits of `tvr_mini` alone. At IoU 0.5 in the right video, in percent of
val's captions: this 19.4, the plain clip 4.6, the middle third 3.5, the whole video 2.1; grown from
the winning clip's best frame instead of from any clip 15.8; with smoothed frame scores 19.1.

Source: METHOD, moments; the refinement is ours.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from prvr_model.inputs.resampling import span_boundaries


@dataclass(frozen=True)
class Window:
    """A span of a video that may show what a query says.

    Args:
        start_s: Its start in seconds.
        end_s: Its end.
        score: Share of the video's evidence for the query that it holds, in [0, 1]: of all that
            frames score above the level. It compares windows of one video.
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
    """How clips become windows; the defaults are the best on train and val of `tvr_mini`.

    Args:
        level: Where the level lies that frames must exceed, from the mean of the video's frames (0)
            to the best of them (1). Higher: shorter windows.
        clip_share: Share of its clip's cosine in a frame's score.
    """

    level: float = 0.15
    clip_share: float = 0.4


TUNED = Refinement()
# Scores that vary less say nothing about where to look; rounding of float32 cosines is smaller.
_FLAT = 1e-6


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
    scores: PairScores, num_windows: int = 1, refinement: Refinement = TUNED
) -> tuple[tuple[Window, ...], ...]:
    """The best windows of each pair of query and video, best first; no two share a frame.

    Args:
        scores: Scores of the pairs.
        num_windows: Windows wanted of each pair.
        refinement: How clips become windows.

    Returns:
        A tuple for each pair, of one window or more, fewer than wanted where no more frames exceed
        the level. The only window of a pair whose scores are all equal is the whole video.
    """
    found = window_arrays(scores, num_windows, refinement)
    return tuple(
        tuple(Window(*values) for values in zip(*pair, strict=True) if values[2] >= 0)
        for pair in zip(
            found.starts_s.tolist(), found.ends_s.tolist(), found.scores.tolist(), strict=True
        )
    )


@dataclass(frozen=True)
class WindowArrays:
    """Windows of many pairs, best first; all NaN where a pair has no more."""

    starts_s: Float[np.ndarray, "pairs windows"]
    ends_s: Float[np.ndarray, "pairs windows"]
    scores: Float[np.ndarray, "pairs windows"]


def window_arrays(
    scores: PairScores, num_windows: int, refinement: Refinement = TUNED
) -> WindowArrays:
    """The best windows of each pair of query and video as arrays; see `windows`."""
    num_pairs, num_frames = scores.frames.shape
    excess, is_flat = _excess(scores, refinement)
    evidence = np.maximum(excess, 0).sum(axis=1)
    # No sum of excesses makes up for a frame that is taken.
    taken = -(np.abs(excess).sum(axis=1) + 1)
    found = np.full((3, num_pairs, num_windows), np.nan)
    for place in range(num_windows):
        first, last, gain = _largest_spans(excess)
        if place == 0:
            first, last = np.where(is_flat, 0, first), np.where(is_flat, num_frames - 1, last)
        exists = (gain > 0) & ~is_flat | is_flat & (place == 0)
        values = (*_seconds(scores.times, first, last), gain / np.maximum(evidence, _FLAT))
        found[:, :, place] = np.where(exists, values, np.nan)
        frames = np.arange(num_frames)
        inside = (frames >= first[:, None]) & (frames <= last[:, None])
        excess = np.where(inside, taken[:, None], excess)
    return WindowArrays(*found)


def plain_clips(scores: PairScores) -> WindowArrays:
    """The span of each pair's best clip as its only window: what refinement must beat."""
    best = scores.clips.argmax(axis=1)
    inside = scores.frame_to_clip == best[:, None]
    first, last = inside.argmax(axis=1), inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    starts, ends = _seconds(scores.times, first, last)
    return WindowArrays(starts[:, None], ends[:, None], scores.clips.max(axis=1)[:, None])


def _excess(
    scores: PairScores, refinement: Refinement
) -> tuple[Float[np.ndarray, "pairs frames"], Bool[np.ndarray, "pairs"]]:
    """What each frame's fused score exceeds the level by; and pairs whose scores are all equal."""
    clips = np.take_along_axis(scores.clips, scores.frame_to_clip, axis=1).astype(np.float64)
    share = refinement.clip_share
    # A score that is not finite speaks against its frame.
    fused = np.nan_to_num(share * clips + (1 - share) * scores.frames, nan=-1, posinf=1, neginf=-1)
    mean, best = fused.mean(axis=1), fused.max(axis=1)
    level = mean + refinement.level * (best - mean)
    return fused - level[:, None], best - mean <= _FLAT


def _largest_spans(
    values: Float[np.ndarray, "pairs frames"],
) -> tuple[Int[np.ndarray, "pairs"], Int[np.ndarray, "pairs"], Float[np.ndarray, "pairs"]]:
    """First and last frame of the span with the largest sum of each pair, and the sum."""
    until = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    gains = until[:, 1:] - np.minimum.accumulate(until[:, :-1], axis=1)
    last = gains.argmax(axis=1)
    before = np.arange(until.shape[1]) <= last[:, None]
    first = np.where(before, until, np.inf).argmin(axis=1)
    return first, last, gains[np.arange(len(values)), last]


def _seconds(
    times: FrameTimes, first: Int[np.ndarray, "pairs"], last: Int[np.ndarray, "pairs"]
) -> tuple[Float[np.ndarray, "pairs"], Float[np.ndarray, "pairs"]]:
    pairs = np.arange(len(first))
    return times.starts_s[pairs, first], times.ends_s[pairs, last]
