"""What a search begins with: given points, the published setting, and trials of earlier sweeps.

start: {published: true, points: [{losses.tau: 0.7}], from: [cbva-small]}
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from orchestrator.spec.conditions import is_active
from orchestrator.spec.parameters import Parameter
from orchestrator.spec.problems import refuse, shown, unknown
from orchestrator.spec.sections import PathProblems, SpecSection
from orchestrator.spec.setting_schema import base_value
from prvr_model.settings import PresetName


def _listed_points(value: object) -> object:
    """Points from YAML as a tuple of mappings; all that are none are named."""
    if not isinstance(value, list | tuple):
        return value
    problems: PathProblems = [
        ((str(k),), f"found {shown(point)}; allowed: a mapping of searched parameters to values")
        for k, point in enumerate(value)
        if not isinstance(point, Mapping) or not point
    ]
    if problems:
        refuse(problems)
    return tuple(dict(point) for point in value)


def _listed(value: object) -> object:
    """A list from YAML, or a single name, as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


class Start(SpecSection):
    """What a search begins with."""

    published: bool = False
    """Whether the first trial has the published setting (that of the preset, if there is one)."""
    points: Annotated[tuple[dict[str, Any], ...], BeforeValidator(_listed_points)] = ()
    """Points that run first; what a point does not name is drawn."""
    sweeps: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field((), alias="from")
    """Sweeps of the same home, objective, data and space, whose trials the sampler knows."""


def start_problems(start: Start, space: Mapping[str, Parameter]) -> PathProblems:
    """Points that name what is not searched, or values that cannot be drawn."""
    problems: PathProblems = []
    for k, point in enumerate(start.points):
        for path, value in point.items():
            where = ("start", "points", str(k), path)
            if path not in space:
                problems.append((where, unknown("parameter", path, list(space))))
            elif not space[path].has(value):
                problems.append((where, f"found {shown(value)}; allowed: {space[path].range_text}"))
            elif not _may_be_active(space, path, point):
                conditions = ", ".join(space[path].when)
                problems.append((where, f"has no value in this point, as {conditions} says"))
    twice = [name for k, name in enumerate(start.sweeps) if name in start.sweeps[:k]]
    problems += [(("start", "from"), f"found {name} twice; allowed: once") for name in twice]
    return problems


def _may_be_active(space: Mapping[str, Parameter], path: str, point: Mapping[str, Any]) -> bool:
    """Whether nothing that the point names keeps a parameter from having a value."""
    named = {name for name in space[path].when if name in point}
    return len(named) < len(space[path].when) or is_active(space, path, point)


def start_points(
    start: Start | None, space: Mapping[str, Parameter], preset: PresetName | None
) -> list[tuple[dict[str, Any], bool]]:
    """The first points in their order, and whether what they do not name is drawn.

    Of the published setting nothing is drawn: a parameter whose published value is not in its range
    has none in that trial, and its setting keeps the published value.
    """
    if start is None:
        return []
    published = {path: base_value(path, preset, {}) for path in space}
    known = {path: value for path, value in published.items() if space[path].has(value)}
    first = [(known, False)] if start.published else []
    return [*first, *((dict(point), True) for point in start.points)]
