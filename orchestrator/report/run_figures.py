"""The plots of single runs, of a search and of an ablation: against cost and against collapse."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from matplotlib.axes import Axes

from orchestrator.report.document import Block, Figure
from orchestrator.report.drawing import add_legend, drawn, look, new_canvas, styled
from orchestrator.report.formatting import COLLAPSE_METRICS
from orchestrator.report.marks import mark, run_key
from orchestrator.report.reading import Run, SweepData
from orchestrator.study.trial import TrialState

_ENDED_WELL = (TrialState.COMPLETE, TrialState.PRUNED)
_QUERIES, _, _CLIPS = COLLAPSE_METRICS

Measure: TypeAlias = Callable[[Run], float | None]


def cost_figures(data: SweepData) -> Iterator[Block]:
    """The objective against what a run cost; empty if no cost is known."""
    runs = [run for run in _runs(data) if run.seconds]
    if not runs:
        return
    metric, rows = data.spec.objective.metric, _row_names(data)
    with styled():
        canvas = new_canvas(3.4, rows)
        axes = canvas.add_subplot()
        _scatter(axes, runs, rows, lambda run: run.seconds, lambda run: run.trial.value)
        axes.set(xlabel="seconds of training and evaluation", ylabel=metric)
        if rows:
            add_legend(canvas, axes, rows)
        svg = drawn(canvas)
    yield Figure(f"{metric} against what each {_kind(data)} cost.", svg)


def collapse_figures(data: SweepData) -> Iterator[Block]:
    """The objective against collapse of queries and of clips; empty if that is not known."""
    runs = [run for run in _runs(data) if run.at_best(_QUERIES) is not None]
    if not runs:
        return
    metric, rows = data.spec.objective.metric, _row_names(data)
    with styled():
        canvas = new_canvas(3.6, rows)
        left = canvas.add_subplot(1, 2, 1)
        right = canvas.add_subplot(1, 2, 2, sharey=left)
        for axes, collapse, what in ((left, _QUERIES, "queries"), (right, _CLIPS, "clips")):
            _scatter(axes, runs, rows, _at_best(collapse), _at_best(metric))
            axes.set_xlabel(f"collapse of {what} (difference)")
        left.set_ylabel(metric)
        if rows:
            add_legend(canvas, right, rows)
        svg = drawn(canvas)
    yield Figure(f"{metric} against collapse, a point each {_kind(data)}, at its best epoch.", svg)


def _runs(data: SweepData) -> list[Run]:
    """Runs that ended and did not fail, without the fresh runs of a search's best."""
    return [
        run
        for run in data.runs
        if run.trial.state in _ENDED_WELL
        and run.trial.value is not None
        and run.trial.confirms is None
    ]


def _row_names(data: SweepData) -> list[str]:
    return [row.name for row in data.spec.rows]


def _kind(data: SweepData) -> str:
    return "trial" if data.spec.ablation is None else "run"


def _at_best(metric: str) -> Measure:
    return lambda run: run.at_best(metric)


def _scatter(
    axes: Axes, runs: Sequence[Run], rows: Sequence[str], across: Measure, up: Measure
) -> None:
    """Points of runs, by row for an ablation."""
    for k, row in enumerate(rows or [None]):
        own = [run for run in runs if row is None or run.trial.variant == row]
        points = [(across(run), up(run), run_key(row, run.trial.number)) for run in own]
        known = [(x, y, key) for x, y, key in points if x is not None and y is not None]
        if known:
            places, heights, keys = zip(*known, strict=True)
            drawn_points = axes.plot(places, heights, linestyle="", alpha=0.8, label=row, **look(k))
            mark(drawn_points, *keys)
