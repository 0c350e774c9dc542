"""The plots of an ablation's rows: means with intervals, learning curves with bands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from orchestrator.report.document import Block, Figure
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
from orchestrator.report.findings import RowFinding
from orchestrator.report.marks import mark, row_key, run_key

# A standard deviation needs two curves.
_FEWEST_FOR_A_BAND = 2
# Marks on a curve: enough to identify it, few enough to see the curve.
_MARKS_OF_A_CURVE = 8


def rows_with_intervals(rows: Sequence[RowFinding], metric: str) -> Iterator[Block]:
    """Every run, mean and interval of each row, row below row; empty without an interval."""
    if not any(row.summary and row.summary.interval for row in rows):
        return
    with styled():
        canvas = new_canvas(0.9 + 0.5 * len(rows))
        axes = canvas.add_subplot()
        for k, row in enumerate(rows):
            _draw_row(axes, k, row, metric)
        if rows[0].summary is not None:
            axes.axvline(rows[0].summary.mean, color=SOFT, linewidth=1, linestyle=":")
        name_rows(axes, [row.name for row in rows])
        axes.set_xlabel(metric)
        svg = drawn(canvas)
    yield Figure(
        f"{metric} of every row: each run, the mean, and the 95 % interval for new seeds and "
        "new videos. Rows share seeds and videos, so overlapping intervals can hide a "
        "difference that is real: the table above decides.",
        svg,
    )


def _draw_row(axes: Axes, k: int, row: RowFinding, metric: str) -> None:
    """Points of a row's runs, and its mean with the interval if that is known."""
    colour = COLOURS[0] if k else SOFT
    known = [run for run in row.runs if run.at_best(metric) is not None]
    values = [run.at_best(metric) or 0.0 for run in known]
    points = axes.plot(values, [k] * len(values), "o", color=colour, alpha=0.35, markersize=5)
    mark(points, *(run_key(row.name, run.trial.number) for run in known))
    if row.summary is None or row.summary.interval is None:
        return
    interval = row.summary.interval
    line = axes.plot([interval.low, interval.high], [k, k], color=colour, linewidth=2)
    mean = axes.plot([row.summary.mean], [k], "D", color=colour, markersize=7)
    mark([*line, *mean], row_key(row.name))


@dataclass(frozen=True)
class _Curves:
    """Curves of a row's runs, cut to the shortest of them, and the length of the longest."""

    name: str
    values: Float[np.ndarray, "runs epochs"]
    longest: int

    @classmethod
    def of(cls, row: RowFinding, metric: str) -> "_Curves":
        """A metric by epoch, of the runs that have it."""
        curves = [
            [epoch.metrics[metric] for epoch in run.epochs if metric in epoch.metrics]
            for run in row.runs
        ]
        curves = [curve for curve in curves if curve]
        lengths = [len(curve) for curve in curves] or [0]
        values = np.array([curve[: min(lengths)] for curve in curves])
        return cls(row.name, values.reshape(len(curves), min(lengths)), max(lengths))


def learning_figures(rows: Sequence[RowFinding], metric: str) -> Iterator[Block]:
    """Mean curve of each row with the band of its seeds; empty if no metrics are known."""
    every = (_Curves.of(row, metric) for row in rows)
    curves_of_rows = [curves for curves in every if curves.values.size]
    if not curves_of_rows:
        return
    names = [curves.name for curves in curves_of_rows]
    with styled():
        canvas = new_canvas(4.2, names)
        axes = canvas.add_subplot()
        for k, curves in enumerate(curves_of_rows):
            epochs, mean = np.arange(1, curves.values.shape[1] + 1), curves.values.mean(axis=0)
            curve = axes.plot(epochs, mean, label=curves.name, markersize=5,
                              markevery=max(1, len(epochs) // _MARKS_OF_A_CURVE),
                              **look(k))  # fmt: skip
            mark(curve, row_key(curves.name))
            if len(curves.values) >= _FEWEST_FOR_A_BAND:
                deviation = curves.values.std(axis=0, ddof=1)
                band = axes.fill_between(epochs, mean - deviation, mean + deviation, alpha=0.12,
                                         linewidth=0, color=look(k)["color"])  # fmt: skip
                mark([band], row_key(curves.name))
        axes.set(xlabel="epoch", ylabel=metric)
        whole_number_ticks(axes)
        add_legend(canvas, axes, names)
        svg = drawn(canvas)
    yield Figure(
        f"{metric} by epoch: mean of each row, band of one standard deviation between seeds."
        + _cut(curves_of_rows),
        svg,
    )


def _cut(curves_of_rows: Sequence[_Curves]) -> str:
    """Which curves end before the longest run of their row."""
    texts = [
        f"{curves.name} after {curves.values.shape[1]} of {curves.longest} epochs"
        for curves in curves_of_rows
        if curves.values.shape[1] < curves.longest
    ]
    return f" A curve ends with the shortest run of its row: {', '.join(texts)}." * bool(texts)
