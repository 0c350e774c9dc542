"""Conditional parameters: in which trials of a search a parameter has a value.

    losses.tau: {type: float, low: 0.5, high: 0.95, when: {losses.cross_branch: adaptive}}

It has one where every condition holds. Of a parameter without a value no condition holds, so
conditions can build on each other.
"""

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from math import prod
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.base.text import suggestion
from orchestrator.spec.problems import refuse, shown
from prvr_model.settings import Section

Scalar: TypeAlias = bool | int | float | str | None

# Values of a finer parameter are not tried one by one, only the ends of what is asked.
_MOST_TRIED = 1000


class Span(Section):
    """Numbers from `low` to `high`, both included; null: no bound."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.low is None and self.high is None:
            refuse([((), "found no bound; allowed: low, high, or both")])
        if self.low is not None and self.high is not None and self.low > self.high:
            refuse([(("low",), f"found {self.low:g}; allowed: at most high, {self.high:g}")])
        return self

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        above = self.low is None or value >= self.low
        return above and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.low is None:
            return f"at most {self.high:g}"
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"


Condition: TypeAlias = Scalar | tuple[Scalar, ...] | Span
"""A value, a list of values or a span of numbers."""


def parsed_condition(value: object) -> object:
    """A condition from YAML: lists as tuples, mappings as spans.

    Raises:
        ValueError: A list is empty or has an entry that is no value.
    """
    if isinstance(value, Mapping):
        return Span.model_validate(value)
    entries = value if isinstance(value, list | tuple) else [value]
    if isinstance(value, Span) or (
        entries and all(isinstance(entry, bool | int | float | str | None) for entry in entries)
    ):
        return tuple(value) if isinstance(value, list) else value
    raise ValueError(
        f"found {shown(value)}; allowed: a value, a list of values, or {{low: ..., high: ...}}"
    )


Conditions: TypeAlias = dict[str, Annotated[Any, BeforeValidator(parsed_condition)]]


class Conditional(Section):
    """What all kinds of parameter share."""

    when: Conditions = Field({})
    """Conditions on other searched parameters: a value, a list of values or {low: ..., high: ...};
    where one does not hold, this parameter has no value and the setting keeps its own."""


def holds(condition: Condition, value: Scalar) -> bool:
    """Whether a parameter's value fulfils a condition."""
    if isinstance(condition, Span):
        return value in condition
    return any(_same(value, entry) for entry in _listed(condition))


def condition_text(condition: Condition) -> str:
    """A condition in words, e.g. `fixed or adaptive`, `0.5 to 0.9`."""
    if isinstance(condition, Span):
        return str(condition)
    return " or ".join("null" if entry is None else str(entry) for entry in _listed(condition))


def _listed(condition: Scalar | tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    return condition if isinstance(condition, tuple) else (condition,)


def _same(value: Scalar, entry: Scalar) -> bool:
    # In Python True equals 1.
    return value == entry and isinstance(value, bool) == isinstance(entry, bool)


def is_active(space: Mapping[str, Any], path: str, values: Mapping[str, Any]) -> bool:
    """Whether a parameter has a value in a trial.

    Args:
        space: The parameters by path.
        path: One of them.
        values: Values of those before it (`in_order`) that have one.
    """
    return all(
        name in values and holds(condition, values[name])
        for name, condition in space[path].when.items()
    )


def active_part(space: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a value for every parameter, those that a trial has."""
    found: dict[str, Any] = {}
    for path in in_order(space):
        if is_active(space, path, found):
            found[path] = values[path]
    return {path: found[path] for path in space if path in found}


def in_order(space: Mapping[str, Any]) -> list[str]:
    """The parameters, each after those that its conditions name, else as they are written."""
    if not any(parameter.when for parameter in space.values()):
        return list(space)
    sorter = TopologicalSorter({path: list(space[path].when) for path in space})
    sorter.prepare()
    written = list(space)
    found: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=written.index)
        found += ready
        sorter.done(*ready)
    return found


def points(space: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every different point of countable parameters, those without a value left out.

    The last parameter varies fastest.
    """
    yield from _points(space, in_order(space), {})


def _points(
    space: Mapping[str, Any], paths: list[str], begun: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    if not paths:
        yield {path: begun[path] for path in space if path in begun}
        return
    first, *others = paths
    if not is_active(space, first, begun):
        yield from _points(space, others, begun)
        return
    for value in space[first].values():
        yield from _points(space, others, {**begun, first: value})


def num_points(space: Mapping[str, Any]) -> int | None:
    """How many different points there are; None: uncountable, or no parameter."""
    if not space or any(parameter.num_values is None for parameter in space.values()):
        return None
    named = {name for parameter in space.values() for name in parameter.when}
    deciding = _with_named(space, named)
    free = [path for path in space if path not in deciding]
    return sum(
        prod(int(space[path].num_values) for path in free if is_active(space, path, point))
        for point in points({path: space[path] for path in space if path in deciding})
    )


def _with_named(space: Mapping[str, Any], paths: set[str]) -> set[str]:
    """Parameters and all that their conditions name."""
    more = {name for path in paths for name in space[path].when}
    return paths if more <= paths else _with_named(space, paths | more)


Problems: TypeAlias = list[tuple[tuple[str, ...], str]]


def condition_problems(space: Mapping[str, Any]) -> Problems:
    """Conditions that name nothing that is searched, go in a circle or can never hold."""
    problems: Problems = []
    for path, parameter in space.items():
        for name in parameter.when:
            if name not in space:
                near = suggestion(name, list(space)) or f"; allowed: {', '.join(space)}"
                problems.append(((path, "when", name), f"found {name}, not searched{near}"))
    if problems:
        return problems
    try:
        in_order(space)
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        return [((error.args[1][0], "when"), f"found a circle: {circle}; allowed: none")]
    for path in space:
        problems += _unreachable(space, path)
    return problems


def _unreachable(space: Mapping[str, Any], path: str) -> Problems:
    """What keeps a parameter from ever having a value."""
    problems: Problems = []
    for name, condition in space[path].when.items():
        if not _can_hold(space[name], [condition]):
            found = condition_text(condition)
            problems.append(
                ((path, "when", name), f"found {found}; allowed: {_drawn(space[name])}")
            )
    if problems:
        return problems
    asked: dict[str, list[Condition]] = {}
    waiting, seen = [path], set()
    while waiting:
        needed = waiting.pop()
        if needed in seen:
            continue
        seen.add(needed)
        for name, condition in space[needed].when.items():
            asked.setdefault(name, []).append(condition)
            waiting.append(name)
    for name, conditions in asked.items():
        if not _can_hold(space[name], conditions):
            listed = " and ".join(dict.fromkeys(map(condition_text, conditions)))
            message = f"never holds: with the conditions of what it builds on, {name} must be"
            return [((path, "when"), f"{message} {listed} at once")]
    return []


def _can_hold(parameter: Any, conditions: list[Condition]) -> bool:  # noqa: ANN401
    """Whether some value that can be drawn fulfils all conditions."""
    if parameter.num_values is not None and parameter.num_values <= _MOST_TRIED:
        return any(_all(conditions, value) for value in parameter.values())
    # A single number between two bounds is never drawn; what is asked begins or ends at a bound.
    low, high = parameter.ends[0], parameter.ends[-1]
    if parameter.num_values is None and not all(isinstance(asked, Span) for asked in conditions):
        return False
    spans = [asked for asked in conditions if isinstance(asked, Span)]
    tried = [
        low,
        high,
        *(end for span in spans for end in (span.low, span.high) if end is not None),
    ]
    tried += [
        entry for asked in conditions if not isinstance(asked, Span) for entry in _listed(asked)
    ]
    return any(value in Span(low=low, high=high) and _all(conditions, value) for value in tried)


def _all(conditions: list[Condition], value: Scalar) -> bool:
    return all(holds(condition, value) for condition in conditions)


def _drawn(parameter: Any) -> str:  # noqa: ANN401
    if parameter.type == "categorical":
        return condition_text(parameter.choices)
    low, high = parameter.ends[0], parameter.ends[-1]
    only = "" if parameter.num_values is not None else " as {low: ..., high: ...}"
    return f"{low:g} to {high:g}{only}"
