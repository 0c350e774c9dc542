"""The plots of single runs, of a search and of an ablation: against cost and against collapse."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from orchestrator.report.document import Block, Figure
from orchestrator.report.drawing import add_legend, drawn, look, new_canvas, styled
from orchestrator.report.reading import Run, SweepData
from orchestrator.study.trial import TrialState

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
_COLLAPSE = (("query_difference", "queries"), ("clip_difference", "clips"))

Measure: TypeAlias = Callable[[Run], float | None]


def cost_figures(data: SweepData) -> Iterator[Block]:
    """The objective against what a run cost; nothing where no cost is known."""
    runs = [one for one in _runs(data) if one.seconds]
    if not runs:
        return
    metric, names = data.spec.objective.metric, _names(data)
    with styled():
        canvas = new_canvas(3.2, names)
        axes = canvas.add_subplot()
        _scatter(axes, runs, names, lambda one: one.seconds, lambda one: one.trial.value)
        axes.set(xlabel="seconds of training and evaluation", ylabel=metric)
        if names:
            add_legend(canvas, axes, names)
        svg = drawn(canvas)
    yield Figure(f"{metric} against what each {_kind(data)} cost.", svg)


def collapse_figures(data: SweepData) -> Iterator[Block]:
    """The objective against collapse of queries and of clips; nothing where it is not known."""
    runs = [one for one in _runs(data) if _collapse(_COLLAPSE[0][0])(one) is not None]
    if not runs:
        return
    metric, names = data.spec.objective.metric, _names(data)
    with styled():
        canvas = new_canvas(3.6, names)
        first = None
        for k, (name, what) in enumerate(_COLLAPSE):
            axes = canvas.add_subplot(1, 2, k + 1, sharey=first)
            first = first or axes
            _scatter(axes, runs, names, _collapse(name), lambda one: one.at_best(metric))
            axes.set(xlabel=f"collapse of {what} (difference)", ylabel=metric if k == 0 else "")
        if names:
            add_legend(canvas, axes, names)
        svg = drawn(canvas)
    yield Figure(f"{metric} against collapse, a point each {_kind(data)}, at its best epoch.", svg)


def _runs(data: SweepData) -> list[Run]:
    """What ended as it should; fresh runs of a search's best stand apart."""
    return [
        one
        for one in data.runs
        if one.trial.state in _ENDED and one.trial.value is not None and one.trial.confirms is None
    ]


def _names(data: SweepData) -> list[str]:
    return [row.name for row in data.spec.rows]


def _kind(data: SweepData) -> str:
    return "trial" if data.spec.ablation is None else "run"


def _collapse(name: str) -> Measure:
    return lambda one: one.at_best(f"val/collapse/{name}")


def _scatter(
    axes: Any,  # noqa: ANN401
    runs: Sequence[Run],
    names: list[str],
    across: Measure,
    up: Measure,
) -> None:
    """Points of runs, by row where there are rows."""
    for k, name in enumerate(names or [None]):
        own = [one for one in runs if name is None or one.trial.variant == name]
        points = [(across(one), up(one)) for one in own]
        kept = [(x, y) for x, y in points if x is not None and y is not None]
        if kept:
            axes.plot(*zip(*kept, strict=True), linestyle="", alpha=0.8, label=name, **look(k))
