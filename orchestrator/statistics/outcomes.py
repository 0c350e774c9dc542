"""The input of the statistics: the outcome of every query, for every seed of a variant.

Outcomes are summed by video at once: queries of one video succeed and fail together, so the video
is the unit of sampling, and its sums are all that the statistics need.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from orchestrator.base.errors import StatisticsError
from prvr_model.reporting import MAP, NDCG, RANKS, RECALL_DEPTHS, VERIFIED, beside_name


@dataclass(frozen=True)
class KeptOutcome:
    """How what is kept of each query gives the outcomes whose mean is a metric.

    Args:
        name: Name of what is kept.
        depths: Depths of the recalls that are summed, of kept ranks; None: the outcomes themselves
            are kept, in percent.
    """

    name: str
    depths: tuple[int, ...] | None

    def of(self, kept: Mapping[str, np.ndarray]) -> Float[np.ndarray, "queries"] | None:
        """The outcome of each query; None if it is not among what was kept."""
        values = kept.get(self.name)
        if values is None or self.depths is None:
            return None if values is None else values.astype(np.float64)
        return recall_outcomes(values, self.depths)


def kept_outcome(metric: str) -> KeptOutcome | None:
    """How outcomes of a metric are kept; None for metrics of a branch and diagnostics.

    Args:
        metric: Its name with the split, e.g. `val/SumR`, `val/R5` or `val/verified/nDCG10`.
    """
    *below, name = metric.split("/")[1:]
    if below == [VERIFIED] and name in (NDCG, MAP):
        return KeptOutcome(beside_name(name), None)
    depths = _DEPTHS.get(name)
    if depths is None or below not in ([], [VERIFIED]):
        return None
    return KeptOutcome(VERIFIED if below else RANKS, depths)


def branch_outcome(metric: str, branch: str) -> KeptOutcome | None:
    """The same recall of one branch alone; None for metrics that branches do not have."""
    found = kept_outcome(metric)
    return replace(found, name=branch) if found and found.name == RANKS else None


_DEPTHS = {f"R{depth}": (depth,) for depth in RECALL_DEPTHS} | {"SumR": RECALL_DEPTHS}


def recall_outcomes(
    ranks: Int[np.ndarray, "*rows queries"], depths: Sequence[int] = RECALL_DEPTHS
) -> Float[np.ndarray, "*rows queries"]:
    """Outcome of each query whose mean is the sum of the recalls, in percent.

    Args:
        ranks: Rank of each query's best correct video, from 1.
        depths: Depths of the recalls: all four for SumR, one for a single R@k.
    """
    hits = np.zeros(ranks.shape)
    for depth in depths:
        hits += ranks <= depth
    return 100 * hits


@dataclass(frozen=True)
class VideosOfQueries:
    """The video that each query belongs to, numbered from 0; the same for all runs of a table."""

    index: Int[np.ndarray, "queries"]

    def __post_init__(self) -> None:
        if not len(self.index):
            raise StatisticsError("the split has no queries; nothing can be compared on it")

    @cached_property
    def _present(self) -> tuple[np.ndarray, np.ndarray]:
        """Row of each query's video among the videos with queries, and queries of each of these."""
        _, rows, counts = np.unique(self.index, return_inverse=True, return_counts=True)
        return rows, counts.astype(np.float64)

    @property
    def num_queries(self) -> int:
        """Number of queries."""
        return len(self.index)

    @property
    def counts(self) -> Float[np.ndarray, "videos"]:
        """Queries of each video that has any."""
        return self._present[1]

    def totals(
        self, outcomes: Float[np.ndarray, "seeds queries"]
    ) -> Float[np.ndarray, "seeds videos"]:
        """Sum of the outcomes of each video's queries."""
        rows, counts = self._present
        sums = [np.bincount(rows, weights=of_seed, minlength=len(counts)) for of_seed in outcomes]
        return np.array(sums).reshape(len(outcomes), len(counts))


@dataclass(frozen=True)
class VariantRuns:
    """The runs of one variant, all evaluated on the same queries.

    Args:
        name: The variant's name.
        seeds: Seed of each run that finished.
        totals: Sum of the outcomes of each video's queries, a row for each of `seeds`.
        failed: Seeds whose run failed; in a race they count as seeds that the variant had.
    """

    name: str
    seeds: tuple[int, ...]
    totals: Float[np.ndarray, "seeds videos"]
    failed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        asked = (*self.seeds, *self.failed)
        if twice := sorted({seed for seed in asked if asked.count(seed) > 1}):
            named = ", ".join(map(str, twice))
            raise StatisticsError(
                f"variant {self.name!r} has several runs with seed {named}; a table takes one run "
                "of each seed"
            )

    @property
    def num_asked(self) -> int:
        """Number of runs, failed ones included."""
        return len(self.seeds) + len(self.failed)

    def of_seeds(self, seeds: Sequence[int]) -> Float[np.ndarray, "seeds videos"]:
        """Totals of some of the seeds, in the order named."""
        return self.totals[[self.seeds.index(seed) for seed in seeds]]


def variant_runs(
    name: str,
    outcomes: dict[int, Float[np.ndarray, "queries"]],
    videos: VideosOfQueries,
    failed: Sequence[int] = (),
) -> VariantRuns:
    """The runs of a variant from the outcomes of each query, by seed.

    Raises:
        StatisticsError: A run has another number of queries than the split, or an outcome that is
            not finite.
    """
    for seed, outcome in outcomes.items():
        if len(outcome) != videos.num_queries:
            raise StatisticsError(
                f"variant {name!r}, seed {seed}: outcomes of {len(outcome)} queries, the split has "
                f"{videos.num_queries}; compare runs that were evaluated on the same split"
            )
        if not np.isfinite(outcome).all():
            raise StatisticsError(
                f"variant {name!r}, seed {seed}: an outcome is not finite; name the run as failed"
            )
    stacked = np.array(list(outcomes.values()), np.float64).reshape(-1, videos.num_queries)
    return VariantRuns(name, tuple(outcomes), videos.totals(stacked), tuple(failed))
