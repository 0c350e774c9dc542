"""The plots of a search: best so far, slices, all parameters at once, importance."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from orchestrator.report.budgets import BudgetTrials, largest_budget
from orchestrator.report.document import Block, Figure
from orchestrator.report.drawing import COLOURS, PALE, drawn, new_canvas, styled, whole_numbers
from orchestrator.report.importance import LEAST_TRIALS, Importance
from orchestrator.report.reading import Run, SweepData
from orchestrator.report.slices import Part, lines, slices
from orchestrator.spec.parameters import Parameter
from orchestrator.spec.sweep_spec import SweepSpec


def search_figures(data: SweepData) -> Iterator[Block]:
    """Best so far, value against each parameter, all parameters at once."""
    runs = [one for one in data.runs if one.trial.value is not None and one.trial.confirms is None]
    if not runs:
        return
    metric, sign = data.spec.objective.metric, 1 if data.study.direction == "maximize" else -1
    with styled():
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


def _best_so_far(runs: Sequence[Run], metric: str, sign: int) -> str:
    canvas = new_canvas(3.4)
    axes = canvas.add_subplot()
    numbers = [one.trial.number for one in runs]
    values = [one.trial.value or 0.0 for one in runs]
    for is_complete, fill in ((True, COLOURS[0]), (False, "none")):
        own = [k for k, one in enumerate(runs) if one.is_complete is is_complete]
        axes.plot([numbers[k] for k in own], [values[k] for k in own], "o", color=COLOURS[0],
                  markerfacecolor=fill)  # fmt: skip
    best = sign * np.maximum.accumulate(sign * np.array(values))
    axes.step(numbers, best, where="post", color=COLOURS[1])
    axes.set(xlabel="trial", ylabel=metric)
    whole_numbers(axes)
    return drawn(canvas)


def _slices(spec: SweepSpec, found: BudgetTrials, metric: str) -> str:
    made = slices(spec, found)
    columns = min(4, len(made))
    rows = -(-len(made) // columns)
    canvas = new_canvas(0.4 + 2.1 * rows)
    for k, one in enumerate(made):
        axes = canvas.add_subplot(rows, columns, k + 1)
        pairs = zip(found.trials, found.values, strict=True)
        points = [(t.parameters[one.path], v) for t, v in pairs if one.path in t.parameters]
        labels = _labels(spec.space[one.path])
        if getattr(spec.space[one.path], "log", False):
            axes.set_xscale("log")
        axes.plot(_places([x for x, _ in points], labels), [y for _, y in points], "o",
                  color=COLOURS[0], alpha=0.7, markersize=4)  # fmt: skip
        for part in one.parts:
            _draw_part(axes, part, labels)
        if labels:
            axes.set_xticks(range(len(labels)), labels)
        axes.set_xlabel(one.path.rpartition(".")[2], fontsize=9)
        axes.tick_params(labelsize=8)
        if k % columns == 0:
            axes.set_ylabel(metric, fontsize=9)
    return drawn(canvas)


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
    axes.plot([low, high], [part.mean] * 2, color=COLOURS[1])
    if part.interval is not None:
        bounds = (part.interval.low, part.interval.high)
        axes.fill_between([low, high], *bounds, color=COLOURS[1], alpha=0.2, linewidth=0)


def _parallel(spec: SweepSpec, found: BudgetTrials, direction: str) -> str:
    paths = list(spec.space)
    canvas = new_canvas(3.6)
    axes = canvas.add_subplot()
    for one in sorted(lines(spec, found, direction), key=lambda line: line.is_best):
        heights = [np.nan if height is None else height for height in one.heights]
        axes.plot(range(len(paths)), heights, color=COLOURS[0] if one.is_best else PALE,
                  alpha=0.9 if one.is_best else 0.6,
                  linewidth=1.6 if one.is_best else 1)  # fmt: skip
    leaves = [path.rpartition(".")[2] for path in paths]
    axes.set_xticks(range(len(paths)), leaves, rotation=20, ha="right")
    axes.set_yticks([0, 1], ["low", "high"])
    return drawn(canvas)


def importance_bars(importance: Importance) -> str:
    """Share of each parameter, with the line of chance."""
    with styled():
        names, shares = list(importance.shares), list(importance.shares.values())
        canvas = new_canvas(0.8 + 0.32 * len(names))
        axes = canvas.add_subplot()
        colours = [COLOURS[0] if name in importance.named else PALE for name in names]
        axes.barh(range(len(names)), shares, color=colours)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        if importance.threshold is not None:
            axes.axvline(importance.threshold, color=COLOURS[1], linestyle="--")
        axes.set_xlabel("share")
        return drawn(canvas)
