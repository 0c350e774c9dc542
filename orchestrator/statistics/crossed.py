"""The mean over crossed seeds and videos, and its error for new seeds and new videos.

All seeds are evaluated on the same videos, so a hard video is hard for every seed, and a bad seed
is bad on every video. Resampling queries within seeds sees neither. Here the variance of the mean
is taken apart as in a two-way layout of random effects:

    between seeds (with each seed's own luck on each video)     / seeds
  + between videos (without that luck, which the first counts)  / videos

Both parts are what resampling seeds and videos together estimates (Owen 2007, The pigeonhole
bootstrap), in closed form and without its excess for few seeds. Videos have different numbers of
queries and weigh by them, as in the metric: the mean is a ratio of sums over videos, and the part
of the videos is the variance of such a ratio (Cochran 1977, Sampling Techniques, chapter 6).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from orchestrator.statistics.outcomes import VideosOfQueries
from orchestrator.statistics.two_part_law import ErrorParts, half_width, two_sided_p


@dataclass(frozen=True)
class Interval:
    """An interval, ends included."""

    low: float
    high: float

    def overlaps(self, value: float) -> bool:
        """Whether a value lies inside."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class CrossedMean:
    """A mean over seeds and videos with the variance of its parts.

    Args:
        mean: Mean over queries and seeds.
        seed_variance: Variance between seeds of a seed's mean over queries; NaN for one seed.
        video_variance: Squared standard error from the videos, which more seeds do not reduce; NaN
            for one video.
        num_seeds: Number of seeds.
        num_videos: Number of videos.
    """

    mean: float
    seed_variance: float
    video_variance: float
    num_seeds: int
    num_videos: int

    @property
    def error_parts(self) -> ErrorParts | None:
        """Parts of the squared standard error; None for one seed or one video."""
        if self.num_seeds < 2 or self.num_videos < 2:
            return None
        return ErrorParts(
            self.seed_variance / self.num_seeds,
            self.num_seeds - 1,
            self.video_variance,
            self.num_videos - 1,
        )

    def interval(self, level: float) -> Interval | None:
        """Interval that misses the mean of new seeds and new videos with probability `level`.

        None for one seed or one video.
        """
        parts = self.error_parts
        return around(self.mean, half_width(parts, level)) if parts else None

    def interval_of_seeds(self, level: float) -> Interval | None:
        """Interval for new seeds on these same videos (Student's); None for one seed."""
        if self.num_seeds < 2:
            return None
        # Without a part of the videos the law is Student's.
        parts = ErrorParts(self.seed_variance / self.num_seeds, self.num_seeds - 1, 0.0, 1)
        return around(self.mean, half_width(parts, level))

    def interval_of_videos(self, level: float) -> Interval | None:
        """Interval for these same seeds, or this one model, on new videos; None for one video."""
        if self.num_videos < 2:
            return None
        parts = ErrorParts(0.0, 1, self.video_variance, self.num_videos - 1)
        return around(self.mean, half_width(parts, level))

    def p_value_of_videos(self) -> float | None:
        """Two-sided p-value of a mean of 0 for these same seeds, or this one model, on new videos.

        Below a level exactly if that interval excludes 0. None for one video, and where nothing
        varies.
        """
        if self.num_videos < 2 or not self.video_variance:
            return None
        return two_sided_p(self.mean, ErrorParts(0.0, 1, self.video_variance, self.num_videos - 1))

    def p_value(self) -> float | None:
        """Two-sided p-value of a mean of 0; below a level exactly if that interval excludes 0.

        None for one seed, for one video, and where nothing varies.
        """
        parts = self.error_parts
        if parts is None or not parts.standard_error:
            return None
        return two_sided_p(self.mean, parts)


def around(middle: float, half: float) -> Interval:
    """Interval from its middle and half its width."""
    return Interval(middle - half, middle + half)


def crossed_mean(
    totals: Float[np.ndarray, "seeds videos"], counts: Float[np.ndarray, "videos"]
) -> CrossedMean:
    """Mean of outcomes over seeds and queries, with its variance split into its parts.

    Args:
        totals: Sum of the outcomes, or of their differences, of each video's queries.
        counts: Queries of each video.

    Returns:
        The mean and its parts; all NaN without a seed.
    """
    num_seeds, num_videos = totals.shape
    if not num_seeds:
        return CrossedMean(np.nan, np.nan, np.nan, 0, num_videos)
    of_seeds = totals.sum(axis=1) / counts.sum()
    seeds = float(of_seeds.var(ddof=1)) if num_seeds > 1 else np.nan
    videos = _video_variance(totals, counts, of_seeds) if num_videos > 1 else np.nan
    return CrossedMean(float(of_seeds.mean()), seeds, videos, num_seeds, num_videos)


def one_model_mean(outcomes: Float[np.ndarray, "queries"], videos: VideosOfQueries) -> CrossedMean:
    """Mean over one model's outcomes of all queries; it has an interval of videos alone."""
    return crossed_mean(videos.totals(outcomes[None]), videos.counts)


def _video_variance(
    totals: Float[np.ndarray, "seeds videos"],
    counts: Float[np.ndarray, "videos"],
    of_seeds: Float[np.ndarray, "seeds"],
) -> float:
    """Squared error from videos, without what each seed's own luck on each video adds to it.

    With totals T[s, v], counts n[v] of N queries, S seeds, V videos, seeds' means m[s], and a dot
    for the mean over an index:

        c V / (V - 1) / N^2,  c = sum_v (T[., v] - n[v] m[.])^2
                                - sum_sv (T[s, v] - T[., v] - n[v] (m[s] - m[.]))^2 / (S (S - 1))
    """
    num_seeds, num_videos = totals.shape
    scale = num_videos / (num_videos - 1) / float(counts.sum()) ** 2
    of_videos = totals.mean(axis=0)
    deviations = of_videos - counts * of_seeds.mean()
    variance = float(scale * (deviations**2).sum())
    if num_seeds == 1:
        return variance
    luck = (totals - of_videos) - np.outer(of_seeds - of_seeds.mean(), counts)
    of_luck = float(scale * (luck**2).sum() / (num_seeds * (num_seeds - 1)))
    return max(0.0, variance - of_luck)
