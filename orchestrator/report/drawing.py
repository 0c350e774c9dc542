"""Style, colours, marks and ticks of all plots of a report."""

import io
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from orchestrator.report.formatting import short_number, shortened
from orchestrator.report.marks import key_of, mark, marked

# Paul Tol's bright scheme: colour-blind readers can tell the colours apart, also in grey.
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")
SOFT = "#59636E"
PALE = "#C4CBD3"
_MARKS = ("o", "s", "^", "D", "v", "P", "X")
# Text stays text, so that it can be searched and read aloud; the salt makes ids repeatable.
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "prvr-sweep",
    "font.family": "sans-serif",
    "font.size": 10,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E8EB",
    "axes.axisbelow": True,
    # Names come from users: a dollar sign in them is no formula. So nothing here may rely on
    # mathtext, as matplotlib's own labels of logarithmic axes do.
    "text.parse_math": False,
    # The page is behind it, which may be dark.
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
# The report's text is 1.2 times as wide on a laptop, and 0.73 times on A4: letters of 10 points are
# then 16 pixels high, as the text, or 7 points.
WIDTH_IN = 10
# Width of a letter of a tick label, at the wide end.
_LETTER_IN = 0.095
# Names of ticks that do not fit side by side are slanted and cut. With more names per inch than
# this, only every second, third ... has a label.
_SLANT_DEGREES = 30
_LONGEST_SLANTED = 24
_SLANTED_PER_IN = 3
# Ticks of an axis of numbers, at most.
MOST_TICKS = 5
# Longer legends would hide what is drawn.
_MOST_INSIDE = 6
_LEGEND_COLUMNS = 3
_LEGEND_LINE_IN = 0.22
_LONGEST_LABEL = 40


def styled() -> AbstractContextManager[None]:
    """The style of all plots; a plot is made inside this context."""
    make: Any = rc_context  # its stubs list the keys of one version
    style: AbstractContextManager[None] = make(_STYLE)
    return style


def new_canvas(height_in: float, names: Sequence[str] = ()) -> Canvas:
    """An empty figure as wide as the text of a page.

    Args:
        height_in: Height of what is drawn.
        names: Names in its legend; a long legend gets room of its own.
    """
    below = -(-len(names) // _LEGEND_COLUMNS) if len(names) > _MOST_INSIDE else 0
    return Canvas(figsize=(WIDTH_IN, height_in + _LEGEND_LINE_IN * below), layout="constrained")


def drawn(canvas: Canvas) -> str:
    """The figure as an SVG element without prologue."""
    out = io.StringIO()
    backend: Any = FigureCanvasSVG(canvas)
    backend.print_svg(out, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return marked(text[text.index("<svg") :].strip())


def look(row: int) -> dict[str, Any]:
    """Colour and mark of a row by its number, from 0; the first 49 rows differ."""
    count = len(COLOURS)
    return {
        "color": COLOURS[row % count],
        "marker": _MARKS[(row + row // count) % count],
    }


def add_legend(canvas: Canvas, axes: Axes, names: Sequence[str]) -> None:
    """The legend: on the axes if it is short, else below them."""
    handles, labels = axes.get_legend_handles_labels()
    shown = [shortened(label, _LONGEST_LABEL) for label in labels]
    outside: Any = {"loc": "outside lower center", "ncols": _LEGEND_COLUMNS}
    is_long = len(names) > _MOST_INSIDE
    legend = canvas.legend(handles, shown, **outside) if is_long else axes.legend(handles, shown)
    for handle, line, text in zip(handles, legend.get_lines(), legend.get_texts(), strict=True):
        if isinstance(handle, Artist) and (key := key_of(handle)) is not None:
            mark([line, text], key)


def whole_number_ticks(axes: Axes) -> None:
    """Ticks across at whole numbers only."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def number_ticks(axes: Axes, low: float, high: float, *, is_log: bool) -> None:
    """Few ticks across, with plain numbers, over the range from `low` to `high`."""
    formatter = FuncFormatter(lambda value, _: short_number(value))
    if is_log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(MOST_TICKS - 1))
    axes.xaxis.set_major_formatter(formatter)


def log_ticks(low: float, high: float) -> list[float]:
    """At most `MOST_TICKS` round numbers from `low` to `high`: 1, 2 and 5 of each decade, or 1."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every_nth = -(-len(decades) // MOST_TICKS)
    for steps, chosen in (((1, 2, 5), decades), ((1,), decades), ((1,), decades[::every_nth])):
        # From text, since 3 * 10 ** -5 is not 3e-5.
        ticks = [float(f"{step}e{decade}") for decade in chosen for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) <= MOST_TICKS:
            break
    return inside if len(inside) > 1 else sorted({low, high})


def name_ticks(axes: Axes, names: Sequence[str], width_in: float) -> None:
    """Ticks across with names, slanted if they do not fit side by side.

    Args:
        axes: The axes; the k-th name stands at k.
        names: The names, which users chose.
        width_in: Width of the axes.
    """
    is_flat = max(map(len, names)) * _LETTER_IN * len(names) <= width_in
    slanted: dict[str, Any] = {} if is_flat else {
        "rotation": _SLANT_DEGREES, "ha": "right", "rotation_mode": "anchor"
    }  # fmt: skip
    step = 1 if is_flat else math.ceil(len(names) / (_SLANTED_PER_IN * width_in))
    shown = [shortened(name, _LONGEST_SLANTED) for name in names[::step]]
    axes.set_xticks(range(0, len(names), step), shown, **slanted)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """A row for each name, the first at the top."""
    axes.set_yticks(range(len(names)), [shortened(name, _LONGEST_LABEL) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
