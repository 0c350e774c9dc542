"""The table of an ablation: every variant alone, and every comparison, corrected over all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from orchestrator.base.errors import StatisticsError
from orchestrator.statistics.comparison import (
    Comparison,
    Contrast,
    Criterion,
    Verdict,
    compare_paired,
    judged,
)
from orchestrator.statistics.crossed import CrossedMean, Interval, crossed_mean
from orchestrator.statistics.outcomes import VariantRuns
from orchestrator.statistics.racing import Extension, Race, Standing, best_of, next_seeds

LEVEL = 0.05
"""Share of tables without any effect that may call a difference real."""


@dataclass(frozen=True)
class Summary:
    """One variant alone.

    Args:
        name: The variant.
        seeds: Seeds that finished.
        failed: Seeds that failed.
        estimate: Mean over seeds and queries, and its variance.
        interval_of_seeds: Interval for new seeds on these videos; None for one seed.
        interval: Interval for new seeds and new videos; None for one seed or one video.
    """

    name: str
    seeds: tuple[int, ...]
    failed: tuple[int, ...]
    estimate: CrossedMean
    interval_of_seeds: Interval | None
    interval: Interval | None

    @property
    def mean(self) -> float:
        """Mean over seeds and queries; NaN where no seed finished."""
        return self.estimate.mean

    @property
    def standard_deviation(self) -> float:
        """Standard deviation between seeds of a seed's mean; NaN for one seed."""
        return float(np.sqrt(self.estimate.seed_variance))


@dataclass(frozen=True)
class ComparisonTable:
    """All variants and comparisons, with verdicts that hold together.

    Args:
        summaries: Variants in the order given.
        comparisons: Comparisons in the order asked for, each once.
        level: Share of tables without any effect that may call a difference real.
        race: The plan of the race, if seeds were raced.
        extension: The earlier looks, if seeds were added after the table was judged.
    """

    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]
    level: float
    race: Race | None
    extension: Extension | None = None

    def of(self, variant: str, reference: str) -> Comparison:
        """The comparison of a variant with a reference.

        Raises:
            KeyError: The table has no such comparison.
        """
        for comparison in self.comparisons:
            if comparison.contrast == Contrast(variant, reference):
                return comparison
        raise KeyError((variant, reference))


def make_table(
    runs: Sequence[VariantRuns],
    counts: Float[np.ndarray, "videos"],
    contrasts: Sequence[Contrast],
    level: float = LEVEL,
    race: Race | None = None,
    extension: Extension | None = None,
) -> ComparisonTable:
    """Summaries and comparisons of some variants.

    Args:
        runs: The variants.
        counts: Queries of each video.
        contrasts: What is compared; a pair that is named twice is one comparison.
        level: Share of tables without any effect that may call a difference real.
        race: The plan of the race, if seeds were raced.
        extension: The earlier looks, if seeds were added after the table was judged.

    Raises:
        StatisticsError: A variant that is compared is not among the runs, or two have one name.
    """
    by_name = _by_name(runs)
    unique = tuple(dict.fromkeys(contrasts))
    _check_names(unique, by_name)
    comparisons = []
    for contrast in unique:
        variant, reference = by_name[contrast.variant], by_name[contrast.reference]
        num_asked = min(variant.num_asked, reference.num_asked)
        criterion = Criterion(level, len(unique), _share(num_asked, race, extension))
        comparisons.append(compare_paired(variant, reference, counts, criterion))
    corrected = holm([comparison.corrected_p for comparison in comparisons])
    verdicts = tuple(map(judged, comparisons, corrected))
    summaries = tuple(_summary(variant, counts, level) for variant in runs)
    return ComparisonTable(summaries, verdicts, level, race, extension)


def against_fixed(
    runs: Sequence[VariantRuns],
    fixed: Mapping[str, Float[np.ndarray, "videos"]],
    counts: Float[np.ndarray, "videos"],
    race: Race | None = None,
    extension: Extension | None = None,
) -> ComparisonTable:
    """Every variant against everything that has no seeds, e.g. features that nobody trained.

    Such a reference is the same for each seed, so the variance between seeds is the variant's own.

    Args:
        runs: The variants.
        fixed: Sum of the outcomes of each video's queries, by name.
        counts: Queries of each video.
        race: The plan of the race, if seeds were raced.
        extension: The earlier looks, if seeds were added after the table was judged.
    """
    comparisons = []
    for variant in runs:
        share = _share(variant.num_asked, race, extension)
        criterion = Criterion(LEVEL, len(runs) * len(fixed), share)
        for name, totals in fixed.items():
            same = VariantRuns(name, variant.seeds, np.tile(totals, (len(variant.seeds), 1)))
            comparisons.append(compare_paired(variant, same, counts, criterion))
    corrected = holm([comparison.corrected_p for comparison in comparisons])
    return ComparisonTable((), tuple(map(judged, comparisons, corrected)), LEVEL, race, extension)


def _share(num_asked: int, race: Race | None, extension: Extension | None) -> float:
    """Share of the level that a look with `num_asked` seeds has."""
    if race is not None:
        return race.share(num_asked)
    return 1.0 if extension is None else extension.share


def _by_name(runs: Sequence[VariantRuns]) -> dict[str, VariantRuns]:
    by_name = {variant.name: variant for variant in runs}
    if len(by_name) < len(runs):
        names = [variant.name for variant in runs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise StatisticsError(f"several variants are called {', '.join(map(repr, twice))}")
    return by_name


def _check_names(contrasts: Sequence[Contrast], by_name: dict[str, VariantRuns]) -> None:
    named = {name for each in contrasts for name in (each.variant, each.reference)}
    if missing := sorted(named - set(by_name)):
        raise StatisticsError(
            f"no runs of {', '.join(map(repr, missing))}; there are runs of "
            f"{', '.join(map(repr, by_name)) or 'no variant'}"
        )


def _summary(runs: VariantRuns, counts: Float[np.ndarray, "videos"], level: float) -> Summary:
    estimate = crossed_mean(runs.totals, counts)
    of_seeds, of_both = estimate.interval_of_seeds(level), estimate.interval(level)
    return Summary(runs.name, runs.seeds, runs.failed, estimate, of_seeds, of_both)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values corrected over all comparisons by Holm's steps (Holm 1979).

    The smallest is multiplied by the number of comparisons, the next by one less, and so on; none
    becomes smaller than the one before it. A comparison without a p-value shows nothing but
    counts: the correction is for the comparisons that were asked, not for those with an answer.
    """
    count = len(p_values)
    known = [(value, k) for k, value in enumerate(p_values) if value is not None]
    corrected: list[float | None] = [None] * count
    largest = 0.0
    for step, (value, k) in enumerate(sorted(known)):
        largest = max(largest, min(1.0, (count - step) * value))
        corrected[k] = largest
    return corrected


def verdict_of(gain: float, corrected_p: float | None) -> Verdict:
    """What a gain shows, from its p-value corrected over the table."""
    if corrected_p is None or corrected_p > LEVEL:
        return Verdict.NOT_SHOWN
    return Verdict.REAL if gain > 0 else Verdict.WORSE


def standing_of(
    runs: Sequence[VariantRuns], counts: Float[np.ndarray, "videos"], table: ComparisonTable
) -> Standing:
    """Which variants are beaten and which differences are open in a table of a race.

    Raises:
        StatisticsError: The table is not one of a race.
    """
    if table.race is None:
        raise StatisticsError("the table was not raced; name the plan of its race")
    asked = {variant.name: variant.num_asked for variant in runs}
    means = {summary.name: summary.mean for summary in table.summaries}
    best = best_of(asked, means)
    by_name = _by_name(runs)
    beaten = frozenset(
        name for name in by_name if best and _is_below(by_name[name], by_name[best], counts, table)
    )
    open_references = frozenset(
        comparison.contrast.reference
        for comparison in table.comparisons
        if comparison.verdict is Verdict.NOT_SHOWN and comparison.contrast.variant not in beaten
    )
    return Standing(asked, beaten, open_references)


def _is_below(
    variant: VariantRuns,
    best: VariantRuns,
    counts: Float[np.ndarray, "videos"],
    table: ComparisonTable,
) -> bool:
    """Whether the interval of the difference to the best lies below 0."""
    if variant is best or table.race is None:
        return False
    share = table.race.share(min(variant.num_asked, best.num_asked))
    criterion = Criterion(table.level, max(1, len(table.comparisons)), share)
    return compare_paired(variant, best, counts, criterion).is_below


def seeds_of_next_look(
    runs: Sequence[VariantRuns], counts: Float[np.ndarray, "videos"], table: ComparisonTable
) -> dict[str, int]:
    """Seeds that variants are to have at the next look of a race, for those that get more.

    Raises:
        StatisticsError: The table is not one of a race.
    """
    if table.race is None:
        raise StatisticsError("the table was not raced; name the plan of its race")
    return next_seeds(table.race, standing_of(runs, counts, table))
