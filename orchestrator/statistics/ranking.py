"""Which of several configurations is the best, where each was run on several seeds."""

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import TypeVar

T = TypeVar("T")


def by_mean(
    groups: Iterable[Sequence[T]], value: Callable[[T], float], *, maximize: bool
) -> list[Sequence[T]]:
    """Groups of complete runs, the best configuration first.

    A configuration with fewer complete runs ranks below one with more, whatever its mean: it was
    beaten in a race, or runs of it failed, and a few seeds may be lucky.

    Args:
        groups: Complete runs of each configuration; a configuration without any is left out.
        value: Value of a run.
        maximize: Whether larger values are better.
    """
    sign = -1 if maximize else 1

    def rank(runs: Sequence[T]) -> tuple[int, float]:
        return -len(runs), sign * fmean(map(value, runs))

    return sorted((runs for runs in groups if runs), key=rank)
