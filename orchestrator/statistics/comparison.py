"""One paired comparison of two variants: difference, interval, p-value, effect size, verdict.

Both variants were run with the same seeds and evaluated on the same queries, so the difference is
taken seed by seed and video by video before averaging: a lucky seed or a hard video that affects
both variants cancels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from orchestrator.statistics.crossed import CrossedMean, Interval, crossed_mean
from orchestrator.statistics.outcomes import VariantRuns
from orchestrator.statistics.power import Need, PairedVariance, what_is_needed

EFFECT_SIZE = "Hedges' g of paired seeds"
"""Difference over its standard deviation between seeds, corrected for the number of seeds."""


@dataclass(frozen=True)
class Contrast:
    """Two variants of a table that are compared: the first minus the second."""

    variant: str
    reference: str


class Verdict(StrEnum):
    """What a comparison shows."""

    REAL = "real"
    WORSE = "worse"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True)
class Criterion:
    """How a comparison is judged.

    Args:
        level: Share of tables without any effect that may call a difference real.
        comparisons: Number of comparisons in the table.
        look_share: Share of the level that this look has; 1 if the table is judged once.
    """

    level: float
    comparisons: int
    look_share: float = 1.0

    @property
    def own_level(self) -> float:
        """Level of this comparison by Bonferroni: an equal share for each in the table."""
        return self.level * self.look_share / self.comparisons


@dataclass(frozen=True)
class Comparison:
    """A variant against a reference, higher outcomes being better.

    Args:
        contrast: What is compared.
        criterion: How it is judged.
        seeds: Seeds that both variants finished.
        left_out: Seeds that only one of them finished.
        estimate: Mean difference, variant minus reference, and its variance.
        p_value: P-value of this comparison alone; None for one seed or video, or without variation.
        corrected_p: P-value corrected over the looks and, once judged, over the whole table.
        verdict: What the comparison shows.
    """

    contrast: Contrast
    criterion: Criterion
    seeds: tuple[int, ...]
    left_out: tuple[int, ...]
    estimate: CrossedMean
    p_value: float | None
    corrected_p: float | None
    verdict: Verdict = Verdict.NOT_SHOWN

    @property
    def difference(self) -> float:
        """Mean difference, variant minus reference; NaN where they share no seed."""
        return self.estimate.mean

    @cached_property
    def interval(self) -> Interval | None:
        """Interval of this comparison alone, for new seeds and new videos.

        It excludes 0 exactly if `p_value` is below the level; None for one seed or one video.
        """
        return self.estimate.interval(self.criterion.level)

    @cached_property
    def joint_interval(self) -> Interval | None:
        """Interval that holds simultaneously with those of all comparisons and all looks.

        It is wider than a verdict needs, since Holm's steps reject more than equal shares of the
        level.
        """
        return self.estimate.interval(self.criterion.own_level)

    @property
    def effect_size(self) -> float | None:
        """Effect size, see `EFFECT_SIZE`; None if seeds do not vary or are fewer than three."""
        return effect_size(self.estimate)

    @cached_property
    def need(self) -> Need | None:
        """What it takes to show the difference; None if it is shown, or without a p-value."""
        if self.verdict is not Verdict.NOT_SHOWN or self.corrected_p is None:
            return None
        spread = PairedVariance.of(self.estimate)
        return what_is_needed(self.estimate.mean, spread, self.criterion.own_level)

    @property
    def is_below(self) -> bool:
        """Whether the joint interval lies below 0; read from the p-value, which is cheaper."""
        is_shown = self.p_value is not None and self.p_value <= self.criterion.own_level
        return is_shown and self.difference < 0


def compare_paired(
    variant: VariantRuns,
    reference: VariantRuns,
    counts: Float[np.ndarray, "videos"],
    criterion: Criterion,
) -> Comparison:
    """Compare two variants on the seeds that both have; `judged` gives the verdict later.

    Args:
        variant: The variant in question.
        reference: What it is compared with.
        counts: Queries of each video.
        criterion: How the comparison is judged.
    """
    shared = tuple(seed for seed in variant.seeds if seed in reference.seeds)
    left_out = tuple(sorted(set(variant.seeds) ^ set(reference.seeds)))
    totals = variant.of_seeds(shared) - reference.of_seeds(shared)
    estimate = crossed_mean(totals, counts)
    p_value = estimate.p_value()
    over_looks = None if p_value is None else min(1.0, p_value / criterion.look_share)
    contrast = Contrast(variant.name, reference.name)
    return Comparison(contrast, criterion, shared, left_out, estimate, p_value, over_looks)


def effect_size(estimate: CrossedMean) -> float | None:
    """Difference in standard deviations between seeds, corrected for the bias of few seeds.

    Source: Hedges 1981, with the exact factor.
    """
    if estimate.num_seeds < 2 or not estimate.seed_variance:
        return None
    freedom = estimate.num_seeds - 1
    if freedom == 1:
        # The factor is 0: two seeds say nothing about the standard deviation's inverse.
        return None
    # Gamma(f / 2) / (sqrt(f / 2) Gamma((f - 1) / 2)) with f degrees of freedom.
    log_factor = gammaln(freedom / 2) - gammaln((freedom - 1) / 2) - np.log(freedom / 2) / 2
    return float(np.exp(log_factor) * estimate.mean / np.sqrt(estimate.seed_variance))


def judged(comparison: Comparison, corrected_p: float | None) -> Comparison:
    """The comparison with its verdict, from the p-value corrected over the table."""
    verdict = Verdict.NOT_SHOWN
    if corrected_p is not None and corrected_p <= comparison.criterion.level:
        verdict = Verdict.REAL if comparison.difference > 0 else Verdict.WORSE
    return replace(comparison, corrected_p=corrected_p, verdict=verdict)


def contrasts_of(names: Sequence[str], with_steps: bool) -> tuple[Contrast, ...]:
    """Comparisons of an ablation: each variant with the first, and with the step before it.

    Args:
        names: The baseline, then the variants in order.
        with_steps: Whether each variant adds to the one before, as in a ladder; else there is no
            comparison with the step before.
    """
    to_baseline = [Contrast(name, names[0]) for name in names[1:]]
    steps = [Contrast(name, before) for before, name in pairwise(names[1:])]
    return tuple(to_baseline + steps * with_steps)
