"""The plots of a search: best so far, slices, all parameters at once, importance."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from orchestrator.report.budgets import BudgetTrials, largest_budget
from orchestrator.report.document import Block, Figure
from orchestrator.report.drawing import (
    COLOURS,
    PALE,
    SOFT,
    WIDTH_IN,
    drawn,
    name_rows,
    name_ticks,
    new_canvas,
    number_ticks,
    styled,
    whole_number_ticks,
)
from orchestrator.report.formatting import last_part, short_number, shortened
from orchestrator.report.importance import LEAST_TRIALS, Importance
from orchestrator.report.marks import mark, trial_key
from orchestrator.report.parameter_slices import (
    ParameterSlice,
    Part,
    ends,
    is_log,
    lines,
    parameter_slices,
)
from orchestrator.report.reading import Run, SweepData
from orchestrator.spec.parameters import Parameter
from orchestrator.spec.sweep_spec import SweepSpec

# Slices side by side, and the height of each.
_COLUMNS = 3
_SLICE_IN = 2.4
# Width that the scale of the objective and the gaps between axes take.
_MARGINS_IN = 1.5
# Room on either side of the range that is searched, as a share of it.
_MARGIN = 0.05
# Half the width of the line of a part that holds a single value: on an axis of categories, and as
# a share of a range of numbers.
_HALF_CATEGORY = 0.25
_HALF_VALUE = 0.02
_LONGEST_CATEGORY = 12


def search_figures(data: SweepData) -> Iterator[Block]:
    """Best so far, value against each parameter, all parameters at once."""
    runs = [run for run in data.runs if run.trial.value is not None and run.trial.confirms is None]
    if not runs:
        return
    metric, sign = data.spec.objective.metric, 1 if data.study.direction == "maximize" else -1
    goals = data.study.goals
    within = [run for run in runs if not goals.over_limit(run.trial.costs)]
    limited = "" if len(within) == len(runs) else " of those that exceed no limit"
    with styled():
        yield Figure(
            f"{metric} of every trial in order; filled: complete. The line is the best so far"
            f"{limited}.",
            _best_so_far(runs, within, metric, sign),
        )
        compared = largest_budget(data.spec, data.study, LEAST_TRIALS)
        if compared.trials and data.spec.space:
            yield Figure(
                f"Each parameter against the value of {compared.statement}. Lines are means of "
                "trials with like values, bands their 95 % intervals; these take trials for "
                "independent draws, so they show where to look and prove nothing.",
                _slices(data.spec, compared, metric),
            )
        if compared.trials and len(data.spec.space) > 1:
            yield Figure(
                f"All parameters of {compared.statement}, from the low end of what is searched to "
                "the high one; dark: the best quarter.",
                _parallel(data.spec, compared, data.study.direction),
            )


def _best_so_far(runs: Sequence[Run], within: Sequence[Run], metric: str, sign: int) -> str:
    canvas = new_canvas(3.6)
    axes = canvas.add_subplot()
    for is_complete, fill in ((True, COLOURS[0]), (False, "none")):
        drawn_runs = [run for run in runs if run.is_complete is is_complete]
        points = axes.plot([run.trial.number for run in drawn_runs],
                           [run.trial.value or 0.0 for run in drawn_runs], "o", color=COLOURS[0],
                           markerfacecolor=fill)  # fmt: skip
        mark(points, *(trial_key(run.trial.number) for run in drawn_runs))
    values = np.array([run.trial.value or 0.0 for run in within])
    best = sign * np.maximum.accumulate(sign * values)
    axes.step([run.trial.number for run in within], best, where="post", color=COLOURS[1])
    axes.set(xlabel="trial", ylabel=metric)
    whole_number_ticks(axes)
    return drawn(canvas)


def _slices(spec: SweepSpec, compared: BudgetTrials, metric: str) -> str:
    """A grid of axes, one for each parameter, with one scale for the objective."""
    parameters = parameter_slices(spec, compared)
    num_rows = -(-len(parameters) // _COLUMNS)
    canvas = new_canvas(0.4 + _SLICE_IN * num_rows)
    first = None
    for k, parameter_slice in enumerate(parameters):
        axes = canvas.add_subplot(num_rows, _COLUMNS, k + 1, sharey=first)
        first = first or axes
        _draw_slice(axes, spec.space[parameter_slice.path], parameter_slice, compared)
        axes.tick_params(labelleft=k % _COLUMNS == 0)
    canvas.supylabel(metric, fontsize="medium")
    return drawn(canvas)


def _draw_slice(
    axes: Axes, parameter: Parameter, parameter_slice: ParameterSlice, compared: BudgetTrials
) -> None:
    path, names = parameter_slice.path, _category_names(parameter)
    pairs = [
        (trial, value)
        for trial, value in zip(compared.trials, compared.values, strict=True)
        if path in trial.parameters
    ]
    if names:
        name_ticks(axes, names, (WIDTH_IN - _MARGINS_IN) / _COLUMNS)
        axes.set_xlim(-0.5, len(names) - 0.5)
    else:
        _number_range(axes, parameter)
    places = _positions([trial.parameters[path] for trial, _ in pairs], names)
    points = axes.plot(places, [value for _, value in pairs], "o", color=COLOURS[0], alpha=0.7,
                       markersize=4)  # fmt: skip
    mark(points, *(trial_key(trial.number) for trial, _ in pairs))
    for part in parameter_slice.parts:
        _draw_part(axes, parameter, part, names)
    axes.set_xlabel(last_part(path))


def _category_names(parameter: Parameter) -> list[str]:
    """Names of categories; none for numbers."""
    if parameter.type != "categorical":
        return []
    return [str(choice) for choice in parameter.choices]


def _positions(values: Sequence[Any], names: Sequence[str]) -> list[float]:
    """Positions of values on an axis; a category stands at its index."""
    return [names.index(str(value)) if names else value for value in values]


def _number_range(axes: Axes, parameter: Parameter) -> None:
    """Show the whole range that is searched, also where nothing was drawn."""
    low, high = map(float, ends(parameter))
    number_ticks(axes, low, high, is_log=is_log(parameter))
    if low < high:
        axes.set_xlim(_widened(parameter, low, high, _MARGIN))


def _widened(parameter: Parameter, low: float, high: float, share: float) -> tuple[float, float]:
    """A range with room on either side, as a share of all that is searched."""
    first, last = map(float, ends(parameter))
    if is_log(parameter):
        factor = (last / first) ** share
        return low / factor, high * factor
    room = (last - first) * share
    return low - room, high + room


def _draw_part(axes: Axes, parameter: Parameter, part: Part, names: Sequence[str]) -> None:
    """Mean of a part of a slice with its interval."""
    span = _span(parameter, part, names)
    axes.plot(span, [part.mean] * 2, color=COLOURS[1])
    if part.interval is not None:
        bounds = (part.interval.low, part.interval.high)
        axes.fill_between(span, *bounds, color=COLOURS[1], alpha=0.2, linewidth=0)


def _span(parameter: Parameter, part: Part, names: Sequence[str]) -> tuple[float, float]:
    """Where the line of a part begins and ends; a single value gets some width to be visible."""
    low, high = _positions([part.low, part.high], names)
    if names:
        return low - _HALF_CATEGORY, high + _HALF_CATEGORY
    return (low, high) if low < high else _widened(parameter, low, high, _HALF_VALUE)


def _parallel(spec: SweepSpec, compared: BudgetTrials, direction: str) -> str:
    """A line for each trial across all parameters; each axis shows the ends of its range."""
    canvas = new_canvas(4.2)
    axes = canvas.add_subplot()
    for line in sorted(lines(spec, compared, direction), key=lambda line: line.is_best):
        heights = [np.nan if height is None else height for height in line.heights]
        drawn_line = axes.plot(range(len(heights)), heights,
                               color=COLOURS[0] if line.is_best else PALE,
                               alpha=0.9 if line.is_best else 0.6,
                               linewidth=1.6 if line.is_best else 1)  # fmt: skip
        mark(drawn_line, trial_key(line.number))
    for k, parameter in enumerate(spec.space.values()):
        low, high = ends(parameter)
        for height, end, side in ((-0.03, low, "top"), (1.03, high, "bottom")):
            text = shortened(short_number(end), _LONGEST_CATEGORY)
            axes.text(k, height, text, ha="center", va=side, color=SOFT)
    name_ticks(axes, [last_part(path) for path in spec.space], WIDTH_IN - 0.5)
    axes.set(ylim=(-0.12, 1.12), yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    return drawn(canvas)


def importance_bars(importance: Importance) -> str:
    """Share of each parameter, with the line of chance."""
    with styled():
        names, shares = list(importance.shares), list(importance.shares.values())
        canvas = new_canvas(0.8 + 0.32 * len(names))
        axes = canvas.add_subplot()
        colours = [COLOURS[0] if name in importance.named else PALE for name in names]
        axes.barh(range(len(names)), shares, color=colours)
        name_rows(axes, names)
        if importance.threshold is not None:
            axes.axvline(importance.threshold, color=COLOURS[1], linestyle="--")
        axes.set_xlabel("share")
        return drawn(canvas)
