"""Tables: corrections, verdicts in words, degenerate ones, power and what is needed."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.base.errors import StatisticsError
from orchestrator.statistics.comparison import Contrast, Verdict, contrasts_of, effect_size
from orchestrator.statistics.crossed import crossed_mean
from orchestrator.statistics.outcomes import (
    VariantRuns,
    VideosOfQueries,
    recall_outcomes,
    variant_runs,
)
from orchestrator.statistics.power import PairedVariance, power, what_is_needed
from orchestrator.statistics.racing import Extension
from orchestrator.statistics.table import ComparisonTable, against_fixed, holm, make_table
from orchestrator.statistics.wording import population_text, verdict_text

COUNTS = np.ones(30)


def runs(name: str, shift: float, seeds: int, noise: float = 1.0) -> VariantRuns:
    generator = np.random.default_rng([seeds, len(name), *name.encode()])
    totals = 50 + shift + noise * generator.normal(size=(seeds, len(COUNTS)))
    return VariantRuns(name, tuple(range(seeds)), totals)


def table_of(*all_runs: VariantRuns) -> ComparisonTable:
    names = [variant.name for variant in all_runs]
    return make_table(all_runs, COUNTS, contrasts_of(names, with_steps=True))


def test_outcomes_are_summed_by_video() -> None:
    videos = VideosOfQueries(np.array([7, 2, 7]))
    outcomes = recall_outcomes(np.array([1, 6, 200]))
    assert outcomes.tolist() == [400, 200, 0]
    found = variant_runs("full", {3: outcomes}, videos)
    assert (found.totals.tolist(), videos.counts.tolist()) == ([[200, 400]], [1, 2])


def test_what_has_no_seeds_is_the_same_for_each_of_them() -> None:
    fixed = {name: runs(name, shift, 1).totals[0] for name, shift in (("a", -9.0), ("b", 0.0))}
    variants = [runs("few", 0, 2), runs("many", 0, 5)]
    table = against_fixed(variants, fixed, COUNTS)
    for comparison in table.comparisons:
        own = next(each for each in variants if each.name == comparison.contrast.variant)
        differences = own.totals - fixed[comparison.contrast.reference]
        assert comparison.estimate == crossed_mean(differences, COUNTS)
        assert comparison.criterion.comparisons == 4
    verdicts = {each.contrast: each.verdict for each in table.comparisons}
    assert verdicts[Contrast("many", "a")] is Verdict.REAL
    assert verdicts[Contrast("many", "b")] is Verdict.NOT_SHOWN


@pytest.mark.parametrize(
    ("outcomes", "says"), [([1.0], "outcomes of 1 queries"), ([1.0, np.nan], "not finite")]
)
def test_runs_that_cannot_be_compared_are_refused(outcomes: list[float], says: str) -> None:
    with pytest.raises(StatisticsError, match=says) as caught:
        variant_runs("full", {0: np.array(outcomes)}, VideosOfQueries(np.array([0, 1])))
    assert caught.value.exit_code == 3


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(StatisticsError, match="no runs of 'x'"):
        make_table([runs("base", 0, 3)], COUNTS, [Contrast("x", "base")])
    with pytest.raises(StatisticsError, match="several variants are called 'base'"):
        table_of(runs("base", 0, 3), runs("base", 0, 3))
    with pytest.raises(StatisticsError, match="several runs with seed 1"):
        VariantRuns("full", (1,), np.zeros((1, 2)), failed=(1,))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    def closed(place: int) -> float:
        others = [other for other in range(len(p_values)) if other != place]
        sets = (
            (place, *more)
            for size in range(len(p_values))
            for more in itertools.combinations(others, size)
        )
        return max(min(1.0, len(subset) * min(p_values[k] for k in subset)) for subset in sets)

    assert holm(p_values) == pytest.approx([closed(place) for place in range(len(p_values))])


def test_an_unanswered_comparison_is_corrected_for() -> None:
    assert holm([0.01, None, 0.04]) == [0.03, None, 0.08]


def test_verdicts() -> None:
    table = table_of(runs("base", 0, 5), runs("up", 3, 5), runs("down", -3, 5), runs("same", 0, 5))
    assert verdict_text(table.of("up", "base")) == "real"
    assert verdict_text(table.of("down", "up")) == "worse"
    same = table.of("same", "base")
    assert same.verdict is Verdict.NOT_SHOWN
    assert verdict_text(same).startswith("not shown (")
    assert "new seeds" in population_text(same.estimate)
    with pytest.raises(KeyError):
        table.of("base", "up")


def test_p_values_agree_with_intervals() -> None:
    for place in range(20):
        comparison = table_of(runs("base", 0, 4), runs(f"v{place}", 0.02 * place, 4)).comparisons[0]
        assert comparison.interval is not None
        assert comparison.p_value is not None
        assert (comparison.p_value < 0.05) != comparison.interval.overlaps(0)


def test_seeds_are_paired_and_missing_cells_are_named() -> None:
    base, full = runs("base", 0, 5), runs("full", 3, 5)
    part = VariantRuns("full", full.seeds[1:], full.totals[1:], failed=(0,))
    comparison = table_of(base, part).comparisons[0]
    assert (comparison.seeds, comparison.left_out) == ((1, 2, 3, 4), (0,))
    assert comparison.difference == pytest.approx((part.totals - base.totals[1:]).mean())


@pytest.mark.parametrize(
    ("variant", "says"),
    [
        (runs("full", 3, 1), "1 shared seed; needs 2"),
        (VariantRuns("full", (), np.zeros((0, 30)), failed=(0, 1, 2)), "0 shared seeds"),
        (runs("full", 3, 3, noise=0), "no variation"),
    ],
)
def test_degenerate_tables_show_nothing_and_say_why(variant: VariantRuns, says: str) -> None:
    table = table_of(runs("base", 0, 3, noise=0), variant)
    assert says in verdict_text(table.comparisons[0])
    assert table.comparisons[0].effect_size is None


def test_one_video_shows_nothing() -> None:
    pair = [VariantRuns(name, (0, 1), np.array([[1.0], [v]])) for name, v in (("a", 2), ("b", 4))]
    comparison = make_table(pair, np.ones(1), [Contrast("b", "a")]).comparisons[0]
    assert "one video" in verdict_text(comparison)
    assert "only" in population_text(comparison.estimate)


def test_effect_size_has_no_bias() -> None:
    generator = np.random.default_rng(3)
    drawn = 0.8 + generator.normal(size=(8000, 5, 1))
    found = [effect_size(crossed_mean(totals, np.ones(1))) for totals in drawn]
    assert np.mean(np.array(found, float)) == pytest.approx(0.8, abs=0.03)


def test_power_is_the_rate_of_a_simulation() -> None:
    generator = np.random.default_rng(4)
    spread = PairedVariance(1 + 1 / 50, 4 / 50, 50)

    def is_shown() -> bool:
        totals = 1.5 + 2 * generator.normal(size=50) + generator.normal(size=(6, 1))
        found = crossed_mean(totals + generator.normal(size=(6, 50)), np.ones(50))
        return (found.p_value() or 0) <= 0.05 and found.mean > 0

    shown = np.mean([is_shown() for _ in range(1500)])
    assert shown == pytest.approx(power(1.5, spread, 6, 0.05), abs=0.035)


@pytest.mark.parametrize("difference", [0.9, 1.5, 4.0])
def test_needed_seeds_are_the_fewest(difference: float) -> None:
    spread = PairedVariance(1.0, 0.05, 50)
    seeds = what_is_needed(difference, spread, 0.01).seeds
    assert seeds is not None
    assert power(difference, spread, seeds, 0.01) >= 0.8
    assert power(difference, spread, seeds - 1, 0.01) < 0.8


def test_more_seeds_do_not_help_where_videos_are_too_few() -> None:
    need = what_is_needed(0.5, PairedVariance(1.0, 1.0, 50), 0.05)
    assert need.seeds is None
    assert need.videos == pytest.approx(50 * (2.8016 / 0.5) ** 2, rel=1e-3)


def test_looks_that_nobody_planned_take_from_the_level() -> None:
    planted = [runs("base", 0.0, 6), runs("other", 0.2, 6)]
    contrasts = [Contrast("other", "base")]
    (first,) = make_table(planted, COUNTS, contrasts).comparisons
    (third,) = make_table(planted, COUNTS, contrasts, extension=Extension((2, 4))).comparisons
    assert first.corrected_p is not None
    assert third.corrected_p == pytest.approx(min(1.0, 4 * first.corrected_p))
    assert third.p_value == first.p_value
    assert Extension((2, 4)).chance(0.05) == pytest.approx(0.0875)
