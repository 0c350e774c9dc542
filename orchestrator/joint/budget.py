"""The budget of a sweep over several data sets: what one part leaves is the next one's."""

from orchestrator.joint.sweep import JointSweep
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sections import Budget
from orchestrator.sweep.budget import Spent, spent

# A part that has spent all that is left keeps a budget that allows no further trial.
_NOTHING = 1e-9


def is_spent(joint: JointSweep, data: str) -> bool:
    """Whether the other parts have left nothing for a part that has not begun."""
    budget = joint.spec.first.budget
    if budget is None:
        return False
    found = _of_others(joint, data)
    limits = (
        (budget.trials, found.trials),
        (budget.gpu_hours, found.gpu_hours),
        (budget.wall_hours, found.wall_hours),
        (budget.money, found.money),
    )
    return any(limit is not None and took >= limit for limit, took in limits)


def budget_of(joint: JointSweep, data: str) -> Budget | None:
    """The whole budget without what the other parts have spent; None without a budget."""
    budget = joint.spec.first.budget
    if budget is None:
        return None
    others = _of_others(joint, data)
    return Budget(
        gpu_hours=_left(budget.gpu_hours, others.gpu_hours),
        wall_hours=_left(budget.wall_hours, others.wall_hours),
        money=_left(budget.money, others.money),
        trials=None if budget.trials is None else max(1, budget.trials - others.trials),
    )


def _left(limit: float | None, took: float) -> float | None:
    return None if limit is None else max(_NOTHING, limit - took)


def _of_others(joint: JointSweep, data: str) -> Spent:
    """What all parts but one have spent."""
    studies = [
        study for other in joint.spec.parts if other != data if (study := joint.study(other))
    ]
    found = [
        spent(read_spec(study.attributes["spec_yaml"], source=f"sweep {study.name}"), study)
        for study in studies
    ]
    return Spent(
        sum(each.trials for each in found),
        sum(each.gpu_hours for each in found),
        sum(each.wall_hours for each in found),
        sum(each.money for each in found),
    )
