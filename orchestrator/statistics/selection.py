"""How much of a best value is luck, if epochs and trials were chosen on the videos that score them.

The best of many values is too high, since it happens to fit the videos. Choosing again without
some of the videos, and reading the chosen value on these, shows by how much (cross-validation of
the choice). The estimate holds for new videos and the same trained models. It does not cover a
lucky seed; for that, the winner is run again on fresh seeds.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

# Parts that the videos are dealt into: choosing on nine tenths is nearly choosing on all.
_NUM_PARTS = 10
# Deals over which the estimate is averaged, as it depends on the deal.
_NUM_DEALS = 20


@dataclass(frozen=True)
class Selection:
    """A choice of the best among candidates, and its value on new videos.

    Args:
        chosen: Row of the best candidate, the first among equals.
        candidates: Number of candidates.
        apparent: Value of the best on the videos that it was chosen on.
        honest: Estimate of its value on new videos; None for a single video.
    """

    chosen: int
    candidates: int
    apparent: float
    honest: float | None

    @property
    def optimism(self) -> float | None:
        """By how much the value is expected to be too high; None for a single video."""
        return None if self.honest is None else self.apparent - self.honest


def choose_best(
    totals: Float[np.ndarray, "candidates videos"],
    counts: Float[np.ndarray, "videos"],
    seed: int = 0,
) -> Selection:
    """Choose the best mean outcome and estimate the optimism of its value.

    Args:
        totals: Sum of the outcomes of each video's queries, for every value that was chosen among:
            each epoch of each trial, if both were chosen.
        counts: Queries of each video.
        seed: Seed of the deals.
    """
    values = totals.sum(axis=1) / counts.sum()
    chosen = int(values.argmax())
    num_candidates, num_videos = totals.shape
    honest = None
    if num_videos > 1:
        generator = np.random.default_rng(seed)
        deals = range(_NUM_DEALS)
        honest = float(np.mean([_honest_mean(totals, counts, generator) for _ in deals]))
    return Selection(chosen, num_candidates, float(values[chosen]), honest)


def _honest_mean(
    totals: Float[np.ndarray, "candidates videos"],
    counts: Float[np.ndarray, "videos"],
    generator: np.random.Generator,
) -> float:
    """Mean over all queries, each read from the candidate that the other parts choose."""
    parts = _deal(len(counts), generator)
    of_parts = totals @ parts
    of_others = of_parts.sum(axis=1, keepdims=True) - of_parts
    # Sums choose as means do: all candidates have the same number of queries in the other parts.
    chosen = of_others.argmax(axis=0)
    return float(of_parts[chosen, np.arange(parts.shape[1])].sum() / counts.sum())


def _deal(num_videos: int, generator: np.random.Generator) -> Int[np.ndarray, "videos parts"]:
    """Deal videos into parts whose sizes differ by one at most; a column of 0 and 1 for each."""
    num_parts = min(_NUM_PARTS, num_videos)
    order = generator.permutation(num_videos)
    parts = np.zeros((num_videos, num_parts), np.int64)
    parts[order, np.arange(num_videos) % num_parts] = 1
    return parts
