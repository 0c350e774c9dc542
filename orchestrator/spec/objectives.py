"""What a search improves, what each trial may cost, and which trial is crowned.

objectives: [{metric: val/SumR}, {metric: cost/bytes_per_video}]
limits: {cost/bytes_per_video: 60000}
crown: knee
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, model_validator

from orchestrator.spec.problems import refuse, shown, unknown
from orchestrator.spec.sections import PathProblems, SpecSection
from prvr_model.reporting import (
    BYTES_PER_VIDEO,
    MAP,
    MS_PER_QUERY,
    NDCG,
    PARAMETERS,
    TRAIN_S,
    VERIFIED,
)

if TYPE_CHECKING:
    from orchestrator.spec.sections import Search

_RECALLS = ("SumR", "R1", "R5", "R10", "R100")
LABELLED: tuple[str, ...] = tuple(f"val/{VERIFIED}/{name}" for name in (*_RECALLS, NDCG, MAP))
"""Validation metrics where any video of verified labels is correct."""
OBJECTIVES: tuple[str, ...] = (
    *(f"val/{branch}{name}" for branch in ("", "clip/", "frame/") for name in _RECALLS),
    *LABELLED,
)
"""Metrics that training reports on validation, the only ones that may select."""
COSTS: tuple[str, ...] = (PARAMETERS, BYTES_PER_VIDEO, MS_PER_QUERY, TRAIN_S)
"""What using and training a model costs; every trial reports them."""

Direction: TypeAlias = Literal["maximize", "minimize"]


def _reported(metric: str) -> str:
    if metric in OBJECTIVES:
        return metric
    if metric in COSTS:
        raise ValueError(
            f"found {metric}, a cost; allowed: a metric of validation first, then costs: "
            f"objectives: [{{metric: val/SumR}}, {{metric: {metric}}}]"
        )
    spoilt = " (selecting on test would spoil it)" if metric.startswith("test/") else ""
    raise ValueError(unknown("metric", metric, OBJECTIVES) + spoilt)


class Objective(SpecSection):
    """What the search improves."""

    metric: Annotated[str, AfterValidator(_reported)] = "val/SumR"
    """Name of a validation metric; a trial's value is its best so far."""
    direction: Direction = "maximize"
    """Whether larger or smaller is better."""


def _reported_or_cost(metric: str) -> str:
    return metric if metric in COSTS else _reported(metric)


class Goal(SpecSection):
    """One of several objectives: the first a metric of validation, the others costs."""

    metric: Annotated[str, AfterValidator(_reported_or_cost)]
    """Name of a validation metric or a cost."""
    direction: Direction
    """Whether larger or smaller is better; default: a cost is minimized, a metric maximized."""

    @model_validator(mode="before")
    @classmethod
    def _with_direction(cls, raw: Any) -> Any:  # noqa: ANN401
        if not isinstance(raw, Mapping):
            return raw
        usual = "minimize" if raw.get("metric") in COSTS else "maximize"
        return {"direction": usual, **raw}


def _checked_limits(limits: dict[str, float]) -> dict[str, float]:
    problems: PathProblems = []
    for metric, limit in limits.items():
        if metric not in COSTS:
            problems.append(((metric,), unknown("cost", metric, COSTS)))
        elif limit <= 0:
            problems.append(((metric,), f"found {limit:g}; allowed: a number above 0"))
    if problems:
        refuse(problems)
    return limits


GoalList: TypeAlias = Annotated[
    tuple[Goal, ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
]
Limits: TypeAlias = Annotated[dict[str, float], AfterValidator(_checked_limits)]


# Five: what a spec says of its goals, and how it searches.
def goal_problems(
    first: Objective,
    goals: Sequence[Goal],
    limits: Mapping[str, float],
    crown: str,
    search: "Search | None",
) -> PathProblems:
    """What does not fit together.

    Args:
        first: The section `objective`.
        goals: The section `objectives`.
        limits: The section `limits`.
        crown: The key `crown`.
        search: The section `search`; None: an ablation.
    """
    problems: PathProblems = []
    if search is None:
        kinds = {"objectives": goals, "limits": limits}
        return [
            ((key,), "found with ablation, which compares rows by one metric; allowed: with search")
            for key, value in kinds.items()
            if value
        ]
    if goals:
        problems += _list_problems(first, goals, search)
    if crown == "knee" and len(goals) < 2:
        problems.append((("crown",), "found knee; needs two objectives or more"))
    return problems


def _list_problems(first: Objective, goals: Sequence[Goal], search: "Search") -> PathProblems:
    problems: PathProblems = []
    names = [goal.metric for goal in goals]
    if len(goals) < 2:
        problems.append((("objectives",), "found one; allowed: two or more, or objective alone"))
    if names[0] in COSTS:
        message = f"found {names[0]}; allowed first: a metric of validation, by which trials stop"
        problems.append((("objectives", "0", "metric"), message))
    elif (first.metric, first.direction) != (names[0], goals[0].direction):
        message = f"found {first.metric} {first.direction}, but objectives begins with {names[0]}"
        problems.append((("objective",), f"{message} {goals[0].direction}; give objectives alone"))
    for k, goal in enumerate(goals):
        place = ("objectives", str(k), "metric")
        if k and goal.metric not in COSTS:
            message = f"found {goal.metric}; allowed after the first: {', '.join(COSTS)}"
            problems.append((place, message))
        elif goal.metric in names[:k]:
            problems.append((place, f"found {goal.metric} twice; allowed: once"))
        elif goal.metric in COSTS and goal.direction == "maximize":
            where = ("objectives", str(k), "direction")
            problems.append((where, f"found maximize for a cost, {shown(goal.metric)}"))
    if search.sampler == "cmaes":
        message = "found cmaes with several objectives; allowed: tpe, gp, random, qmc, grid"
        problems.append((("search", "sampler"), message))
    return problems
