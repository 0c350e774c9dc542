"""How likely a true difference is to be shown, and what it would take.

The power is that of the test that the tables use, so that the number of seeds named beside "not
shown" is one that this tool would be content with.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from orchestrator.statistics.crossed import CrossedMean
from orchestrator.statistics.two_part_law import ErrorParts, half_width, ratio_rule

# The power at which a needed number is stated, as is the habit.
STATED_POWER = 0.8
# Beyond this no one trains seeds; the text says "more than".
MOST_SEEDS = 1000
# Nodes of the quadrature that cannot move a power in its ninth digit.
_NEGLIGIBLE = 1e-10


@dataclass(frozen=True)
class PairedVariance:
    """How a paired difference varies, whatever the number of seeds.

    Args:
        seed_variance: Variance between seeds of the difference of a seed.
        video_variance: Squared standard error that the videos leave, however many the seeds.
        num_videos: Videos.
    """

    seed_variance: float
    video_variance: float
    num_videos: int

    @classmethod
    def of(cls, found: CrossedMean) -> "PairedVariance":
        """PairedVariance as it was found."""
        return cls(found.seed_variance, found.video_variance, found.num_videos)

    def parts(self, num_seeds: int, seed_ratio: float = 1.0) -> ErrorParts:
        """Parts of the squared error of a table; `seed_ratio` scales the part of the seeds."""
        seeds = seed_ratio * self.seed_variance / num_seeds
        return ErrorParts(seeds, num_seeds - 1, self.video_variance, self.num_videos - 1)


def power(difference: float, spread: PairedVariance, num_seeds: int, level: float) -> float:
    """Probability that a true difference is shown with its sign.

    The part of the videos is taken as known, the part of the seeds varies as chi-square does.

    Args:
        difference: The true difference.
        spread: How the difference varies; where nothing does, any difference is shown.
        num_seeds: Seeds that both variants have; with fewer than two nothing is shown.
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
        seeds: Seeds needed on videos as many as these; None where more than `MOST_SEEDS`, or none
            would do.
        videos: Videos needed even with seeds without end, where these are too few; else None.
    """

    seeds: int | None
    videos: int | None


def what_is_needed(
    difference: float, spread: PairedVariance, level: float, at_power: float = STATED_POWER
) -> Need:
    """Seeds, or else videos, with which a true difference of that size is shown at that power."""
    if not difference:
        return Need(None, None)
    # The distance, in standard errors, of a difference that is found at that power.
    distance = norm.isf(level / 2) + norm.ppf(at_power)
    for_seeds = (difference / distance) ** 2 - spread.video_variance
    if for_seeds <= 0:
        videos = spread.num_videos * spread.video_variance * (distance / difference) ** 2
        return Need(None, int(np.ceil(videos)))
    fewest = max(2, int(np.ceil(spread.seed_variance / for_seeds)))
    return Need(_seeds_from(fewest, difference, spread, level, at_power), None)


def _seeds_from(
    fewest: int, difference: float, spread: PairedVariance, level: float, at_power: float
) -> int | None:
    """The smallest number of seeds that suffices, at least `fewest`, by steps that double."""

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
