"""The plots of a report, as SVG; the only home of matplotlib."""

import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from orchestrator.report.document import Block, Figure
from orchestrator.report.reading import Run, SweepData

if TYPE_CHECKING:
    from orchestrator.report.findings import RowFinding
    from orchestrator.report.importance import Importance

# Paul Tol's bright scheme: told apart by colour-blind readers and in grey.
_COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")
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
_FEW_FOR_A_BAND = 2


def _style() -> AbstractContextManager[None]:
    make: Any = rc_context  # its stubs list the keys of one version
    style: AbstractContextManager[None] = make(_STYLE)
    return style


def _drawn(canvas: Canvas) -> str:
    """The figure as an SVG element without prologue."""
    out = io.StringIO()
    backend: Any = FigureCanvasSVG(canvas)
    backend.print_svg(out, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :].strip()


def rows_with_intervals(rows: Sequence["RowFinding"], metric: str) -> str:
    """Every run, mean and interval of each row, one below the other."""
    with _style():
        canvas = Canvas(figsize=(_WIDTH, 0.9 + 0.5 * len(rows)), layout="constrained")
        axes = canvas.add_subplot()
        for k, row in enumerate(rows):
            colour = _COLOURS[0] if k else "#59636E"
            values = row.values(metric)
            axes.plot(values, [k] * len(values), "o", color=colour, alpha=0.35, markersize=5)
            if row.summary is None or row.summary.interval is None:
                continue
            interval = row.summary.interval
            axes.plot([interval.low, interval.high], [k, k], color=colour, linewidth=2)
            axes.plot([row.summary.mean], [k], "D", color=colour, markersize=7)
        if rows and rows[0].summary is not None:
            axes.axvline(rows[0].summary.mean, color="#59636E", linewidth=1, linestyle=":")
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(metric)
        return _drawn(canvas)


def learning_figures(data: SweepData, rows: Sequence["RowFinding"]) -> Iterator[Block]:
    """Mean curve of each row with the band of its seeds; nothing where no metrics are there."""
    metric = data.spec.objective.metric
    curves = [(row.name, _curves([one for one in row.runs if one.rows], metric)) for row in rows]
    curves = [(name, one) for name, one in curves if one.size]
    if not curves:
        return
    with _style():
        canvas = Canvas(figsize=(_WIDTH, 4.2), layout="constrained")
        axes = canvas.add_subplot()
        for k, (name, values) in enumerate(curves):
            colour, epochs = _COLOURS[k % len(_COLOURS)], np.arange(1, values.shape[1] + 1)
            axes.plot(
                epochs, values.mean(axis=0), color=colour, label=name, marker=_MARKS[k % 7],
                markevery=max(1, values.shape[1] // 8), markersize=5,
            )  # fmt: skip
            if len(values) >= _FEW_FOR_A_BAND:
                middle, half = values.mean(axis=0), values.std(axis=0, ddof=1)
                axes.fill_between(epochs, middle - half, middle + half, color=colour, alpha=0.12,
                                  linewidth=0)  # fmt: skip
        axes.set(xlabel="epoch", ylabel=metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False)
        svg = _drawn(canvas)
    yield Figure(
        f"{metric} by epoch: mean of each row, band of one standard deviation between seeds.", svg
    )


def _curves(runs: Sequence[Run], metric: str) -> np.ndarray:
    """Curves of runs, cut to the shortest, a row each."""
    curves = [[row.metrics[metric] for row in run.rows if metric in row.metrics] for run in runs]
    curves = [one for one in curves if one]
    length = min(map(len, curves), default=0)
    return np.array([one[:length] for one in curves]).reshape(len(curves), length)


def collapse_figures(data: SweepData) -> Iterator[Block]:
    """Collapse of queries and of clips against the objective, a point each run."""
    pairs = (("query_difference", "queries"), ("clip_difference", "clips"))
    metric = data.spec.objective.metric
    names = [row.name for row in data.spec.rows]
    runs = [
        one for one in data.complete() if one.at_best(f"val/collapse/{pairs[0][0]}") is not None
    ]
    if not runs:
        return
    with _style():
        canvas = Canvas(figsize=(_WIDTH, 3.6), layout="constrained")
        for k, (name, what) in enumerate(pairs):
            axes = canvas.add_subplot(1, 2, k + 1)
            _scatter(axes, runs, names, f"val/collapse/{name}", metric)
            axes.set(xlabel=f"collapse of {what} (difference)", ylabel=metric if k == 0 else "")
            if names and k == 1:
                axes.legend(frameon=False, fontsize=8)
        svg = _drawn(canvas)
    yield Figure(f"{metric} against collapse, a point each run, at its best epoch.", svg)


def _scatter(axes: Any, runs: Sequence[Run], names: list[str], across: str, up: str) -> None:  # noqa: ANN401
    """Points of runs, by row where there are rows."""
    for k, name in enumerate(names or [None]):
        own = [one for one in runs if name is None or one.trial.variant == name]
        points = [(one.at_best(across), one.at_best(up)) for one in own]
        kept = [(x, y) for x, y in points if x is not None and y is not None]
        if kept:
            style = {"color": _COLOURS[k % 7], "label": name, "alpha": 0.8}
            axes.plot(*zip(*kept, strict=True), _MARKS[k % 7], **style)


def search_figures(data: SweepData) -> Iterator[Block]:
    """Best so far, value against each parameter, all parameters at once, recall against cost."""
    runs = [one for one in data.runs if one.trial.value is not None and one.trial.confirms is None]
    if not runs:
        return
    metric, sign = data.spec.objective.metric, 1 if data.study.direction == "maximize" else -1
    with _style():
        yield Figure(
            f"{metric} of every trial in order; filled: complete. The line is the best so far.",
            _best_so_far(runs, metric, sign),
        )
        if data.spec.space:
            yield Figure(
                "Each parameter against the value of complete trials. The band is the mean and two "
                "standard errors in quarters of the trials, where there are enough.",
                _slices(data, runs, metric),
            )
            yield Figure(
                "All parameters of complete trials at once, from low to high; dark: best quarter.",
                _parallel(data, runs, sign),
            )
        if any(one.seconds for one in runs):
            yield Figure(f"{metric} against what each trial cost.", _cost(runs, metric))


def _best_so_far(runs: Sequence[Run], metric: str, sign: int) -> str:
    canvas = Canvas(figsize=(_WIDTH, 3.4), layout="constrained")
    axes = canvas.add_subplot()
    numbers = [one.trial.number for one in runs]
    values = [one.trial.value or 0.0 for one in runs]
    for is_complete, fill in ((True, _COLOURS[0]), (False, "none")):
        own = [k for k, one in enumerate(runs) if one.is_complete is is_complete]
        axes.plot([numbers[k] for k in own], [values[k] for k in own], "o", color=_COLOURS[0],
                  markerfacecolor=fill)  # fmt: skip
    best = sign * np.maximum.accumulate(sign * np.array(values))
    axes.step(numbers, best, where="post", color=_COLOURS[1])
    axes.set(xlabel="trial", ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _drawn(canvas)


def _slices(data: SweepData, runs: Sequence[Run], metric: str) -> str:
    paths = list(data.spec.space)
    columns = min(4, len(paths))
    lines = -(-len(paths) // columns)
    canvas = Canvas(figsize=(_WIDTH, 0.4 + 2.1 * lines), layout="constrained")
    complete = [one for one in runs if one.is_complete]
    for k, path in enumerate(paths):
        axes = canvas.add_subplot(lines, columns, k + 1)
        raw = [one.trial.parameters.get(path) for one in complete]
        values = np.array([one.trial.value for one in complete], float)
        across, labels = _positions(raw)
        if getattr(data.spec.space[path], "log", False):
            axes.set_xscale("log")
        axes.plot(across, values, "o", color=_COLOURS[0], alpha=0.7, markersize=4)
        _band(axes, across, values)
        if labels:
            axes.set_xticks(range(len(labels)), labels)
        axes.set_xlabel(path.rpartition(".")[2], fontsize=9)
        axes.tick_params(labelsize=8)
        if k % columns == 0:
            axes.set_ylabel(metric, fontsize=9)
    return _drawn(canvas)


# Fewer points in a quarter give a standard error that says nothing.
_LEAST_IN_A_QUARTER = 4


def _band(axes: Any, across: np.ndarray, values: np.ndarray) -> None:  # noqa: ANN401
    """Mean and two standard errors in quarters of the points from left to right."""
    if len(values) < 4 * _LEAST_IN_A_QUARTER or len(np.unique(across)) < _LEAST_IN_A_QUARTER:
        return
    parts = np.array_split(np.argsort(across, kind="stable"), 4)
    middle = np.array([values[part].mean() for part in parts])
    error = np.array([values[part].std(ddof=1) / np.sqrt(len(part)) for part in parts])
    centre = np.array([np.median(across[part]) for part in parts])
    axes.plot(centre, middle, color=_COLOURS[1])
    axes.fill_between(centre, middle - 2 * error, middle + 2 * error, color=_COLOURS[1], alpha=0.2,
                      linewidth=0)  # fmt: skip


def _positions(raw: Sequence[Any]) -> tuple[np.ndarray, list[str]]:
    """Numbers as they are; anything else by its place among the values, with labels."""
    if all(isinstance(one, int | float) and not isinstance(one, bool) for one in raw):
        return np.array(raw, float), []
    names = sorted({str(one) for one in raw})
    return np.array([names.index(str(one)) for one in raw], float), names


def _parallel(data: SweepData, runs: Sequence[Run], sign: int) -> str:
    paths = list(data.spec.space)
    complete = sorted(
        (one for one in runs if one.is_complete), key=lambda one: sign * (one.trial.value or 0.0)
    )
    canvas = Canvas(figsize=(_WIDTH, 3.6), layout="constrained")
    axes = canvas.add_subplot()
    heights = np.array([_scaled(data, path, complete) for path in paths])
    first_of_best = len(complete) - max(1, len(complete) // 4)
    for k in range(len(complete)):
        is_best = k >= first_of_best
        axes.plot(range(len(paths)), heights[:, k], color=_COLOURS[0] if is_best else "#C4CBD3",
                  alpha=0.9 if is_best else 0.6, linewidth=1.6 if is_best else 1)  # fmt: skip
    leaves = [path.rpartition(".")[2] for path in paths]
    axes.set_xticks(range(len(paths)), leaves, rotation=20, ha="right")
    axes.set_yticks([0, 1], ["low", "high"])
    return _drawn(canvas)


def _scaled(data: SweepData, path: str, runs: Sequence[Run]) -> np.ndarray:
    """Values of a parameter between 0 and 1, on the scale on which it is searched."""
    across, _ = _positions([one.trial.parameters.get(path) for one in runs])
    if getattr(data.spec.space[path], "log", False):
        across = np.log(across)
    span = np.ptp(across) if len(across) else 0.0
    return (across - across.min()) / span if span else np.full(len(across), 0.5)


def _cost(runs: Sequence[Run], metric: str) -> str:
    canvas = Canvas(figsize=(_WIDTH, 3.2), layout="constrained")
    axes = canvas.add_subplot()
    points = [(one.seconds, one.trial.value) for one in runs]
    kept = [(x, y) for x, y in points if x is not None and y is not None]
    axes.plot(*zip(*kept, strict=True), "o", color=_COLOURS[0], alpha=0.8)
    axes.set(xlabel="seconds of training and evaluation", ylabel=metric)
    return _drawn(canvas)


def importance_bars(importance: "Importance") -> str:
    """Share of each parameter, with the line of chance."""
    with _style():
        names, shares = list(importance.shares), list(importance.shares.values())
        canvas = Canvas(figsize=(_WIDTH, 0.8 + 0.32 * len(names)), layout="constrained")
        axes = canvas.add_subplot()
        colours = [_COLOURS[0] if name in importance.named else "#C4CBD3" for name in names]
        axes.barh(range(len(names)), shares, color=colours)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        if importance.threshold is not None:
            axes.axvline(importance.threshold, color=_COLOURS[1], linestyle="--")
        axes.set_xlabel("share")
        return _drawn(canvas)
