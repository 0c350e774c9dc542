"""How far the rows of an ablation are, and their means so far."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from orchestrator.study.trial import TrialState, TrialSummary


@dataclass(frozen=True)
class RowStatus:
    """A row of an ablation's table.

    Args:
        name: Its name.
        planned: Runs that it is to have so far; a race may give it more.
        complete: Runs that are complete.
        failed: Runs that failed.
        running: Runs that were begun and have not ended.
        mean: Mean value of the complete runs; None: there is none.
        standard_deviation: Between complete runs; None for fewer than two.
    """

    name: str
    planned: int
    complete: int
    failed: int
    running: int
    mean: float | None
    standard_deviation: float | None


def row_statuses(
    trials: Iterable[TrialSummary], planned: Mapping[str, int]
) -> tuple[RowStatus, ...]:
    """Rows in the order in which they were planned; none in a search.

    Args:
        trials: The sweep's trials.
        planned: Planned runs of each row.
    """
    every = list(trials)
    return tuple(
        _row(name, count, [one for one in every if one.variant == name])
        for name, count in planned.items()
    )


def _row(name: str, planned: int, trials: Sequence[TrialSummary]) -> RowStatus:
    states = [one.state for one in trials]
    values = [
        one.value for one in trials if one.state is TrialState.COMPLETE and one.value is not None
    ]
    return RowStatus(
        name=name,
        planned=planned,
        complete=len(values),
        failed=states.count(TrialState.FAILED),
        running=states.count(TrialState.RUNNING),
        mean=fmean(values) if values else None,
        standard_deviation=stdev(values) if len(values) > 1 else None,
    )


def row_lines(rows: Sequence[RowStatus], metric: str) -> list[str]:
    """The rows as a small table for a terminal; nothing without rows."""
    if not rows:
        return []
    table = [("variant", "runs", "failed", metric, "sd"), *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in table
    ]


def _cells(row: RowStatus) -> tuple[str, ...]:
    numbers = (row.mean, row.standard_deviation)
    shown = ("-" if one is None else f"{one:.2f}" for one in numbers)
    return (row.name, f"{row.complete}/{row.planned}", str(row.failed), *shown)
