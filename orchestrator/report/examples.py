"""Single queries of validation: where a sweep's winner ranks best, worst, and unlike another."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from orchestrator.report.example_sides import Sides, sides
from orchestrator.report.reading import SweepData
from orchestrator.study.outcomes import VALIDATION

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

_SHOWN = 10
# Five gains and five losses, so that what a winner lost is seen beside what it gained.
_EACH_WAY = _SHOWN // 2
# Factors of ranks below this are none: means over seeds are rounded.
_SAME = 1e-9

BY_MOMENTS = "the shortest moment for its video first"
BY_LENGTHS = "the longest video first"


@dataclass(frozen=True)
class Example:
    """A query and where its right video stands.

    Args:
        caption: Its text.
        caption_id: Its name in the data.
        video: Name of its own video.
        duration_s: Length of that in seconds; None if not known.
        moment_s: Start and end of its first moment in seconds; None if not known.
        rank: The winner's rank of its best right video, from 1, see `Sides.ranks`.
        other_rank: The same by the other side; None without it.
    """

    caption: str
    caption_id: str
    video: str
    duration_s: float | None
    moment_s: tuple[float, float] | None
    rank: float
    other_rank: float | None


@dataclass(frozen=True)
class Examples:
    """Queries that show what a winner does; each group has at most one of a video.

    Args:
        winner: Name of the winner.
        seeds: Seeds over which ranks are averaged.
        other: Name of what it is held against; empty if there is nothing.
        why: Why that, a sentence.
        ties: What comes first among queries of the same rank in `best`.
        best: Those that the winner ranks best.
        worst: Those that it ranks worst, the worst first.
        gained: Those on which its rank is the smallest part of the other's, smallest first.
        lost: Those on which it is the largest multiple, largest first.
    """

    winner: str
    seeds: tuple[int, ...]
    other: str
    why: str
    ties: str
    best: tuple[Example, ...]
    worst: tuple[Example, ...]
    gained: tuple[Example, ...] = ()
    lost: tuple[Example, ...] = ()


def find_examples(data: SweepData) -> Examples | None:
    """Queries of a sweep's validation; None without a winner, its ranks, or the data."""
    found = sides(data)
    if found is None or data.store is None:
        return None
    queries = _Queries(data.store, found)
    gained, lost = queries.differences()
    return Examples(
        found.winner,
        found.seeds,
        found.other,
        found.why,
        queries.ties,
        queries.shown(queries.best_first(), _SHOWN),
        queries.shown(queries.worst_first(), _SHOWN),
        gained,
        lost,
    )


class _Queries:
    """The queries of a split with their ranks by two sides."""

    def __init__(self, store: "FeatureStore", found: Sides) -> None:
        self._split = store.split(VALIDATION)
        self._ranks, self._others = found.ranks, found.other_ranks
        self._lengths_s = _lengths_s(store)
        self._ratios = np.array(list(self._moment_ratios()))
        self.ties = BY_LENGTHS if np.isnan(self._ratios).all() else BY_MOMENTS

    def best_first(self) -> Sequence[int]:
        """By rank; most queries of a good model have rank 1, of which the hardest come first."""
        ratios = np.nan_to_num(self._ratios, nan=np.inf)
        return _order(self._ranks, ratios, -self._lengths_s[self._split.caption_video])

    def worst_first(self) -> Sequence[int]:
        """By rank, from the last; of the same rank those first that the other ranks better."""
        others = self._ranks if self._others is None else self._others
        return _order(-self._ranks, others)

    def differences(self) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
        """Where the winner gained and lost: five each, or more of one where the other has fewer."""
        if self._others is None:
            return (), ()
        factors = np.log(self._ranks) - np.log(self._others)
        gained = [query for query in _order(factors, self._ranks) if factors[query] < -_SAME]
        lost = [query for query in _order(-factors, self._others) if factors[query] > _SAME]
        some_gained, some_lost = (self.shown(each, _SHOWN) for each in (gained, lost))
        num_lost = min(len(some_lost), max(_EACH_WAY, _SHOWN - len(some_gained)))
        return some_gained[: _SHOWN - num_lost], some_lost[:num_lost]

    def shown(self, queries: Iterable[int], count: int) -> tuple[Example, ...]:
        """The first queries of different videos."""
        of_videos: dict[int, int] = {}
        for query in queries:
            of_videos.setdefault(int(self._split.caption_video[query]), query)
            if len(of_videos) == count:
                break
        return tuple(map(self._example, of_videos.values()))

    def _moment_ratios(self) -> Iterator[float]:
        """Share of its video that each query's moments last; NaN where none are known."""
        split = self._split
        for video, moments in zip(split.caption_video, split.moments, strict=True):
            seconds = sum(end - start for start, end in moments)
            yield seconds / self._lengths_s[video] if moments else np.nan

    def _example(self, query: int) -> Example:
        split, video = self._split, int(self._split.caption_video[query])
        duration_s = float(split.durations_s[video])
        moment = next(iter(split.moments[query]), None)
        return Example(
            split.caption_texts[query],
            split.caption_ids[query],
            split.video_ids[video],
            None if np.isnan(duration_s) else duration_s,
            None if moment is None else (moment[0], moment[1]),
            float(self._ranks[query]),
            None if self._others is None else float(self._others[query]),
        )


def _order(*keys: np.ndarray) -> Sequence[int]:
    """Queries by the first key, then the next; those equal in all keep the data's order."""
    order: list[int] = np.lexsort(keys[::-1]).tolist()
    return order


def _lengths_s(store: "FeatureStore") -> Float[np.ndarray, "videos"]:
    """Seconds of each video of validation, by its rows where its length is not annotated.

    Where the time of a row is not known either, one row is taken for a second: this orders videos.
    """
    split = store.split(VALIDATION)
    by_rows = split.num_frames * (store.manifest.seconds_per_row or 1.0)
    return np.where(np.isnan(split.durations_s), by_rows, split.durations_s)
