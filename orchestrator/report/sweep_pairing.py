"""The difference of two configurations, paired by seed and video where that is possible.

Where both sides have ranks of queries, these are compared; else the best value of each seed. Seeds
are paired where enough of them are shared, videos where both sides have the same data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from orchestrator.report.candidates import Configuration
from orchestrator.statistics.crossed import CrossedMean, crossed_mean
from orchestrator.statistics.outcomes import VariantRuns, VideosOfQueries
from orchestrator.statistics.unpaired import (
    UnpairedDifference,
    of_other_videos,
    of_same_videos,
    of_values,
)


class Pairing(StrEnum):
    """What the runs of two configurations share."""

    SEEDS_AND_VIDEOS = "paired by seed and video"
    VIDEOS = "unpaired seeds, same videos"
    NOTHING = "unpaired, other videos"
    SEEDS = "paired by seed, videos not known"
    VALUES = "unpaired seeds, videos not known"


@dataclass(frozen=True)
class RankedRuns:
    """Runs of a configuration with their outcomes, and the videos of the queries."""

    runs: VariantRuns
    videos: VideosOfQueries


@dataclass(frozen=True)
class Difference:
    """How two configurations differ, this sweep's minus the other's.

    Args:
        estimate: Mean difference and how far it may be off.
        means: Means of this sweep and the other, over the seeds that are compared.
        seeds: Seeds that are compared, of this sweep and the other.
        left_out: Seeds that only one side has, which pairing leaves out.
        pairing: What the runs share.
    """

    estimate: CrossedMean | UnpairedDifference
    means: tuple[float, float]
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    left_out: tuple[int, ...]
    pairing: Pairing


def by_outcomes(here: RankedRuns, there: RankedRuns, *, same_data: bool) -> Difference:
    """The difference by the outcomes of all queries."""
    seeds = here.runs.seeds, there.runs.seeds
    counts = here.videos.counts
    shared = shared_seeds(*seeds) if same_data else ()
    if shared:
        totals = here.runs.of_seeds(shared), there.runs.of_seeds(shared)
        paired = crossed_mean(totals[0] - totals[1], counts)
        means = crossed_mean(totals[0], counts).mean, crossed_mean(totals[1], counts).mean
        return _paired(paired, means, seeds, shared, Pairing.SEEDS_AND_VIDEOS)
    alone = (
        crossed_mean(here.runs.totals, counts),
        crossed_mean(there.runs.totals, there.videos.counts),
    )
    means = alone[0].mean, alone[1].mean
    if not same_data:
        return Difference(of_other_videos(*alone), means, seeds, (), Pairing.NOTHING)
    unpaired = of_same_videos(here.runs.totals, there.runs.totals, counts, alone)
    return Difference(unpaired, means, seeds, (), Pairing.VIDEOS)


def by_values(here: Configuration, there: Configuration) -> Difference:
    """The difference by the best value of each seed alone, which holds for new seeds only."""
    seeds = here.seeds, there.seeds
    values = _by_seed(here), _by_seed(there)
    shared = shared_seeds(*seeds)
    if shared:
        own, other = (np.array([side[seed] for seed in shared]) for side in values)
        means = float(own.mean()), float(other.mean())
        return _paired(_of_differences(own - other), means, seeds, shared, Pairing.SEEDS)
    own, other = (np.array(list(side.values())) for side in values)
    means = float(own.mean()), float(other.mean())
    return Difference(of_values(own, other), means, seeds, (), Pairing.VALUES)


def shared_seeds(here: Sequence[int], there: Sequence[int]) -> tuple[int, ...]:
    """Seeds to pair by; empty if pairing would leave out more than half of the smaller side.

    The rule looks at seeds only, never at values, so that it favours no answer.
    """
    shared = tuple(seed for seed in here if seed in there)
    enough = len(shared) >= 2 and 2 * len(shared) >= min(len(here), len(there))
    return shared if enough else ()


def _paired(
    estimate: CrossedMean,
    means: tuple[float, float],
    seeds: tuple[Sequence[int], Sequence[int]],
    shared: tuple[int, ...],
    pairing: Pairing,
) -> Difference:
    left_out = tuple(sorted(set(seeds[0]) ^ set(seeds[1])))
    return Difference(estimate, means, (shared, shared), left_out, pairing)


def _by_seed(configuration: Configuration) -> dict[int, float]:
    return {
        trial.seed: trial.value
        for trial in configuration.trials
        if trial.seed is not None and trial.value is not None
    }


def _of_differences(differences: np.ndarray) -> CrossedMean:
    # Two videos without variance: the law is then Student's over the seeds.
    return CrossedMean(
        float(differences.mean()), float(differences.var(ddof=1)), 0.0, len(differences), 2
    )
