"""Moments of a winner: what the study keeps, and what the report shows."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from orchestrator.report.moment_blocks import moment_blocks
from orchestrator.study import test_scores
from orchestrator.study.moment_scores import MomentScores
from prvr_model.retrieval.moment_evaluation import MomentOutcomes


@pytest.fixture
def outcomes() -> MomentOutcomes:
    """Two captions for each of 20 videos: the window meets three of four moments."""
    window = np.tile([0.9, 0.6, 0.4, 0.6], 10)
    return MomentOutcomes(
        captions=np.arange(40),
        videos=np.repeat(np.arange(20), 2),
        best_window={
            "window": window,
            "clip": np.tile([0.5, 0, 0, 0], 10),
            "middle": np.tile([0.0, 0.6, 0.6, 0.6], 10),
            "whole": np.full(40, 0.2),
        },
        any_window=np.full(40, 0.8),
        ranks=np.tile([1, 7, 2, 200], 10),
    )


def test_gains_come_with_intervals_over_videos(outcomes: MomentOutcomes) -> None:
    scores = MomentScores.of(outcomes)
    gains = {gain.over: gain for gain in scores.gains}
    assert list(gains) == ["clip", "middle", "whole"]
    assert [gain.difference for gain in scores.gains] == [50, 0, 75]
    # Videos gain 50 of 100 points each: nothing varies between them.
    assert gains["clip"].interval == (50, 50)
    low, high = gains["whole"].interval
    # Half the videos gain 100, half 50: t of 19 degrees of freedom times 25.6 / sqrt(20).
    assert (low, high) == pytest.approx((75 - 12.0, 75 + 12.0), abs=0.05)


def test_what_the_study_keeps_is_read_again_and_older_scores_too(outcomes: MomentOutcomes) -> None:
    moments = MomentScores.of(outcomes)
    score = test_scores.TestScore("key", 3, {"R1": 5.0}, "cpu", moments, {"R1": (4.0, 6.0)})
    assert test_scores.TestScore.parse(json.loads(json.dumps(asdict(score)))) == score
    older = {"key": "key", "epoch": 3, "metrics": {"R1": 5.0}, "device": "cpu"}
    assert test_scores.TestScore.parse(older).moments is None


def test_the_tables_show_all_that_is_compared(outcomes: MomentOutcomes) -> None:
    right, corpus = moment_blocks(4, MomentScores.of(outcomes))
    assert right.caption == "Moments on test, in the right video (trial 4, 40 captions)"
    rows = {row[0].partition(":")[0]: row[1:] for row in right.rows}
    assert rows["window"] == ["100.0", "75.0", "25.0", "100.0", "100.0", "100.0", "62.5"]
    assert rows["the best clip as it is"][:4] == ["25.0", "25.0", "0.0", "–"]  # noqa: RUF001
    assert "+50.0 over the best clip (50.0 to 50.0: it is better); +0.0 over" in right.notes[0]
    assert "(−" in right.notes[0].partition("middle third")[2]  # noqa: RUF001
    assert "it is not shown to be better" in right.notes[0]
    assert [row[2] for row in corpus.rows] == ["25.0", "25.0", "50.0"]
