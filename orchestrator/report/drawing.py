"""What all plots of a report share: style, colours, marks; the only home of matplotlib."""

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

# Paul Tol's bright scheme: told apart by colour-blind readers and in grey.
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")
SOFT = "#59636E"
PALE = "#C4CBD3"
_MARKS = ("o", "s", "^", "D", "v", "P", "X")
# Text stays text, so that it can be searched and read aloud; the salt makes files repeat.
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "prvr-sweep",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E8EB",
    "axes.axisbelow": True,
    # Names come from users: a dollar sign in them is no formula.
    "text.parse_math": False,
}
_WIDTH = 8.5
# Longer legends would hide what is drawn.
_MOST_INSIDE = 6
_LEGEND_COLUMNS = 3
_LEGEND_LINE = 0.22


def styled() -> AbstractContextManager[None]:
    """The style of all plots, to be on while one is made."""
    make: Any = rc_context  # its stubs list the keys of one version
    style: AbstractContextManager[None] = make(_STYLE)
    return style


def new_canvas(height: float, names: Sequence[str] = ()) -> Canvas:
    """An empty figure as wide as a page.

    Args:
        height: Of what is drawn, in inches.
        names: What its legend is to tell; a long one gets room of its own.
    """
    below = -(-len(names) // _LEGEND_COLUMNS) if len(names) > _MOST_INSIDE else 0
    return Canvas(figsize=(_WIDTH, height + _LEGEND_LINE * below), layout="constrained")


def look(place: int) -> dict[str, Any]:
    """Colour and mark of the row at a place, from 0; the first 49 are told apart."""
    count = len(COLOURS)
    return {
        "color": COLOURS[place % count],
        "marker": _MARKS[(place + place // count) % count],
    }


def add_legend(canvas: Canvas, axes: Any, names: Sequence[str]) -> None:  # noqa: ANN401
    """The legend: on the axes where it is short, else below all."""
    if len(names) <= _MOST_INSIDE:
        axes.legend(frameon=False, fontsize=8)
        return
    columns: Any = {"loc": "outside lower center", "ncols": _LEGEND_COLUMNS}
    canvas.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=8, **columns)


def whole_numbers(axes: Any) -> None:  # noqa: ANN401
    """Ticks across at whole numbers only."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def drawn(canvas: Canvas) -> str:
    """The figure as an SVG element without prologue."""
    out = io.StringIO()
    backend: Any = FigureCanvasSVG(canvas)
    backend.print_svg(out, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :].strip()
