"""The plots of an ablation's rows: means with intervals, learning curves with bands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from jaxtyping import Float

from orchestrator.report.document import Align, Block, Figure, Table
from orchestrator.report.drawing import (
    COLOURS,
    SOFT,
    add_legend,
    drawn,
    look,
    name_rows,
    new_canvas,
    styled,
    whole_number_ticks,
)
from orchestrator.report.findings import AblationFinding, Findings, RowFinding, spread
from orchestrator.report.formatting import (
    display_name,
    hours,
    interval_text,
    millions,
    number,
    with_spread,
)
from orchestrator.study.trial import TrialState

_FEW_FOR_A_BAND = 2
# Marks on a curve: enough to tell it apart, few enough to see it.
_MARKS_OF_A_CURVE = 8


def rows_with_intervals(rows: Sequence[RowFinding], metric: str) -> str:
    """Every run, mean and interval of each row, one below the other."""
    with styled():
        canvas = new_canvas(0.9 + 0.5 * len(rows))
        axes = canvas.add_subplot()
        for k, row in enumerate(rows):
            colour = COLOURS[0] if k else SOFT
            values = row.values(metric)
            axes.plot(values, [k] * len(values), "o", color=colour, alpha=0.35, markersize=5)
            if row.summary is None or row.summary.interval is None:
                continue
            interval = row.summary.interval
            axes.plot([interval.low, interval.high], [k, k], color=colour, linewidth=2)
            axes.plot([row.summary.mean], [k], "D", color=colour, markersize=7)
        if rows and rows[0].summary is not None:
            axes.axvline(rows[0].summary.mean, color=SOFT, linewidth=1, linestyle=":")
        name_rows(axes, [row.name for row in rows])
        axes.set_xlabel(metric)
        return drawn(canvas)


@dataclass(frozen=True)
class _Curves:
    """Curves of a row's runs, cut to the shortest of them, and the length of the longest."""

    name: str
    values: Float[np.ndarray, "runs epochs"]
    longest: int


def learning_figures(rows: Sequence[RowFinding], metric: str) -> Iterator[Block]:
    """Mean curve of each row with the band of its seeds; nothing where no metrics are there."""
    curves = [one for one in (_curves(row, metric) for row in rows) if one.values.size]
    if not curves:
        return
    names = [one.name for one in curves]
    with styled():
        canvas = new_canvas(4.2, names)
        axes = canvas.add_subplot()
        for k, one in enumerate(curves):
            epochs, middle = np.arange(1, one.values.shape[1] + 1), one.values.mean(axis=0)
            axes.plot(epochs, middle, label=one.name, markersize=5,
                      markevery=max(1, len(epochs) // _MARKS_OF_A_CURVE), **look(k))  # fmt: skip
            if len(one.values) >= _FEW_FOR_A_BAND:
                half = one.values.std(axis=0, ddof=1)
                axes.fill_between(epochs, middle - half, middle + half, alpha=0.12, linewidth=0,
                                  color=look(k)["color"])  # fmt: skip
        axes.set(xlabel="epoch", ylabel=metric)
        whole_number_ticks(axes)
        add_legend(canvas, axes, names)
        svg = drawn(canvas)
    yield Figure(
        f"{metric} by epoch: mean of each row, band of one standard deviation between seeds."
        + _cut(curves),
        svg,
    )


def _curves(row: RowFinding, metric: str) -> _Curves:
    curves = [[e.metrics[metric] for e in run.rows if metric in e.metrics] for run in row.runs]
    curves = [one for one in curves if one]
    lengths = [len(one) for one in curves] or [0]
    values = np.array([one[: min(lengths)] for one in curves])
    return _Curves(row.name, values.reshape(len(curves), min(lengths)), max(lengths))


def _cut(curves: Sequence[_Curves]) -> str:
    """Which curves end before the longest run of their row does."""
    texts = [
        f"{one.name} after {one.values.shape[1]} of {one.longest} epochs"
        for one in curves
        if one.values.shape[1] < one.longest
    ]
    return f" A curve ends with the shortest run of its row: {', '.join(texts)}." * bool(texts)


# What every row of an ablation cost, its failed runs included.


def cost_table(findings: Findings, ablation: AblationFinding) -> Table:
    """Epochs, device hours, seconds and parameters of each row."""
    resources = findings.data.spec.resources
    unit = "GPU" if resources.gpus else "CPU"
    return Table(
        "Cost of every row",
        ("row", "epochs to best", f"{unit}-hours", "s an epoch", "ms a query", "parameters"),
        [_cost(findings, row) for row in ablation.rows],
        notes=[
            "A query: the seconds of an evaluation, videos encoded, over its queries, which are "
            "answered together.",
            *_incomplete(ablation),
            *_taken_over(findings),
        ],
    )


def _cost(findings: Findings, row: RowFinding) -> list[str]:
    resources, videos = findings.data.spec.resources, findings.data.videos
    devices = (resources.gpus or resources.cpus) * resources.workers
    seconds = [one.seconds for one in (*row.runs, *row.others) if one.seconds is not None]
    epochs = [float(one.trial.best_epoch) for one in row.runs if one.trial.best_epoch]
    evaluation = _mean(row.values("time/evaluation_s"))
    query_ms = None
    if evaluation is not None and videos is not None:
        query_ms = 1000 * evaluation / videos.num_queries
    return [
        row.name,
        with_spread(spread(epochs)),
        hours(devices * sum(seconds) if seconds else None),
        number(_mean(row.values("time/epoch_s"))),
        number(query_ms, 2),
        millions(next((one.parameters for one in row.runs if one.parameters), None)),
    ]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _incomplete(ablation: AblationFinding) -> list[str]:
    """What the hours hold of runs that did not come to their end, and what is missing."""
    runs = [one for row in ablation.rows for one in (*row.runs, *row.others)]
    ended = [one for one in runs if one.trial.state is not TrialState.RUNNING]
    partly = any(not one.is_complete and one.seconds is not None for one in runs)
    missing = [
        one.trial.number for one in ended if one.seconds is None and one.trial.taken_from is None
    ]
    notes = ["Of failed and unfinished runs, hours hold the finished epochs."] * partly
    if missing:
        listed = ", ".join(map(str, sorted(missing)))
        notes.append(f"Not in the hours, as their seconds are not known: trials {listed}.")
    return notes


def _taken_over(findings: Findings) -> list[str]:
    taken = [one.trial for one in findings.data.runs if one.trial.taken_from is not None]
    texts = [f"{one.number} from {one.taken_from}" for one in taken]
    return [f"Trials taken over, which cost nothing here: {', '.join(texts)}."] * bool(texts)


# The recalls of an ablation: of the fused scores in the paper's layout, then of each branch.


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
