"""Diagnostics of semantic collapse: how alike the rows of one video are, and all rows together.

Source: MSC, the task and published numbers (collapse statistics). Similarities are cosines.
A row's similarity with itself never counts. Means over all pairs come from sums of vectors:
`sum of <x, y> over ordered pairs = |sum of x|^2 - sum of |x|^2`, so they cost O(N D).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from prvr_model.process_group import Shards, Workers

# Pairs that the rank correlation is taken over: standard error about 0.006, 1 / sqrt(pairs).
NUM_SAMPLED_PAIRS = 1 << 15
# The sample must be the same in every epoch and trial.
_SAMPLE_SEED = 20251
# Pairs whose rows are gathered at once; bounds memory.
_PAIR_BLOCK = 1 << 12


@dataclass(frozen=True)
class GroupSums:
    """Sums of rows of norm 1 (or 0), all that the means over pairs need.

    Args:
        sums: Sum of each video's rows.
        counts: Rows of each video.
        squares: Squared norms of all rows, summed.
    """

    sums: Float[Tensor, "videos dim"]
    counts: Int[Tensor, "videos"]
    squares: float

    @classmethod
    def of_rows(
        cls,
        unit_rows: Float[Tensor, "rows dim"],
        video_of_row: Int[Tensor, "rows"],
        num_videos: int,
    ) -> "GroupSums":
        """Sums of rows that name their video."""
        sums = unit_rows.new_zeros((num_videos, unit_rows.shape[1]), dtype=torch.float64)
        sums.index_add_(0, video_of_row, unit_rows.double())
        counts = torch.bincount(video_of_row, minlength=num_videos)
        return cls(sums, counts, _sum_of_squares(unit_rows))

    @classmethod
    def of_blocks(cls, blocks: Iterable[Float[Tensor, "_ rows dim"]]) -> "GroupSums":
        """Sums of videos that have equally many rows, some videos at a time."""
        sums, counts, squares = [], [], 0.0
        for block in blocks:
            sums.append(block.sum(dim=1).double())
            counts.append(torch.full((len(block),), block.shape[1], device=block.device))
            squares += _sum_of_squares(block)
        return cls(torch.cat(sums), torch.cat(counts), squares)

    def of_all(self, workers: Workers, videos: Shards) -> "GroupSums":
        """The sums of all workers' videos, given those of this worker's."""
        squares = workers.sum(self.sums.new_tensor(self.squares))
        return GroupSums(
            workers.all_rows(self.sums, videos),
            workers.all_rows(self.counts, videos),
            float(squares),
        )


def similarity_metrics(name: str, groups: GroupSums) -> dict[str, float]:
    """Mean similarities of one kind of rows, as `<name>_intra`, `_total` and `_difference`.

    Args:
        name: Kind of rows, part of the metrics' names.
        groups: Sums of its rows.

    Returns:
        `intra`: mean over all pairs of different rows of one video; left out if no video has two
        rows. `total`: mean over all pairs of different rows, those of one video included; left out
        with fewer than two rows. `difference`: (intra - total) / (intra + total), in [-1, 1].
        Means below 0 count as 0, else the ratio would have no bound; it is 0 if both are 0, and
        left out without intra.
    """
    num_rows = int(groups.counts.sum())
    total_pairs = num_rows * (num_rows - 1)
    intra_pairs = int((groups.counts * (groups.counts - 1)).sum())
    found = {}
    if intra_pairs:
        found["intra"] = (float(groups.sums.square().sum()) - groups.squares) / intra_pairs
    if total_pairs:
        whole = float(groups.sums.sum(dim=0).square().sum())
        found["total"] = (whole - groups.squares) / total_pairs
    if intra_pairs:
        found["difference"] = _normalised_difference(found["intra"], found["total"])
    return {f"{name}_{kind}": value for kind, value in found.items()}


def _normalised_difference(intra: float, total: float) -> float:
    intra, total = max(intra, 0.0), max(total, 0.0)
    return (intra - total) / (intra + total) if intra + total else 0.0


def _sum_of_squares(rows: Tensor) -> float:
    # Rows of norm 1: float32 norms, summed in float64, are exact enough for sums of many rows.
    return float(torch.linalg.vector_norm(rows, dim=-1).double().square().sum())


def rank_correlation(
    learned: Float[Tensor, "rows dim"], teacher: Float[Tensor, "rows teacher_dim"]
) -> float | None:
    """Spearman's correlation of two similarities over a fixed sample of pairs of rows.

    Args:
        learned: Learned vectors, rows of norm 1.
        teacher: The foundation model's vectors of the same captions, rows of norm 1.

    Returns:
        In [-1, 1]; equal values have their mean rank. None with fewer than two pairs, or if all
        similarities of one kind are equal.
    """
    pairs = sampled_pairs(len(learned)).to(learned.device)
    ranks = [_centred_ranks(_pair_similarities(rows, pairs)) for rows in (learned, teacher)]
    norms = [float(torch.linalg.vector_norm(rank)) for rank in ranks]
    if min(norms) == 0:
        return None
    return float(ranks[0] @ ranks[1]) / (norms[0] * norms[1])


def sampled_pairs(num_rows: int) -> Int[Tensor, "2 pairs"]:
    """Pairs of different rows: all of them, or a random sample that depends on `num_rows` alone."""
    if num_rows * (num_rows - 1) // 2 <= NUM_SAMPLED_PAIRS:
        return torch.triu_indices(num_rows, num_rows, offset=1)
    generator = np.random.default_rng(_SAMPLE_SEED)
    first = generator.integers(num_rows, size=NUM_SAMPLED_PAIRS)
    # A step of 1 to n - 1, modulo n, never leads back to the first row.
    second = (first + generator.integers(1, num_rows, size=NUM_SAMPLED_PAIRS)) % num_rows
    return torch.from_numpy(np.stack([first, second]))


def _pair_similarities(
    rows: Float[Tensor, "rows dim"], pairs: Int[Tensor, "2 pairs"]
) -> Float[Tensor, "pairs"]:
    blocks = pairs.split(_PAIR_BLOCK, dim=1)
    return torch.cat([torch.linalg.vecdot(rows[first], rows[second]) for first, second in blocks])


def _centred_ranks(values: Float[Tensor, "values"]) -> Float[Tensor, "values"]:
    """Rank of each value less the mean rank; equal values share the mean of their ranks."""
    ordered = values.sort().values
    first = torch.searchsorted(ordered, values)
    last = torch.searchsorted(ordered, values, right=True)
    return (first + last - len(values)).double() / 2
