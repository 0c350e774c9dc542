"""Tables of runs whose truth is known: ranks from random effects of seeds, videos and variants.

The logarithm of a query's rank is a sum of normal effects. All variants of a null table have the
same total variance of it, however it is split, so that their true mean outcomes are equal although
each has its own luck with seeds and its own taste in videos.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import norm

from orchestrator.statistics.outcomes import VariantRuns, VideosOfQueries, recall_outcomes
from prvr_model.reporting import RECALL_DEPTHS

# Mean and standard deviation of log(rank) that give about R@1 14, R@100 83 and SumR 175, as
# published models reach on TVR.
_LOG_RANK, _DEVIATION = 2.45, 2.27


@dataclass(frozen=True)
class World:
    """Standard deviations of the effects on log(rank), and the size of the split.

    Args:
        video: How hard a video is for everyone.
        query: How hard a query is for everyone.
        seed: Luck of a seed with all variants: its order of the data.
        seed_video: That luck on each video.
        variant_seed: Luck of a variant's run; a factor for each variant may make it uneven.
        variant_video: A variant's taste in videos.
        run_video: Luck of a run on each video.
        uneven: Factors of `variant_seed`, by variant.
        videos: Videos.
        queries: Mean number of queries of a video.
        level: What is added to every log(rank): how hard the whole data set is.
    """

    video: float = 1.0
    query: float = 1.4
    seed: float = 0.03
    seed_video: float = 0.2
    variant_seed: float = 0.03
    variant_video: float = 0.2
    run_video: float = 0.2
    uneven: Sequence[float] = field(default=(1.0,) * 16)
    videos: int = 120
    queries: int = 3
    level: float = 0.0


@dataclass(frozen=True)
class PlantedRuns:
    """Runs of a table, and the videos of their queries."""

    runs: tuple[VariantRuns, ...]
    videos: VideosOfQueries
    outcomes: np.ndarray
    """Outcome of each query, (variants, seeds, queries)."""

    def first(self, seeds: dict[str, int]) -> list[VariantRuns]:
        """Only the first seeds of each variant, as many as named."""
        return [
            replace(variant, seeds=variant.seeds[:count], totals=variant.totals[:count])
            for variant, count in ((variant, seeds[variant.name]) for variant in self.runs)
        ]


def planted_runs(
    world: World, shifts: Sequence[float], num_seeds: int, generator: np.random.Generator
) -> PlantedRuns:
    """Runs of variants `v0`, `v1` ... whose log(rank) is moved by `shifts`."""
    sizes = 1 + generator.poisson(world.queries - 1, size=world.videos)
    owners = np.repeat(np.arange(world.videos), sizes)
    logs = _log_ranks(world, len(shifts), num_seeds, owners, generator)
    logs += np.asarray(shifts)[:, None, None]
    outcomes = recall_outcomes(1 + np.floor(np.exp(logs)).astype(np.int64))
    videos, seeds = VideosOfQueries(owners), tuple(range(num_seeds))
    runs = (
        VariantRuns(f"v{place}", seeds, videos.totals(found))
        for place, found in enumerate(outcomes)
    )
    return PlantedRuns(tuple(runs), videos, outcomes)


def _log_ranks(
    world: World, variants: int, seeds: int, owners: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Sum of all effects and of what is left of the variance, (variants, seeds, queries)."""
    uneven = np.asarray(world.uneven[:variants])[:, None, None]
    of_runs = world.variant_seed * uneven

    def effect(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape, dtype=np.float32)

    by_video = world.video * effect(1, 1, world.videos)
    by_video = by_video + world.seed_video * effect(1, seeds, world.videos)
    by_video = by_video + world.variant_video * effect(variants, 1, world.videos)
    by_video = by_video + world.run_video * effect(variants, seeds, world.videos)
    logs = by_video[:, :, owners] + world.query * effect(1, 1, len(owners))
    logs += world.seed * effect(1, seeds, 1) + of_runs * effect(variants, seeds, 1)
    shared = (world.video, world.query, world.seed, world.seed_video)
    own = (world.variant_video, world.run_video)
    left = _DEVIATION**2 - sum(deviation**2 for deviation in shared + own) - of_runs**2
    logs += np.sqrt(left) * effect(variants, seeds, len(owners))
    return logs + _LOG_RANK + world.level


def true_mean(shift: float) -> float:
    """Mean outcome (SumR) of all seeds, videos and queries where log(rank) is moved by `shift`."""
    depths = np.log(RECALL_DEPTHS)
    return float(100 * norm.cdf((depths - _LOG_RANK - shift) / _DEVIATION).sum())


def shift_of(difference: float, level: float = 0.0) -> float:
    """Move of log(rank) that makes the true mean of a world larger by `difference`.

    Args:
        difference: In points of SumR.
        level: The level of the world.
    """
    low, high = -5.0, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        too_much = true_mean(level + middle) - true_mean(level) > difference
        low, high = (middle, high) if too_much else (low, middle)
    return (low + high) / 2
