"""The variance of a mean over seeds x videos, and the law of its error, against slow references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from orchestrator.statistics.crossed import CrossedMean, crossed_mean
from orchestrator.statistics.two_part_law import ErrorParts, half_width, two_sided_p


def slow_parts(totals: np.ndarray, counts: np.ndarray) -> tuple[float, float, float]:
    """Mean and both parts by loops over seeds and videos."""
    num_seeds, num_videos = totals.shape
    queries = float(sum(counts))
    of_seeds = [sum(row) / queries for row in totals]
    mean = sum(of_seeds) / num_seeds
    seeds = sum((of_seed - mean) ** 2 for of_seed in of_seeds) / (num_seeds - 1)
    shared = luck = 0.0
    for video in range(num_videos):
        of_video = sum(totals[:, video]) / num_seeds
        shared += (of_video - counts[video] * mean) ** 2
        for seed in range(num_seeds):
            rest = totals[seed, video] - of_video - counts[video] * (of_seeds[seed] - mean)
            luck += rest**2
    scale = num_videos / (num_videos - 1) / queries**2
    return mean, seeds, max(0.0, scale * (shared - luck / num_seeds / (num_seeds - 1)))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(2, 9), st.integers(0, 1000))
def test_parts_are_those_of_loops(seeds: int, videos: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, 6, videos).astype(float)
    totals = generator.normal(size=(seeds, videos)) + generator.normal(size=videos)
    found = crossed_mean(totals, counts)
    expected = slow_parts(totals, counts)
    assert (found.mean, found.seed_variance, found.video_variance) == pytest.approx(expected)


def test_variance_of_the_mean_is_estimated_without_bias() -> None:
    generator = np.random.default_rng(1)
    counts = np.ones(40)

    def drawn() -> tuple[float, float]:
        videos, seeds = 2 * generator.normal(size=40), 0.3 * generator.normal(size=(4, 1))
        found = crossed_mean(videos + seeds + generator.normal(size=(4, 40)), counts)
        return found.mean, found.seed_variance / 4 + found.video_variance

    means, variances = np.array([drawn() for _ in range(4000)]).T
    assert variances.mean() == pytest.approx(4 / 40 + 0.09 / 4 + 1 / 160, rel=0.03)
    assert means.var() == pytest.approx(variances.mean(), rel=0.08)


@pytest.mark.parametrize("freedom", [1, 2, 4, 9])
def test_one_part_alone_gives_students_law(freedom: int) -> None:
    parts = ErrorParts(4.0, freedom, 0.0, 1)
    for level in (0.05, 0.001):
        expected = 2 * stats.t.isf(level / 2, freedom)
        assert half_width(parts, level) == pytest.approx(expected, rel=1e-6)


def test_law_of_two_parts_is_that_of_drawn_t_variables() -> None:
    generator = np.random.default_rng(2)
    drawn = generator.standard_t(4, 400_000) + 0.7 * generator.standard_t(19, 400_000)
    for difference in (1.0, 2.0, 4.0):
        share = (abs(drawn) > difference).mean()
        found = two_sided_p(difference, ErrorParts(1.0, 4, 0.49, 19))
        assert found == pytest.approx(share, abs=0.003)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.01, 100),
    st.integers(1, 9),
    st.floats(0.01, 100),
    st.integers(1, 200),
    st.floats(1e-5, 0.2),
)
def test_p_value_at_the_end_of_an_interval_is_its_level(
    first: float, few: int, second: float, many: int, level: float
) -> None:
    parts = ErrorParts(first, few, second, many)
    assert two_sided_p(half_width(parts, level), parts) == pytest.approx(level, rel=1e-5)


def test_one_seed_or_one_video_has_no_interval() -> None:
    one_seed = crossed_mean(np.array([[3.0, 1.0]]), np.ones(2))
    one_video = crossed_mean(np.array([[3.0], [1.0]]), np.ones(1))
    for found in (one_seed, one_video):
        assert found.mean == 2
        assert found.interval(0.05) is None
        assert found.p_value() is None
    assert one_video.interval_of_seeds(0.05) is not None


def test_nothing_varies() -> None:
    found = crossed_mean(np.full((3, 4), 2.0), np.ones(4))
    assert found.p_value() is None
    assert found.interval(0.05).high == 2  # type: ignore[union-attr]


def test_no_seed_is_a_mean_of_nothing() -> None:
    found = crossed_mean(np.zeros((0, 4)), np.ones(4))
    assert isinstance(found, CrossedMean)
    assert np.isnan(found.mean)
    assert found.interval(0.05) is None
    assert found.interval_of_seeds(0.05) is None
