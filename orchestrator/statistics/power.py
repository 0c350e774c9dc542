"""How likely a true difference is to be shown, and how many seeds or videos that takes.

The power is that of the test that the tables use: with the number of seeds that is named beside
"not shown", this tool itself would show such a difference in four of five cases.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from orchestrator.statistics.crossed import CrossedMean
from orchestrator.statistics.two_part_law import ErrorParts, half_width, ratio_rule

# The power at which a needed number of seeds is stated, as is customary (Cohen 1988).
STATED_POWER = 0.8
# More seeds than this are out of reach; the text then says "more than".
MOST_SEEDS = 1000
# Weight of a node of the quadrature that cannot change the ninth digit of a power.
_NEGLIGIBLE = 1e-10


@dataclass(frozen=True)
class PairedVariance:
    """How a paired difference varies, whatever the number of seeds.

    Args:
        seed_variance: Variance between seeds of the difference of a seed.
        video_variance: Squared standard error from the videos, which more seeds do not reduce.
        num_videos: Number of videos.
    """

    seed_variance: float
    video_variance: float
    num_videos: int

    @classmethod
    def of(cls, difference: CrossedMean) -> "PairedVariance":
        """The variance of a mean difference that was measured."""
        return cls(difference.seed_variance, difference.video_variance, difference.num_videos)

    def parts(self, num_seeds: int, seed_ratio: float = 1.0) -> ErrorParts:
        """Parts of the squared error of a table; `seed_ratio` scales the part of the seeds."""
        seeds = seed_ratio * self.seed_variance / num_seeds
        return ErrorParts(seeds, num_seeds - 1, self.video_variance, self.num_videos - 1)


def power(difference: float, spread: PairedVariance, num_seeds: int, level: float) -> float:
    """Probability that a true difference is shown with its sign.

    The part of the videos is taken as known; the estimated part of the seeds is r times the true
    one, where r is chi-square over its degrees of freedom. With the half width w(r) of the interval
    and the standard error e, the power is the mean over r of P(normal > (w(r) - |difference|) / e).

    Args:
        difference: The true difference.
        spread: How the difference varies; without variation any difference is shown.
        num_seeds: Seeds that both variants have; with fewer than two no difference is shown.
        level: Level of the test: that of the table, over its comparisons.
    """
    if num_seeds < 2 or spread.num_videos < 2:
        return 0.0
    error = spread.parts(num_seeds).standard_error
    if not error:
        return float(difference != 0)
    ratios, weights = ratio_rule(num_seeds - 1)
    kept = weights > _NEGLIGIBLE
    widths = [half_width(spread.parts(num_seeds, ratio), level) for ratio in ratios[kept]]
    shown = norm.sf((np.array(widths) - abs(difference)) / error)
    return float(weights[kept] @ shown)


@dataclass(frozen=True)
class Need:
    """What it would take to show a difference.

    Args:
        seeds: Seeds needed on the present number of videos; None if more than `MOST_SEEDS`, or if
            no number of seeds suffices.
        videos: Videos needed even with endless seeds, if the present ones are too few; else None.
    """

    seeds: int | None
    videos: int | None


def what_is_needed(
    difference: float, spread: PairedVariance, level: float, at_power: float = STATED_POWER
) -> Need:
    """Seeds, or else videos, with which a true difference of that size is shown at that power.

    If the error were known, the difference would have to be at least
    distance = z(level / 2) + z(1 - power) standard errors, with z the upper quantile of the normal
    law. So the squared error may be at most (difference / distance)^2; the videos take their part
    of it, and the seeds must fit into the rest. This lower bound of seeds starts the search.
    """
    if not difference:
        return Need(None, None)
    distance = norm.isf(level / 2) + norm.ppf(at_power)
    left_for_seeds = (difference / distance) ** 2 - spread.video_variance
    if left_for_seeds <= 0:
        videos = spread.num_videos * spread.video_variance * (distance / difference) ** 2
        return Need(None, int(np.ceil(videos)))
    fewest = max(2, int(np.ceil(spread.seed_variance / left_for_seeds)))
    return Need(_seeds_from(fewest, difference, spread, level, at_power), None)


def _seeds_from(
    fewest: int, difference: float, spread: PairedVariance, level: float, at_power: float
) -> int | None:
    """The smallest number of seeds that suffices, at least `fewest`: steps double, then halve."""

    def is_enough(seeds: int) -> bool:
        return power(difference, spread, seeds, level) >= at_power

    too_few, enough, step = fewest - 1, fewest, 1
    while enough <= MOST_SEEDS and not is_enough(enough):
        too_few, enough, step = enough, enough + step, step * 2
    if enough > MOST_SEEDS and not is_enough(MOST_SEEDS):
        return None
    enough = min(enough, MOST_SEEDS)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if is_enough(middle) else (middle, enough)
    return enough
