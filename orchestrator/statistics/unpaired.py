"""A difference of two variants whose runs are not paired by seed.

Seeds differ, so each side's variance between seeds counts in full. The videos may still be the
same: what makes a video hard for both then cancels, as it does between paired runs. Where videos
differ too, each side's variance between videos counts in full as well.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from orchestrator.statistics.crossed import CrossedMean, Interval, around
from orchestrator.statistics.two_part_law import ErrorParts, half_width, two_sided_p


@dataclass(frozen=True)
class UnpairedDifference:
    """A difference of two means and how far it may be from that of new seeds and new videos.

    Args:
        mean: Mean of the variant minus that of the reference.
        parts: Parts of the squared standard error, of seeds and of videos; None if a side has a
            single seed, or a split a single video.
    """

    mean: float
    parts: ErrorParts | None

    def interval(self, level: float) -> Interval | None:
        """Interval that misses the true difference with probability `level` or less.

        None for one seed or one video.
        """
        return around(self.mean, half_width(self.parts, level)) if self.parts else None

    def p_value(self) -> float | None:
        """Two-sided p-value of no difference; None for one seed or video, or without variation."""
        if self.parts is None or not self.parts.standard_error:
            return None
        return two_sided_p(self.mean, self.parts)


def of_other_videos(variant: CrossedMean, reference: CrossedMean) -> UnpairedDifference:
    """Difference of means that share neither seeds nor videos."""
    videos = variant.video_variance + reference.video_variance
    freedom = min(variant.num_videos, reference.num_videos) - 1
    return _difference(variant, reference, videos, freedom)


def of_same_videos(
    variant: Float[np.ndarray, "seeds videos"],
    reference: Float[np.ndarray, "other_seeds videos"],
    counts: Float[np.ndarray, "videos"],
    means: tuple[CrossedMean, CrossedMean],
) -> UnpairedDifference:
    """Difference of variants that were evaluated on the same videos with seeds of their own.

    Args:
        variant: Sum of the outcomes of each video's queries.
        reference: The same of the reference.
        counts: Queries of each video.
        means: Means of both sides alone.
    """
    num_videos = len(counts)
    if min(len(variant), len(reference)) < 2 or num_videos < 2:
        return UnpairedDifference(means[0].mean - means[1].mean, None)
    scale = num_videos / (num_videos - 1) / float(counts.sum()) ** 2
    of_videos = variant.mean(axis=0) - reference.mean(axis=0)
    deviations = of_videos - counts * of_videos.sum() / counts.sum()
    luck = _luck(variant, counts) + _luck(reference, counts)
    # The equation of `crossed._video_variance`, with the luck of both sides.
    videos = max(0.0, scale * (float((deviations**2).sum()) - luck))
    return _difference(*means, videos, num_videos - 1)


def of_values(
    variant: Float[np.ndarray, "seeds"], reference: Float[np.ndarray, "other_seeds"]
) -> UnpairedDifference:
    """Difference of values of seeds, where nothing is known of the videos.

    It holds for new seeds on the same videos only.
    """
    means = (_of_seeds(variant), _of_seeds(reference))
    return _difference(*means, 0.0, 1)


def _of_seeds(values: Float[np.ndarray, "seeds"]) -> CrossedMean:
    variance = float(values.var(ddof=1)) if len(values) > 1 else np.nan
    mean = float(values.mean()) if len(values) else np.nan
    # The number of videos does not matter here, but a mean over fewer than two has no error.
    return CrossedMean(mean, variance, 0.0, len(values), 2)


def _luck(totals: Float[np.ndarray, "seeds videos"], counts: Float[np.ndarray, "videos"]) -> float:
    """What each seed's own luck on each video adds to the squares of the videos' means."""
    num_seeds = len(totals)
    of_seeds = totals.sum(axis=1) / counts.sum()
    luck = (totals - totals.mean(axis=0)) - np.outer(of_seeds - of_seeds.mean(), counts)
    return float((luck**2).sum() / (num_seeds * (num_seeds - 1)))


def _difference(
    variant: CrossedMean, reference: CrossedMean, videos: float, video_freedom: int
) -> UnpairedDifference:
    """Both sides' seeds count as one part, with the degrees of freedom of the side with fewer.

    More of them (Satterthwaite's lie between the smaller number and the sum) are too bold in the
    far tails that a correction over many comparisons asks for; the smaller number never is.
    """
    difference = variant.mean - reference.mean
    fewest = min(variant.num_seeds, reference.num_seeds)
    if fewest < 2 or video_freedom < 1:
        return UnpairedDifference(difference, None)
    seeds = sum(side.seed_variance / side.num_seeds for side in (variant, reference))
    return UnpairedDifference(difference, ErrorParts(seeds, fewest - 1, videos, video_freedom))
