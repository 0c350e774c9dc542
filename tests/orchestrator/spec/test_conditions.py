"""Conditional parameters: where they have values, and conditions that make no sense."""

import pytest

from orchestrator.commands.plan_text import parameter_text
from orchestrator.spec.conditions import active_part, in_order
from orchestrator.spec.loading import read_spec
from orchestrator.spec.search_space import grid_points
from tests.orchestrator.spec.spec_texts import SPEC, problem_of, spec_of

CROSS = "search.parameters.losses.cross_branch={type: categorical, choices: [off, adaptive]}"


def parameter(path: str, when: str, values: str = "type: int, low: 1, high: 3") -> str:
    return f"search.parameters.{path}={{{values}, when: {when}}}"


CHAIN = (
    CROSS,
    parameter("losses.num_levels", "{losses.cross_branch: adaptive}"),
    parameter(
        "losses.smallest_level", "{losses.num_levels: {low: 2}}", "type: int, low: 2, high: 5"
    ),
    "search.parameters.losses.tau={type: categorical, choices: [0.5, 0.6]}",
)


def test_a_parameter_builds_on_one_that_may_have_no_value() -> None:
    spec = spec_of(*CHAIN)
    values = {"losses.cross_branch": "adaptive", "losses.num_levels": 2, "losses.smallest_level": 4,
              "losses.tau": 0.5}  # fmt: skip
    assert active_part(spec.space, values) == values
    one_level = {**values, "losses.num_levels": 1}
    assert "losses.smallest_level" not in active_part(spec.space, one_level)
    off = {**values, "losses.cross_branch": "off"}
    assert active_part(spec.space, off).keys() == {"losses.cross_branch", "losses.tau"}
    # Off: 2 values of tau. Adaptive: one level, or two levels of four smallest ones, twice.
    assert spec.num_points == 2 * (1 + 1 + 2 * 4)


def test_a_grid_has_every_different_point_once() -> None:
    spec = spec_of(*CHAIN, "search.sampler=grid", "search.trials=null")
    points = [tuple(sorted(point.items())) for point in grid_points(spec)]
    assert len(points) == len(set(points)) == spec.num_trials == 20


def test_parameters_are_drawn_after_those_they_depend_on() -> None:
    spec = spec_of(CROSS, parameter("losses.tau", "{losses.cross_branch: adaptive}",
                                    "type: float, low: 0.5, high: 0.9"))  # fmt: skip
    assert list(spec.space) == ["losses.tau", "losses.cross_branch"]
    assert in_order(spec.space) == ["losses.cross_branch", "losses.tau"]
    text = parameter_text(spec.space["losses.tau"])
    assert text == "0.5 to 0.9, where losses.cross_branch is adaptive"
    assert spec.setting_values("losses.tau") == (0.5, 0.9, 0.8)


def test_the_resolved_spec_keeps_conditions() -> None:
    spec = spec_of(*CHAIN)
    assert read_spec(spec.dump_yaml()) == spec


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            [parameter("losses.margin", "{losses.tua: 0.5}")],
            "losses.margin.when.losses.tua: found losses.tua, not searched; did you mean "
            "losses.tau?",
        ),
        (
            [parameter("losses.num_levels", "{losses.tau: 0.5}")],
            "losses.num_levels.when.losses.tau: found 0.5; allowed: 0.5 to 0.9 as "
            "{low: ..., high: ...}",
        ),
        (
            [CROSS, parameter("losses.num_levels", "{losses.cross_branch: fixed}")],
            "losses.num_levels.when.losses.cross_branch: found fixed; allowed: off or adaptive",
        ),
        (
            [parameter("losses.num_levels", "{model.num_scales: 1}"),
             parameter("model.num_scales", "{losses.num_levels: 2}")],
            "losses.num_levels.when: found a circle: losses.num_levels -> model.num_scales -> "
            "losses.num_levels; allowed: none",
        ),
        (
            [CROSS, parameter("losses.num_levels", "{losses.cross_branch: adaptive}"),
             parameter("losses.smallest_level", "{losses.num_levels: 2, losses.cross_branch: off}"),
             ],
            "losses.smallest_level.when: never holds: with the conditions of what it builds on, "
            "losses.cross_branch must be off and adaptive at once",
        ),
        (
            [parameter("losses.num_levels", "{losses.tau: {low: 0.95}}")],
            "losses.num_levels.when.losses.tau: found at least 0.95; allowed: 0.5 to 0.9 as "
            "{low: ..., high: ...}",
        ),
        (
            [parameter("losses.num_levels", "{losses.tau: {low: 0.7, high: 0.6}}")],
            "losses.num_levels.when.losses.tau.low: found 0.7; allowed: at most high, 0.6",
        ),
        (
            [parameter("losses.num_levels", "{losses.tau: []}")],
            "losses.num_levels.when.losses.tau: found []; allowed: a value, a list of values, or "
            "{low: ..., high: ...}",
        ),
    ],
)  # fmt: skip
def test_conditions_that_make_no_sense(overrides: list[str], problem: str) -> None:
    assert problem_of(*overrides, text=SPEC).endswith(f"search.parameters.{problem}")
