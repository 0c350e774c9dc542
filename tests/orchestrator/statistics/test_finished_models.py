"""Finished models on new videos: intervals, p-values, and how often nothing is called real."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from orchestrator.statistics.comparison import Verdict
from orchestrator.statistics.finished_models import (
    judged_together,
    measured,
    model_difference,
)
from orchestrator.statistics.outcomes import VideosOfQueries


def outcomes(seed: int, videos: int, shift: float = 0.0) -> np.ndarray:
    """One query a video."""
    return np.random.default_rng(seed).normal(shift, 1.0, videos)


def test_with_one_query_a_video_it_is_the_paired_t_test() -> None:
    videos = VideosOfQueries(np.arange(30))
    model, reference = outcomes(1, 30, 0.4), outcomes(2, 30)
    found = model_difference(model, reference, videos)
    wanted = ttest_1samp(model - reference, 0.0)
    interval = wanted.confidence_interval(0.95)
    assert found.p_value == pytest.approx(wanted.pvalue, rel=1e-6)
    assert found.interval is not None
    ends = (found.interval.low, found.interval.high)
    assert ends == pytest.approx((interval.low, interval.high), rel=1e-6)
    alone = measured(model - reference, videos)
    assert (alone.value, alone.interval) == (found.value, found.interval)


def test_queries_of_one_video_count_as_one() -> None:
    model, reference = outcomes(1, 30, 0.4), outcomes(2, 30)
    single = model_difference(model, reference, VideosOfQueries(np.arange(30)))
    thrice = VideosOfQueries(np.repeat(np.arange(30), 3))
    repeated = model_difference(np.repeat(model, 3), np.repeat(reference, 3), thrice)
    assert repeated.p_value == pytest.approx(single.p_value)


def test_what_cannot_be_judged_is_not_shown() -> None:
    videos = VideosOfQueries(np.arange(5))
    same = model_difference(np.ones(5), np.ones(5), videos)
    one = model_difference(np.ones(2), np.zeros(2), VideosOfQueries(np.zeros(2, int)))
    assert (same.p_value, one.p_value, one.interval) == (None, None, None)
    assert {each.verdict for each in judged_together([same, one])} == {Verdict.NOT_SHOWN}


def test_verdicts_are_corrected_over_all_differences() -> None:
    videos = VideosOfQueries(np.arange(40))
    reference = outcomes(2, 40)
    gain = model_difference(reference + outcomes(3, 40, 0.45), reference, videos)
    loss = model_difference(reference - outcomes(4, 40, 2.0), reference, videos)
    assert gain.p_value is not None
    assert 0.01 < gain.p_value < 0.05
    (alone,) = judged_together([gain])
    assert alone.verdict is Verdict.REAL
    many = judged_together(
        [gain, loss, *[model_difference(outcomes(5, 40), outcomes(6, 40), videos)] * 4]
    )
    assert (many[0].verdict, many[1].verdict) == (Verdict.NOT_SHOWN, Verdict.WORSE)


def test_equal_models_are_rarely_called_different() -> None:
    """Recalls of 60 videos of uneven sizes; 0.05 is allowed, its standard error is 0.011."""
    generator = np.random.default_rng(7)
    index = np.repeat(np.arange(60), generator.integers(1, 8, 60))
    videos = VideosOfQueries(index)
    called = 0
    for _ in range(400):
        ease = generator.normal(0, 1, 60)[index]
        hits = [ease + generator.normal(0, 1, len(index)) > 0 for _ in range(2)]
        found = model_difference(100.0 * hits[0], 100.0 * hits[1], videos)
        called += judged_together([found])[0].verdict is not Verdict.NOT_SHOWN
    assert 0.015 < called / 400 < 0.085
