"""The plots of an ablation's rows: means with intervals, learning curves with bands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from orchestrator.report.document import Block, Figure
from orchestrator.report.drawing import (
    COLOURS,
    SOFT,
    add_legend,
    drawn,
    look,
    new_canvas,
    styled,
    whole_numbers,
)
from orchestrator.report.findings import RowFinding

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
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
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
        whole_numbers(axes)
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
