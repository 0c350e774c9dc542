"""Unpaired differences: against slow versions, and how often nothing is called something."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from orchestrator.statistics.crossed import crossed_mean
from orchestrator.statistics.unpaired import (
    UnpairedDifference,
    of_other_videos,
    of_same_videos,
    of_values,
)
from tests.orchestrator.statistics.planted import World, planted_runs

WORLD = World(videos=60)


def same(variant: np.ndarray, reference: np.ndarray, counts: np.ndarray) -> UnpairedDifference:
    means = crossed_mean(variant, counts), crossed_mean(reference, counts)
    return of_same_videos(variant, reference, counts, means)


def test_parts_are_those_of_a_slow_computation() -> None:
    generator = np.random.default_rng(5)
    counts = generator.integers(1, 5, 7).astype(float)
    variant, reference = generator.normal(size=(3, 7)) * 9, generator.normal(size=(4, 7)) * 9
    found = same(variant, reference, counts)
    queries = counts.sum()
    seeds = sum(np.var([sum(row) / queries for row in side], ddof=1) / len(side)
                for side in (variant, reference))  # fmt: skip
    mean = sum(map(sum, variant)) / 3 / queries - sum(map(sum, reference)) / 4 / queries
    squares = luck = 0.0
    for v in range(7):
        difference = np.mean(variant[:, v]) - np.mean(reference[:, v])
        squares += (difference - counts[v] * mean) ** 2
        for side in (variant, reference):
            all_seeds = np.mean([sum(row) for row in side]) / queries
            for row in side:
                own = row[v] - np.mean(side[:, v]) - counts[v] * (sum(row) / queries - all_seeds)
                luck += own**2 / (len(side) * (len(side) - 1))
    assert found.mean == pytest.approx(mean)
    assert found.parts is not None
    assert found.parts.first == pytest.approx(seeds)
    assert found.parts.second == pytest.approx(max(0.0, 7 / 6 / queries**2 * (squares - luck)))
    assert (found.parts.first_freedom, found.parts.second_freedom) == (2, 6)


def test_values_are_judged_no_bolder_than_by_welch() -> None:
    generator = np.random.default_rng(6)
    for _ in range(20):
        variant, reference = generator.normal(size=4), generator.normal(1, 3, size=6)
        own = of_values(variant, reference).p_value()
        welch = ttest_ind(variant, reference, equal_var=False).pvalue
        assert own is not None
        assert own >= welch - 1e-9


@pytest.mark.parametrize("shape", [(1, 4, 9), (4, 1, 9), (3, 3, 1)])
def test_one_seed_or_one_video_has_no_interval(shape: tuple[int, int, int]) -> None:
    seeds, others, videos = shape
    found = same(np.ones((seeds, videos)), np.zeros((others, videos)), np.ones(videos))
    assert found.mean == 1
    assert found.interval(0.05) is None
    assert found.p_value() is None
    means = [crossed_mean(np.ones((rows, videos)), np.ones(videos)) for rows in (seeds, others)]
    assert of_other_videos(means[0], means[1]).interval(0.05) is None


def test_the_interval_leaves_zero_out_just_where_p_is_below_the_level() -> None:
    for k in range(40):
        generator = np.random.default_rng(k)
        variant, reference = generator.normal(0.5, 1, (4, 20)), generator.normal(0, 1, (5, 20))
        found = same(variant, reference, np.ones(20))
        interval, p_value = found.interval(0.05), found.p_value()
        assert interval is not None
        assert p_value is not None
        assert interval.overlaps(0.0) == (p_value > 0.05)


TABLES = 400
# 5 % of 400 and three standard errors: a right rate passes, one of 10 % does not.
MOST = 0.05 + 3 * (0.05 * 0.95 / TABLES) ** 0.5


def test_nothing_is_called_real_too_often_on_the_same_videos() -> None:
    p_values = []
    for k in range(TABLES):
        planted = planted_runs(WORLD, (0, 0), 8, np.random.default_rng(k))
        variant, reference = planted.runs
        # Seeds of their own: a seed's luck with its order of the data is not shared.
        found = same(variant.totals[:4], reference.totals[4:], planted.videos.counts)
        p_values.append(found.p_value() or 1.0)
    assert np.mean(np.array(p_values) <= 0.05) <= MOST


def test_nothing_is_called_real_too_often_on_other_videos() -> None:
    p_values = []
    for k in range(TABLES):
        sides = [planted_runs(WORLD, (0,), 4, np.random.default_rng([k, j])) for j in (0, 1)]
        means = [crossed_mean(side.runs[0].totals, side.videos.counts) for side in sides]
        p_values.append(of_other_videos(means[0], means[1]).p_value() or 1.0)
    assert np.mean(np.array(p_values) <= 0.05) <= MOST
