"""Values of trials along one parameter, with intervals, and along all parameters at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from scipy.stats import t as student

from orchestrator.report.budgets import BudgetTrials
from orchestrator.spec.parameters import Parameter
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.statistics.crossed import Interval, around
from orchestrator.statistics.table import LEVEL

# A parameter with more values than parts is cut into quarters of the trials.
_NUM_PARTS = 4
# The standard deviation of fewer trials is too uncertain: Student's factor is 12.7 for two.
_FEWEST_IN_A_PART = 4
# The best quarter of the trials is marked among the lines.
_BEST_SHARE = 4


@dataclass(frozen=True)
class Part:
    """Trials with like values of a parameter.

    Args:
        low: Smallest value among them.
        high: Largest one; the same for a part of one value.
        trials: Their number.
        mean: Mean of their objective.
        interval: 95 % interval of that mean; None with too few trials.
    """

    low: Any
    high: Any
    trials: int
    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class ParameterSlice:
    """A parameter, in parts from low to high, categories as they are written.

    Its intervals assume that trials are independent draws. But a sampler that learns draws more
    where it was lucky, and other parameters change with this one: a slice shows where to look and
    proves nothing.
    """

    path: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Line:
    """A trial across all parameters: its height over each, from 0 to 1, None without a value."""

    number: int
    value: float
    heights: tuple[float | None, ...]
    is_best: bool


def parameter_slices(spec: SweepSpec, compared: BudgetTrials) -> tuple[ParameterSlice, ...]:
    """Each parameter that has a value in some trial, in the order of the spec."""
    every = (
        ParameterSlice(path, _parts(path, parameter, compared))
        for path, parameter in spec.space.items()
    )
    return tuple(parameter_slice for parameter_slice in every if parameter_slice.parts)


def _parts(path: str, parameter: Parameter, compared: BudgetTrials) -> tuple[Part, ...]:
    pairs = [
        (trial.parameters[path], objective)
        for trial, objective in zip(compared.trials, compared.values, strict=True)
        if path in trial.parameters
    ]
    pairs.sort(key=lambda pair: _position(parameter, pair[0]))
    positions = [_position(parameter, value) for value, _ in pairs]
    bounds = _bounds(positions, parameter.type == "categorical")
    return tuple(_part(pairs[first:last]) for first, last in bounds)


def _bounds(positions: Sequence[float], is_category: bool) -> list[tuple[int, int]]:
    """Where parts begin and end; equal values stay together, and every part has a trial."""
    if not positions:
        return []
    starts = [k for k in range(len(positions)) if k == 0 or positions[k] != positions[k - 1]]
    if not is_category and len(starts) > _NUM_PARTS:
        wanted = [len(positions) * k / _NUM_PARTS for k in range(_NUM_PARTS)]
        starts = sorted({min(starts, key=lambda start: abs(start - wish)) for wish in wanted})
    return list(zip(starts, [*starts[1:], len(positions)], strict=True))


def _part(pairs: Sequence[tuple[Any, float]]) -> Part:
    values = np.array([objective for _, objective in pairs])
    return Part(pairs[0][0], pairs[-1][0], len(values), float(values.mean()), _interval(values))


def _interval(values: np.ndarray) -> Interval | None:
    """Student's interval of a mean."""
    if len(values) < _FEWEST_IN_A_PART:
        return None
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    return around(float(values.mean()), float(student.isf(LEVEL / 2, len(values) - 1)) * error)


def lines(spec: SweepSpec, compared: BudgetTrials, direction: str) -> tuple[Line, ...]:
    """Trials across all parameters, the best quarter marked, in the order of their numbers."""
    sign = 1 if direction == "maximize" else -1
    order = sorted(range(len(compared.values)), key=lambda k: -sign * compared.values[k])
    best = set(order[: max(1, len(order) // _BEST_SHARE)])
    return tuple(
        Line(
            trial.number,
            value,
            tuple(_height(spec.space[path], trial.parameters, path) for path in spec.space),
            k in best,
        )
        for k, (trial, value) in enumerate(zip(compared.trials, compared.values, strict=True))
    )


def _height(parameter: Parameter, parameters: dict[str, Any], path: str) -> float | None:
    """Where a trial's value lies in the range that is searched, from 0 to 1."""
    if path not in parameters:
        return None
    first, last = ends(parameter)
    low, high = _position(parameter, first), _position(parameter, last)
    position = _position(parameter, parameters[path])
    return 0.5 if high == low else (position - low) / (high - low)


def ends(parameter: Parameter) -> tuple[Any, Any]:
    """The low and the high end of what is searched; the first and the last category."""
    values = parameter.choices if parameter.type == "categorical" else parameter.ends
    return values[0], values[-1]


def is_log(parameter: Parameter) -> bool:
    """Whether its scale is logarithmic."""
    return parameter.type != "categorical" and parameter.log


def _position(parameter: Parameter, value: Any) -> float:  # noqa: ANN401
    """Where a value lies on the scale on which it is searched; a category lies at its index."""
    if parameter.type == "categorical":
        return float([str(choice) for choice in parameter.choices].index(str(value)))
    return log(value) if is_log(parameter) else float(value)
