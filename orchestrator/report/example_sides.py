"""Ranks of single queries by a sweep's winner, and by what it is held against."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from orchestrator.report.candidates import BEST, KNEE
from orchestrator.report.reading import SweepData
from orchestrator.report.winner_baseline import Opponents, opponents, strongest_form
from orchestrator.report.yardstick import FROZEN
from orchestrator.study.outcomes import epoch_ranks
from orchestrator.study.trial import TrialSummary


@dataclass(frozen=True)
class Sides:
    """A winner and what it is held against.

    Args:
        winner: Name of the winner.
        seeds: Seeds of its runs.
        ranks: Its rank of each query: the geometric mean over the seeds, in which a step from 1 to
            2 counts as much as one from 100 to 200.
        other: Name of what it is held against; empty if there is nothing.
        why: Why that, a sentence.
        other_ranks: The ranks of that; None without it.
    """

    winner: str
    seeds: tuple[int, ...]
    ranks: Float[np.ndarray, "queries"]
    other: str = ""
    why: str = ""
    other_ranks: Float[np.ndarray, "queries"] | None = None


def sides(data: SweepData) -> Sides | None:
    """The two sides (`opponents`); None without a winner whose ranks of the data can be read."""
    found = opponents(data)
    if found is None or data.videos is None:
        return None
    if found.others:
        return _against_runs(data, found)
    own = [(run, ranks) for run in found.runs if (ranks := _ranks(data, run)) is not None]
    if not own:
        return None
    runs, ranks = zip(*own, strict=True)
    alone = Sides(_name(found), _seeds(runs), _mean(ranks))
    form = strongest_form(data)
    frozen = data.frozen.ranks[f"val/{form}"] if data.frozen and form else None
    if frozen is None or len(frozen) != data.videos.num_queries:
        return alone
    name = f"{FROZEN}{form}"
    why = f"{name} is what the features themselves retrieve, untrained."
    return replace(alone, other=name, why=why, other_ranks=frozen.astype(np.float64))


def _against_runs(data: SweepData, found: Opponents) -> Sides | None:
    """The pairs of runs of which both sides can be read."""
    pairs = [
        (run, own, other)
        for run, against in zip(found.runs, found.others, strict=True)
        if (own := _ranks(data, run)) is not None and (other := _ranks(data, against)) is not None
    ]
    if not pairs:
        return None
    runs, own, other = zip(*pairs, strict=True)
    name, seeds = _name(found), _seeds(runs)
    return Sides(name, seeds, _mean(own), found.baseline, found.why, _mean(other))


def _name(found: Opponents) -> str:
    """The winning row, or the trial that a search found."""
    first = found.runs[0]
    number = first.number if first.confirms is None else first.confirms
    return f"trial {number}" if found.winner in (BEST, KNEE) else found.winner


def _seeds(runs: Sequence[TrialSummary]) -> tuple[int, ...]:
    return tuple(run.seed for run in runs if run.seed is not None)


def _ranks(data: SweepData, run: TrialSummary) -> Int[np.ndarray, "queries"] | None:
    """Ranks at the best epoch of a run; None if they cannot be read or are of other data."""
    ranks = epoch_ranks(run, run.best_epoch or 0)
    is_of_split = ranks is not None and data.videos and len(ranks) == data.videos.num_queries
    return ranks if is_of_split else None


def _mean(ranks: Sequence[np.ndarray]) -> Float[np.ndarray, "queries"]:
    """Geometric mean of several ranks of each query."""
    mean: np.ndarray = np.exp(np.mean(np.log(ranks), axis=0))
    return mean
