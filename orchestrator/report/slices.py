"""What trials came to along one parameter, with how sure that is; and along all of them at once."""

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

# A parameter with more values than parts is cut into quarters of the trials.
_PARTS = 4
# The standard deviation of fewer says next to nothing: Student's factor is 12.7 for two.
_LEAST_IN_A_PART = 4
_LEVEL = 0.05
_BEST_SHARE = 4


@dataclass(frozen=True)
class Part:
    """Trials with like values of a parameter.

    Args:
        low: Smallest value among them.
        high: Largest one; the same for a part of one value.
        trials: Their number.
        mean: Mean of their values.
        interval: 95 % interval of that mean; None: too few.
    """

    low: Any
    high: Any
    trials: int
    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class Slice:
    """A parameter, in parts from low to high, categories as they are written.

    Its intervals take trials for independent draws. A sampler that learns draws more where it was
    lucky, and other parameters move along: a slice shows where to look and proves nothing.
    """

    path: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Axis:
    """An axis of the parallel coordinates, with what stands at 0 and at 1."""

    path: str
    low: Any
    high: Any
    is_log: bool


@dataclass(frozen=True)
class Line:
    """A trial across all axes; None: it has no value there."""

    number: int
    value: float
    heights: tuple[float | None, ...]
    is_best: bool


def slices(spec: SweepSpec, found: BudgetTrials) -> tuple[Slice, ...]:
    """Each parameter that has a value in some trial, in the order of the spec."""
    made = (Slice(path, _parts(path, one, found)) for path, one in spec.space.items())
    return tuple(one for one in made if one.parts)


def _parts(path: str, parameter: Parameter, found: BudgetTrials) -> tuple[Part, ...]:
    pairs = [
        (one.parameters[path], value)
        for one, value in zip(found.trials, found.values, strict=True)
        if path in one.parameters
    ]
    pairs.sort(key=lambda one: _place(parameter, one[0]))
    places = [_place(parameter, value) for value, _ in pairs]
    groups = _groups(places, parameter.type == "categorical")
    return tuple(_part(pairs[first:last]) for first, last in groups)


def _groups(places: Sequence[float], is_category: bool) -> list[tuple[int, int]]:
    """Where parts begin and end; equal values stay together; no part without a trial."""
    if not places:
        return []
    starts = [k for k in range(len(places)) if k == 0 or places[k] != places[k - 1]]
    if not is_category and len(starts) > _PARTS:
        wanted = [len(places) * k / _PARTS for k in range(_PARTS)]
        starts = sorted({min(starts, key=lambda one: abs(one - wish)) for wish in wanted})
    return list(zip(starts, [*starts[1:], len(places)], strict=True))


def _part(pairs: Sequence[tuple[Any, float]]) -> Part:
    values = np.array([value for _, value in pairs])
    return Part(pairs[0][0], pairs[-1][0], len(values), float(values.mean()), _interval(values))


def _interval(values: np.ndarray) -> Interval | None:
    if len(values) < _LEAST_IN_A_PART:
        return None
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    return around(float(values.mean()), float(student.isf(_LEVEL / 2, len(values) - 1)) * error)


def axes(spec: SweepSpec) -> tuple[Axis, ...]:
    """Axes of the parallel coordinates: the range that is searched, not what was drawn of it."""
    made = []
    for path, one in spec.space.items():
        ends = one.choices if one.type == "categorical" else one.ends
        made.append(Axis(path, ends[0], ends[-1], _is_log(one)))
    return tuple(made)


def lines(spec: SweepSpec, found: BudgetTrials, direction: str) -> tuple[Line, ...]:
    """Trials across the axes, the best quarter marked, in the order of their numbers."""
    sign = 1 if direction == "maximize" else -1
    order = sorted(range(len(found.values)), key=lambda k: -sign * found.values[k])
    best = set(order[: max(1, len(order) // _BEST_SHARE)])
    return tuple(
        Line(
            one.number,
            value,
            tuple(_height(spec.space[path], one.parameters, path) for path in spec.space),
            k in best,
        )
        for k, (one, value) in enumerate(zip(found.trials, found.values, strict=True))
    )


def _height(parameter: Parameter, parameters: dict[str, Any], path: str) -> float | None:
    if path not in parameters:
        return None
    ends = parameter.choices if parameter.type == "categorical" else parameter.ends
    low, high = _place(parameter, ends[0]), _place(parameter, ends[-1])
    place = _place(parameter, parameters[path])
    return 0.5 if high == low else (place - low) / (high - low)


def _place(parameter: Parameter, value: Any) -> float:  # noqa: ANN401
    """Where a value lies on the scale on which it is searched; a category by its turn."""
    if parameter.type == "categorical":
        return float([str(one) for one in parameter.choices].index(str(value)))
    return log(value) if _is_log(parameter) else float(value)


def _is_log(parameter: Parameter) -> bool:
    return parameter.type != "categorical" and parameter.log
