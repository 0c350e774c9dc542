"""Verdicts in words, and what intervals hold for."""

from collections.abc import Iterable
from typing import Protocol

from orchestrator.statistics.comparison import Comparison, Verdict
from orchestrator.statistics.crossed import CrossedMean, Interval
from orchestrator.statistics.power import MOST_SEEDS, STATED_POWER, Need


def verdict_text(comparison: Comparison) -> str:
    """The verdict; where nothing is shown, also what it would take."""
    if comparison.verdict is not Verdict.NOT_SHOWN:
        return comparison.verdict.value
    return f"{Verdict.NOT_SHOWN.value} ({_why(comparison)})"


def _why(comparison: Comparison) -> str:
    estimate, need = comparison.estimate, comparison.need
    if estimate.num_seeds < 2:
        return f"{estimate.num_seeds} shared seed{'s' * (estimate.num_seeds != 1)}; needs 2 or more"
    if estimate.num_videos < 2:
        return "one video; needs 2 or more"
    if comparison.p_value is None:
        return "no variation between seeds and videos to judge by"
    if need is None or not comparison.difference:
        return "no difference at all"
    if need.videos is not None:
        return (
            f"on {estimate.num_videos} videos no number of seeds would do; "
            f"needs more than {need.videos} videos"
        )
    return f"a difference of this size needs {seeds_text(need)} seeds at power {STATED_POWER:g}"


def seeds_text(need: Need) -> str:
    """The number of seeds that a difference needs."""
    return f"about {need.seeds}" if need.seeds is not None else f"more than {MOST_SEEDS}"


class Judged(Protocol):
    """A difference with an interval of its own and a verdict of its table."""

    @property
    def interval(self) -> Interval | None:
        """Interval of this difference alone."""

    @property
    def verdict(self) -> Verdict:
        """Verdict, corrected over all differences of the table."""


def clash_notes(differences: Iterable[Judged]) -> list[str]:
    """A note for a table where an interval seems to show what the verdict does not."""
    not_shown = (each.interval for each in differences if each.verdict is Verdict.NOT_SHOWN)
    if all(interval is None or interval.overlaps(0.0) for interval in not_shown):
        return []
    return [
        "An interval may leave out 0 where the verdict says not shown: verdicts are corrected over "
        "all comparisons, intervals are not."
    ]


def population_text(mean: CrossedMean) -> str:
    """What the interval of a mean over seeds and videos holds for."""
    if mean.num_seeds < 2 or mean.num_videos < 2:
        return "these runs on these videos only: an interval needs 2 seeds and 2 videos"
    return (
        f"new seeds of the same configuration and new videos, with their queries, like the "
        f"{mean.num_videos} of this split ({mean.num_seeds} seeds); not for other data sets"
    )
