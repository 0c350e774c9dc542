"""Verdicts in words, and whom they speak of."""

from collections.abc import Iterable
from typing import Protocol

from orchestrator.statistics.comparison import Comparison, Verdict
from orchestrator.statistics.crossed import CrossedMean, Interval
from orchestrator.statistics.power import MOST_SEEDS, STATED_POWER


def verdict_text(comparison: Comparison) -> str:
    """The verdict, with what it would take where nothing is shown."""
    if comparison.verdict is not Verdict.NOT_SHOWN:
        return comparison.verdict.value
    return f"{Verdict.NOT_SHOWN.value} ({_why(comparison)})"


def _why(comparison: Comparison) -> str:
    found, need = comparison.found, comparison.need
    if found.num_seeds < 2:
        return f"{found.num_seeds} shared seed{'s' * (found.num_seeds != 1)}; needs 2 or more"
    if found.num_videos < 2:
        return "one video; needs 2 or more"
    if comparison.p_value is None:
        return "no variation between seeds and videos to judge by"
    if need is None or not comparison.difference:
        return "no difference at all"
    if need.videos is not None:
        return (
            f"on {found.num_videos} videos no number of seeds would do; "
            f"needs more than {need.videos} videos"
        )
    seeds = f"about {need.seeds}" if need.seeds is not None else f"more than {MOST_SEEDS}"
    return f"a difference of this size needs {seeds} seeds at power {STATED_POWER:g}"


class Judged(Protocol):
    """A difference with an interval of its own and a verdict of its table."""

    @property
    def interval(self) -> Interval | None:
        """Of this difference alone."""

    @property
    def verdict(self) -> Verdict:
        """Corrected over all differences of the table."""


def clash_notes(differences: Iterable[Judged]) -> list[str]:
    """What is to be said where an interval seems to show what the verdict does not."""
    hidden = [one.interval for one in differences if one.verdict is Verdict.NOT_SHOWN]
    if all(one is None or one.overlaps(0.0) for one in hidden):
        return []
    return ["An interval may leave out 0 where the verdict, being corrected, is not shown."]


def population_text(found: CrossedMean) -> str:
    """What the interval of a mean over seeds and videos speaks of."""
    if found.num_seeds < 2 or found.num_videos < 2:
        return "these runs on these videos only: no interval without 2 seeds and 2 videos"
    return (
        f"new seeds of the same configuration and new videos, with their queries, like the "
        f"{found.num_videos} of this split ({found.num_seeds} seeds); not other data sets"
    )
