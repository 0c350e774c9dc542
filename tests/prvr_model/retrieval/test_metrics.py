"""Ranks and recalls against counting by hand; ties, NaN and several correct videos."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from prvr_model.retrieval.metrics import (
    CorrectRanks,
    Relevance,
    best_ranks,
    correct_ranks,
    recalls,
    relevance_of_same_text,
    single_relevance,
)


def slow_rank(row: list[float], correct: set[int]) -> int:
    """Wrong videos that are not strictly worse than the best correct one stand before it."""
    known = [row[video] for video in correct if not math.isnan(row[video])]
    best = max(known, default=-math.inf)
    return 1 + sum(not row[video] < best for video in range(len(row)) if video not in correct)


# Few different values: ties everywhere.
VALUES = st.sampled_from([0.0, 1.0, 2.0, -1.0, math.nan, math.inf, -math.inf])


@given(
    arrays.arrays(np.float32, (4, 6), elements=VALUES),
    st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=4, max_size=4),
    st.permutations(range(6)),
)
def test_ranks_equal_counting_and_ignore_the_order_of_videos(
    scores: np.ndarray, correct: list[set[int]], order: list[int]
) -> None:
    widest = max(map(len, correct))
    rows = [sorted(videos) + [min(videos)] * (widest - len(videos)) for videos in correct]
    ranks = best_ranks(torch.from_numpy(scores), Relevance(torch.tensor(rows)))
    wanted = [slow_rank(row, videos) for row, videos in zip(scores.tolist(), correct, strict=True)]
    assert ranks.tolist() == wanted
    place = torch.argsort(torch.tensor(order))
    permuted = best_ranks(torch.from_numpy(scores[:, order]), Relevance(place[torch.tensor(rows)]))
    assert permuted.tolist() == wanted


@given(
    arrays.arrays(np.float32, (4, 6), elements=VALUES),
    st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=4, max_size=4),
)
def test_all_correct_videos_are_ranked_as_counting_does(
    scores: np.ndarray, correct: list[set[int]]
) -> None:
    widest = max(map(len, correct))
    rows = [sorted(videos) + [min(videos)] * (widest - len(videos)) for videos in correct]
    found = correct_ranks(torch.from_numpy(scores), Relevance(torch.tensor(rows)))
    for ranks, row, videos in zip(found.ranks.tolist(), scores.tolist(), correct, strict=True):
        known = [-math.inf if math.isnan(row[video]) else row[video] for video in videos]
        wanted = [
            place + sum(not row[video] < score for video in range(6) if video not in videos)
            for place, score in enumerate(sorted(known, reverse=True), start=1)
        ]
        assert ranks == wanted + [0] * (widest - len(videos))
    best = best_ranks(torch.from_numpy(scores), Relevance(torch.tensor(rows)))
    assert found.best.tolist() == best.tolist()


def test_ndcg_and_average_precision_by_hand() -> None:
    found = CorrectRanks(torch.tensor([[1, 0, 0], [2, 0, 0], [1, 3, 0], [2, 11, 20], [11, 12, 13]]))
    # Mean of 1 / 1 and 2 / 3, of 1 / 2, 2 / 11 and 3 / 20, of 1 / 11, 2 / 12 and 3 / 13.
    wanted = [1, 0.5, 5 / 6, (1 / 2 + 2 / 11 + 3 / 20) / 3, (1 / 11 + 2 / 12 + 3 / 13) / 3]
    assert found.average_precisions().tolist() == pytest.approx(wanted)
    second, third = 1 / math.log2(3), 1 / math.log2(4)
    ideal = 1 + second + third
    wanted = [1, second, (1 + third) / (1 + second), second / ideal, 0]
    assert found.ndcg().tolist() == pytest.approx(wanted)
    # Twelve correct videos: at most ten of them can be in the first ten.
    assert CorrectRanks(torch.arange(1, 13)[None]).ndcg().tolist() == pytest.approx([1])


def test_equal_scores_put_the_correct_video_last() -> None:
    ranks = best_ranks(torch.zeros(3, 50), single_relevance(torch.tensor([0, 20, 49])))
    assert ranks.tolist() == [50, 50, 50]


def test_scores_that_are_not_numbers_never_help() -> None:
    scores = torch.full((1, 5), math.nan)
    assert best_ranks(scores, single_relevance(torch.tensor([2]))).tolist() == [5]
    scores[0, 2] = 1.0
    assert best_ranks(scores, single_relevance(torch.tensor([2]))).tolist() == [5]


def test_recalls_of_ranks_made_by_hand() -> None:
    found = recalls(torch.tensor([1, 1, 2, 5, 6, 10, 11, 100, 101, 5000]))
    assert found == {"R1": 20, "R5": 40, "R10": 60, "R100": 80, "SumR": 200}
    with pytest.raises(ValueError, match="no captions"):
        recalls(torch.tensor([], dtype=torch.long))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=12))
def test_same_text_is_right_for_every_video_that_has_it(pairs: list[tuple[int, int]]) -> None:
    owners = [video for video, _ in pairs]
    # Texts get gapless numbers, as np.unique gives them.
    _, ids = np.unique([text for _, text in pairs], return_inverse=True)
    relevance = relevance_of_same_text(torch.tensor(owners), torch.from_numpy(ids))
    for caption, text in enumerate(ids):
        wanted = {owner for owner, other in zip(owners, ids, strict=True) if other == text}
        assert set(relevance.videos[caption].tolist()) == wanted
