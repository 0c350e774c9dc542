"""Makes settings of a trial from sampled parameters; checks that the whole space allows it."""

import itertools
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.spec.conditions import active_part, points
from orchestrator.spec.parameters import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    Parameter,
)
from orchestrator.spec.problems import Problem, shown
from orchestrator.spec.sweep_spec import SweepSpec
from prvr_model.errors import SettingsError
from prvr_model.settings import Settings, build_settings

__all__ = [
    "CategoricalParameter",
    "FloatParameter",
    "IntParameter",
    "Parameter",
    "grid_points",
    "resolve",
    "snapped",
    "space_problems",
]

# All corners of ten two-ended parameters; building settings takes about 0.1 ms each.
MAX_CORNERS = 1024
# Points inside: rounding can make one impossible although the corners work.
_INNER_POINTS = 256
# More problems would mostly repeat these.
_MAX_SHOWN = 5
_NUMBER = re.compile(r"\d[\d.]*(, \d[\d.]*)*")
_WORD = re.compile(r"\w+")


def snapped(spec: SweepSpec, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Drawn values as parameters of a trial, without the sampler's rounding noise."""
    return {path: spec.space[path].snap(value) for path, value in drawn.items()}


def resolve(spec: SweepSpec, parameters: Mapping[str, Any]) -> Settings:
    """The settings of the trial that has these parameters.

    Args:
        spec: The sweep.
        parameters: Value by dotted path, snapped.

    Raises:
        SettingsError: The combination cannot be trained.
    """
    return build_settings(spec.preset, {**spec.settings, **parameters})


def grid_points(spec: SweepSpec) -> list[dict[str, Any]]:
    """Every different point of the space, the last parameter varying fastest.

    All parameters must be countable, as loading ensures for a grid.
    """
    return list(points(spec.space))


def drawn_settings(spec: SweepSpec, count: int) -> list[Settings]:
    """Settings of points drawn from the space, the same at each call: samples of what may run.

    For an ablation, the settings of every row.

    Raises:
        SettingsError: A combination that loading did not try cannot be trained.
    """
    if spec.rows:
        return [resolve(spec, row.overrides) for row in spec.rows]
    return [resolve(spec, point) for point in drawn_points(spec, count)]


def drawn_points(spec: SweepSpec, count: int) -> list[dict[str, Any]]:
    """Points drawn from a search's space, the same at each call."""
    generator = random.Random(_seed(spec))
    return [_inner_point(spec, generator) for _ in range(count)]


def space_problems(spec: SweepSpec) -> list[Problem]:
    """Combinations of the space that cannot be trained, found before anything starts.

    Tries every corner (or a seeded sample, if there are more than `MAX_CORNERS`) and some points
    inside.
    """
    if spec.rows:
        return row_problems(spec)
    problems: dict[str, Problem] = {}
    if published := _published_problem(spec):
        return [published]
    for point in _trial_points(spec):
        if len(problems) == _MAX_SHOWN:
            break
        for path, message in _failures(spec, point):
            # The same message with other numbers would say nothing new.
            kind = _NUMBER.sub("#", message)
            if kind not in problems:
                problems[kind] = _blamed(spec, point, path, message)
    return list(problems.values())


def _published_problem(spec: SweepSpec) -> Problem | None:
    """Why the published setting, with which a search is to begin, cannot be trained here."""
    if spec.start is None or not spec.start.published:
        return None
    point, _ = spec.start_points[0]
    failures = _failures(spec, point)
    if not failures:
        return None
    given = ", ".join(f"{path}: {shown(value)}" for path, value in point.items())
    lacking = ", ".join(path for path in spec.space if path not in point)
    without = f" and a value of {lacking}" if lacking else ""
    return Problem(
        ("start", "published"),
        f"cannot be trained with these settings: {failures[0][1]}; allowed: points: "
        f"[{{{given}}}]{without}",
    )


def _seed(spec: SweepSpec) -> int:
    return spec.search.seed if spec.search else 0


def row_problems(spec: SweepSpec) -> list[Problem]:
    """Rows of an ablation that cannot be trained, or that are the same as another one."""
    problems: list[Problem] = []
    seen: list[tuple[Settings, str]] = []
    for row in spec.rows:
        key_path = ("ablation", *row.key_path)
        try:
            settings = resolve(spec, row.overrides)
        except SettingsError as error:
            problems += [Problem(key_path, f"{path}: {text}") for path, text in error.problems]
            continue
        twin = next((name for other, name in seen if other == settings), None)
        if twin is not None:
            message = f"{row.name!r} has the same settings as {twin!r}"
            problems.append(Problem(key_path, message))
        seen.append((settings, row.name))
    return problems[:_MAX_SHOWN]


def _trial_points(spec: SweepSpec) -> Iterator[dict[str, Any]]:
    space = spec.space
    generator = random.Random(_seed(spec))
    num_corners = 1
    for parameter in space.values():
        num_corners *= len(parameter.ends)
    if num_corners <= MAX_CORNERS:
        ends = [parameter.ends for parameter in space.values()]
        for values in itertools.product(*ends):
            yield active_part(space, dict(zip(space, values, strict=True)))
    else:
        for _ in range(MAX_CORNERS):
            corner = {path: generator.choice(parameter.ends) for path, parameter in space.items()}
            yield active_part(space, corner)
    for _ in range(_INNER_POINTS):
        yield _inner_point(spec, generator)


def _inner_point(spec: SweepSpec, generator: random.Random) -> dict[str, Any]:
    drawn = {path: parameter.draw(generator) for path, parameter in spec.space.items()}
    return active_part(spec.space, drawn)


def _failures(spec: SweepSpec, point: Mapping[str, Any]) -> list[tuple[str, str]]:
    try:
        resolve(spec, point)
    except SettingsError as error:
        return [*error.problems]
    return []


def _blamed(spec: SweepSpec, point: Mapping[str, Any], path: str, message: str) -> Problem:
    """Name the parameters that matter; if none does, the fixed settings are wrong."""
    guilty = [name for name in point if _matters(spec, point, name, message)]
    if not guilty:
        return Problem(("settings", path) if path else ("settings",), message)
    values = ", ".join(f"{name} {shown(point[name])}" for name in guilty)
    return Problem(("search", "parameters", guilty[0]), f"with {values}: {message}")


def _matters(spec: SweepSpec, point: Mapping[str, Any], path: str, message: str) -> bool:
    if path.rpartition(".")[2] in _WORD.findall(message):
        return True
    others = (value for value in spec.space[path].ends if value != point[path])
    return any(
        all(text != message for _, text in _failures(spec, {**point, path: value}))
        for value in others
    )
