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

from orchestrator.parameters import Parameter
from orchestrator.report.budgets import BudgetTrials, largest_budget
from orchestrator.report.document import Block, Figure
from orchestrator.report.importance import LEAST_TRIALS
from orchestrator.report.reading import Run, SweepData
from orchestrator.report.slices import Part, lines, slices
from orchestrator.sweep_spec import SweepSpec

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
        found = largest_budget(data.spec, data.study, LEAST_TRIALS)
        if found.trials and data.spec.space:
            yield Figure(
                f"Each parameter against the value of {found.statement}. Bands are 95 % intervals "
                "of the mean of a part; they take trials for independent draws, so they show "
                "where to look and prove nothing.",
                _slices(data.spec, found, metric),
            )
        if found.trials and len(data.spec.space) > 1:
            yield Figure(
                f"All parameters of {found.statement}, from the low end of what is searched to "
                "the high one; dark: the best quarter.",
                _parallel(data.spec, found, data.study.direction),
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


def _slices(spec: SweepSpec, found: BudgetTrials, metric: str) -> str:
    made = slices(spec, found)
    columns = min(4, len(made))
    rows = -(-len(made) // columns)
    canvas = Canvas(figsize=(_WIDTH, 0.4 + 2.1 * rows), layout="constrained")
    for k, one in enumerate(made):
        axes = canvas.add_subplot(rows, columns, k + 1)
        pairs = zip(found.trials, found.values, strict=True)
        points = [(t.parameters[one.path], v) for t, v in pairs if one.path in t.parameters]
        labels = _labels(spec.space[one.path])
        if getattr(spec.space[one.path], "log", False):
            axes.set_xscale("log")
        axes.plot(_places([x for x, _ in points], labels), [y for _, y in points], "o",
                  color=_COLOURS[0], alpha=0.7, markersize=4)  # fmt: skip
        for part in one.parts:
            _draw_part(axes, part, labels)
        if labels:
            axes.set_xticks(range(len(labels)), labels)
        axes.set_xlabel(one.path.rpartition(".")[2], fontsize=9)
        axes.tick_params(labelsize=8)
        if k % columns == 0:
            axes.set_ylabel(metric, fontsize=9)
    return _drawn(canvas)


def _labels(parameter: Parameter) -> list[str]:
    """Names of categories; none for numbers."""
    return [str(one) for one in parameter.choices] if parameter.type == "categorical" else []


def _places(values: Sequence[Any], labels: Sequence[str]) -> list[float]:
    return [labels.index(str(one)) if labels else one for one in values]


# Half the width of the line of a part that holds a single value.
_HALF = 0.25


def _draw_part(axes: Any, part: Part, labels: Sequence[str]) -> None:  # noqa: ANN401
    """Mean of a part of a slice with its interval."""
    low, high = _places([part.low, part.high], labels)
    if labels:
        low, high = low - _HALF, high + _HALF
    axes.plot([low, high], [part.mean] * 2, color=_COLOURS[1])
    if part.interval is not None:
        bounds = (part.interval.low, part.interval.high)
        axes.fill_between([low, high], *bounds, color=_COLOURS[1], alpha=0.2, linewidth=0)


def _parallel(spec: SweepSpec, found: BudgetTrials, direction: str) -> str:
    paths = list(spec.space)
    canvas = Canvas(figsize=(_WIDTH, 3.6), layout="constrained")
    axes = canvas.add_subplot()
    for one in sorted(lines(spec, found, direction), key=lambda line: line.is_best):
        heights = [np.nan if height is None else height for height in one.heights]
        axes.plot(range(len(paths)), heights, color=_COLOURS[0] if one.is_best else "#C4CBD3",
                  alpha=0.9 if one.is_best else 0.6,
                  linewidth=1.6 if one.is_best else 1)  # fmt: skip
    leaves = [path.rpartition(".")[2] for path in paths]
    axes.set_xticks(range(len(paths)), leaves, rotation=20, ha="right")
    axes.set_yticks([0, 1], ["low", "high"])
    return _drawn(canvas)


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
