"""The plots of several data sets: gains on each and on their mean, and the transfer matrix."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from orchestrator.report.document import Block, Figure
from orchestrator.report.drawing import (
    COLOURS,
    PALE,
    SOFT,
    WIDTH_IN,
    drawn,
    look,
    name_rows,
    name_ticks,
    new_canvas,
    styled,
)
from orchestrator.report.formatting import display_name, number
from orchestrator.report.marks import mark, row_key
from orchestrator.report.transfer import SUM, Transfer
from orchestrator.statistics.crossed import Interval
from orchestrator.statistics.several_data import JointComparison, JointTable
from orchestrator.statistics.table import LEVEL

_MEAN = "mean over data sets"
# Marks of one comparison share its row: the mean in the middle, data sets spread around it.
_SPREAD = 0.6
# From a pale to a full blue, so that dark text stays readable on most and white on the rest.
_BLUES = LinearSegmentedColormap.from_list("blues", ["#F1F5FA", COLOURS[0]])
_DARK_FROM = 0.7
_MATRIX_WIDTH_SHARE = 0.55
# Below the axes, where it hides no interval.
_LEGEND_COLUMNS = 5


def gains_figure(table: JointTable, metric: str) -> Iterator[Block]:
    """Every comparison on each data set and on their mean, with intervals."""
    names = [*table.of_data, _MEAN]
    labels = [f"{each.contrast.variant} - {each.contrast.reference}" for each in table.comparisons]
    with styled():
        canvas = new_canvas(1.3 + 0.28 * len(names) * len(labels))
        axes = canvas.add_subplot()
        axes.axvline(0, color=SOFT, linewidth=1)
        for row, comparison in enumerate(table.comparisons):
            _draw_gains(axes, row, comparison, names)
        name_rows(axes, labels)
        axes.set_xlabel(f"difference of {display_name(metric)}")
        below: Any = {"loc": "outside lower center", "ncols": _LEGEND_COLUMNS}
        canvas.legend(*axes.get_legend_handles_labels(), **below)
        svg = drawn(canvas)
    yield Figure(
        f"Differences of {display_name(metric)} with 95 % intervals for new seeds and new videos, "
        "on each data set and on their mean.",
        svg,
    )


def _draw_gains(axes: Axes, row: int, comparison: JointComparison, names: list[str]) -> None:
    found: list[tuple[float, Interval | None]] = [
        (estimate.mean, estimate.interval(LEVEL)) for estimate in comparison.estimates.values()
    ]
    found.append((comparison.difference, comparison.interval))
    key = row_key(comparison.contrast.variant)
    offsets = np.linspace(-_SPREAD / 2, _SPREAD / 2, len(found))
    for place, (mean, interval) in enumerate(found):
        is_mean = place == len(found) - 1
        style = {"color": SOFT, "marker": "D"} if is_mean else look(place)
        height = row + float(offsets[place])
        if interval is not None:
            ends = [interval.low, interval.high]
            width = 3 if is_mean else 1.5
            mark(axes.plot(ends, [height] * 2, color=style["color"], linewidth=width), key)
        label = names[place] if row == 0 else None
        point = axes.plot([mean], [height], linestyle="none", markersize=8, label=label, **style)
        mark(point, key)


def transfer_figure(transfer: Transfer) -> Iterator[Block]:
    """The matrix as squares, darker where a model scores more of what is best there."""
    sources, targets = transfer.sources, transfer.targets
    values = np.array(
        [
            [np.nan if (value := transfer.cell(row, column).value) is None else value
             for column in targets]
            for row in sources
        ]
    )  # fmt: skip
    if np.isnan(values).all():
        return
    shares = values / np.nanmax(values, axis=0, initial=1e-9)
    with styled():
        canvas = new_canvas(1.2 + 0.55 * len(sources))
        axes = canvas.add_subplot()
        axes.set_xlim(-0.5, len(targets) - 0.5)
        axes.grid(visible=False)
        for row in range(len(sources)):
            for column in range(len(targets)):
                _write_cell(axes, row, column, values[row, column], shares[row, column])
        name_rows(axes, [transfer.row_name(source) for source in sources])
        name_ticks(axes, [f"on {target}" for target in targets], _MATRIX_WIDTH_SHARE * WIDTH_IN)
        svg = drawn(canvas)
    yield Figure(
        f"{SUM} of the winner of each row's data set on the data set of each column; the darker, "
        "the nearer to the best of its column.",
        svg,
    )


def _write_cell(axes: Axes, row: int, column: int, value: float, share: float) -> None:
    fits = not np.isnan(value)
    # Squares, not an image, which the page's policy does not let in.
    fill: Any = {"facecolor": _BLUES(share)} if fits else {"facecolor": PALE, "alpha": 0.4}
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, linewidth=0, **fill))
    at: Any = {"ha": "center", "va": "center"}
    if not fits:
        axes.text(column, row, "does not fit", color=SOFT, **at)
        return
    colour = "white" if share >= _DARK_FROM else "black"
    axes.text(column, row, number(value), color=colour, weight="bold", **at)
