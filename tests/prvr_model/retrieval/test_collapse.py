"""Collapse diagnostics against loops over all pairs and against SciPy's rank correlation."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from prvr_model.network.similarity import unit_rows
from prvr_model.retrieval import collapse
from prvr_model.retrieval.collapse import (
    GroupSums,
    rank_correlation,
    sampled_pairs,
    similarity_metrics,
)


def slow_means(rows: torch.Tensor, owners: list[int]) -> tuple[float | None, float | None]:
    """Means of the cosines of all pairs of one video, and of all pairs."""
    cosines = {
        (i, j): float(rows[i].double() @ rows[j].double())
        for i, j in combinations(range(len(rows)), 2)
    }
    intra = [value for (i, j), value in cosines.items() if owners[i] == owners[j]]
    return tuple(
        sum(values) / len(values) if values else None for values in (intra, list(cosines.values()))
    )


@given(st.lists(st.integers(0, 4), min_size=1, max_size=14), st.integers(0, 1000), st.booleans())
def test_means_equal_the_loop_over_pairs(owners: list[int], seed: int, zero: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = unit_rows(torch.randn(len(owners), 6, generator=generator) + 0.5)
    if zero:
        rows[0] = 0
    sums = GroupSums.of_rows(rows, torch.tensor(owners), 5)
    found = similarity_metrics("query", sums)
    intra, total = slow_means(rows, owners)
    assert found.get("query_intra") == (None if intra is None else pytest.approx(intra, abs=1e-6))
    assert found.get("query_total") == (None if total is None else pytest.approx(total, abs=1e-6))
    assert ("query_difference" in found) is (intra is not None)


def test_blocks_of_videos_give_what_all_rows_give() -> None:
    rows = unit_rows(torch.randn(7, 4, 6))
    owners = torch.arange(7).repeat_interleave(4)
    whole = GroupSums.of_rows(rows.flatten(0, 1), owners, 7)
    parts = GroupSums.of_blocks(rows.split(3))
    assert similarity_metrics("clip", parts) == pytest.approx(similarity_metrics("clip", whole))


def test_the_difference_is_normalised() -> None:
    # Pairs within videos: cosines 1 and 0; between: 1, 1, 0, 0; intra 1/2, total 3/6.
    alike = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    found = similarity_metrics("clip", GroupSums.of_blocks([alike.view(2, 2, 2)]))
    assert found == pytest.approx({"clip_intra": 0.5, "clip_total": 0.5, "clip_difference": 0})
    # Two videos of one direction each: intra 1, total 2/6.
    apart = torch.tensor([[[1.0, 0], [1, 0]], [[0, 1], [0, 1]]])
    found = similarity_metrics("clip", GroupSums.of_blocks([apart]))
    assert found["clip_difference"] == pytest.approx((1 - 1 / 3) / (1 + 1 / 3))


def test_opposite_rows_give_a_bounded_difference() -> None:
    # intra -1 and total -1/3, then intra 1 and total -1/3: the plain ratio is 0.5, then 2.
    opposed = torch.tensor([[[1.0], [-1]], [[1], [-1]]])
    found = similarity_metrics("clip", GroupSums.of_blocks([opposed]))
    assert found == pytest.approx({"clip_intra": -1, "clip_total": -1 / 3, "clip_difference": 0})
    parted = torch.tensor([[[1.0], [1]], [[-1], [-1]]])
    found = similarity_metrics("clip", GroupSums.of_blocks([parted]))
    assert found == pytest.approx({"clip_intra": 1, "clip_total": -1 / 3, "clip_difference": 1})


def test_what_is_undefined_is_left_out() -> None:
    lone = GroupSums.of_rows(torch.eye(3), torch.tensor([0, 1, 2]), 3)
    assert similarity_metrics("query", lone) == {"query_total": 0}
    single = GroupSums.of_rows(torch.eye(3)[:1], torch.tensor([0]), 1)
    assert similarity_metrics("query", single) == {}
    one_video = GroupSums.of_rows(torch.ones(3, 1), torch.tensor([0, 0, 0]), 1)
    wanted = {"query_intra": 1, "query_total": 1, "query_difference": 0}
    assert similarity_metrics("query", one_video) == pytest.approx(wanted)


def all_cosines(rows: torch.Tensor) -> torch.Tensor:
    return (rows @ rows.T)[tuple(torch.triu_indices(len(rows), len(rows), offset=1))]


@pytest.mark.parametrize("block", [1, 7, 1 << 12])
def test_rank_correlation_of_few_rows_is_that_of_all_pairs(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collapse, "_PAIR_BLOCK", block)
    learned, teacher = unit_rows(torch.randn(12, 5)), unit_rows(torch.randn(12, 8))
    wanted = spearmanr(all_cosines(learned), all_cosines(teacher)).statistic
    assert rank_correlation(learned, teacher) == pytest.approx(wanted, abs=1e-9)


def test_equal_similarities_share_their_rank() -> None:
    learned = torch.eye(4)[[0, 0, 1, 2, 2, 3]]
    teacher = torch.eye(4)[[0, 1, 1, 2, 2, 2]]
    wanted = spearmanr(all_cosines(learned), all_cosines(teacher)).statistic
    assert rank_correlation(learned, teacher) == pytest.approx(wanted, abs=1e-9)


def test_order_alone_counts() -> None:
    rows = unit_rows(torch.rand(9, 4))
    assert rank_correlation(rows, rows) == pytest.approx(1)
    one, other = torch.eye(3), torch.tensor([[1.0, 0], [0.6, 0.8], [0, 1]])
    # All of the teacher's similarities are equal: there is no order to compare with.
    assert rank_correlation(other, one) is None
    assert rank_correlation(other[:2], other[:2]) is None
    assert rank_correlation(other[:1], other[:1]) is None


def test_the_sample_is_fixed_and_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collapse, "NUM_SAMPLED_PAIRS", 4000)
    pairs = sampled_pairs(100)
    assert (pairs == sampled_pairs(100)).all()
    assert pairs.shape == (2, 4000)
    assert (pairs[0] != pairs[1]).all()
    # 40 draws of each row are expected on each side; 12 standard deviations are never seen.
    for side in pairs:
        counts = side.bincount(minlength=100)
        assert counts.min() > 0
        assert counts.max() < 116
    offsets = (pairs[1] - pairs[0]) % 100
    assert offsets.unique().tolist() == list(range(1, 100))


def test_a_sample_comes_near_the_correlation_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = unit_rows(torch.randn(200, 8))
    learned = unit_rows(teacher + 0.3 * torch.randn(200, 8))
    whole = rank_correlation(learned, teacher)
    monkeypatch.setattr(collapse, "NUM_SAMPLED_PAIRS", 5000)
    assert whole is not None
    assert rank_correlation(learned, teacher) == pytest.approx(whole, abs=0.05)
