"""The recalls of an ablation: of the fused scores in the paper's layout, then of each branch."""

from collections.abc import Iterator

from orchestrator.report.document import Align, Block, Table
from orchestrator.report.findings import AblationFinding, RowFinding, spread
from orchestrator.report.formatting import interval_text, with_spread
from orchestrator.report.metric_names import display_name

_RECALLS = ("R1", "R5", "R10", "R100", "SumR")
_BRANCHES = ("clip", "frame")
_HEADS = tuple(display_name(f"val/{name}") for name in _RECALLS)
_HOW = "mean ± standard deviation between seeds, at each run's best epoch"


def recall_tables(ablation: AblationFinding, metric: str) -> Iterator[Block]:
    """The table of all rows, and that of their branches where these were evaluated.

    Args:
        ablation: The rows.
        metric: The objective, which the interval is of.
    """
    rows = [
        [
            row.name,
            _seeds(row),
            *_cells(row, ""),
            interval_text(row.summary.interval if row.summary else None),
        ]
        for row in ablation.rows
    ]
    heads = ("row", "seeds", *_HEADS, f"95 % interval of {display_name(metric)}")
    notes = _single_seed_notes(ablation)
    yield Table(f"Recalls on validation: {_HOW}", heads, rows, notes=notes)
    yield from _by_branch(ablation)


def _by_branch(ablation: AblationFinding) -> Iterator[Block]:
    rows = [
        [row.name, branch, *_cells(row, f"{branch}/")]
        for row in ablation.rows
        for branch in _BRANCHES
        if row.values(f"val/{branch}/SumR")
    ]
    if rows:
        heads = ("row", "branch", *_HEADS)
        numbers: list[Align] = ["right"] * len(_HEADS)
        yield Table(f"Recalls by branch: {_HOW}", heads, rows, align=("left", "left", *numbers))


def _cells(row: RowFinding, branch: str) -> list[str]:
    return [with_spread(spread(row.values(f"val/{branch}{name}"))) for name in _RECALLS]


def _seeds(row: RowFinding) -> str:
    parts = [str(len(row.runs))]
    parts += [f"{row.failed} failed"] if row.failed else []
    parts += [f"{row.unfinished} to come"] if row.unfinished else []
    return ", ".join(parts)


def _single_seed_notes(ablation: AblationFinding) -> list[str]:
    if max((len(row.runs) for row in ablation.rows), default=0) > 1:
        return []
    return ["One seed: this table shows no difference to be real, however large it looks."]
