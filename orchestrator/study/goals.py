"""Several objectives and limits of cost: which trials are feasible, the Pareto front, its knee.

A study's own values, its pruning and its confirmation are those of the first objective. The others
are costs, which trials report.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from orchestrator.base.text import count
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.trial import TrialState, TrialSummary

GOALS = "goals"
"""Attribute of a sweep with several objectives or limits: them, as JSON."""
# From here on the digits after the point of a cost say nothing.
_WHOLE = 1000


@dataclass(frozen=True)
class Goals:
    """What a sweep asks of its trials beside its objective.

    Args:
        objectives: Direction of each of several objectives by metric, the sweep's own first; empty
            for a single one.
        limits: Most that a trial may cost.
        crown: `best` or `knee`: which member of the front wins.
    """

    objectives: Mapping[str, str]
    limits: Mapping[str, float]
    crown: str = "best"

    @classmethod
    def of_spec(cls, spec: SweepSpec) -> "Goals":
        """The goals of a spec."""
        objectives = {goal.metric: goal.direction for goal in spec.objectives}
        return cls(objectives, dict(spec.limits), spec.crown)

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> "Goals":
        """The goals in a study's attributes; none in a study of a single objective."""
        return cls(**attributes.get(GOALS, {"objectives": {}, "limits": {}}))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.objectives or self.limits)

    def to_json(self) -> dict[str, Any]:
        """The value of the attribute `GOALS`."""
        return asdict(self)

    @property
    def costs(self) -> tuple[str, ...]:
        """All costs that count."""
        return tuple(dict.fromkeys([*list(self.objectives)[1:], *self.limits]))

    def excess(self, costs: Mapping[str, float]) -> dict[str, float]:
        """By how much each cost that is known exceeds its limit; negative: so much is left."""
        return {name: costs[name] - limit for name, limit in self.limits.items() if name in costs}

    def over_limit(self, costs: Mapping[str, float]) -> str | None:
        """Which limits some costs exceed, in words; None if they exceed none."""
        texts = [
            f"{name} is {cost_text(costs[name])}, allowed: at most {cost_text(self.limits[name])}"
            for name, excess in self.excess(costs).items()
            if excess > 0
        ]
        return "; ".join(texts) or None

    def allows(self, costs: Mapping[str, float]) -> bool:
        """Whether all costs that are limited are known and within the limits."""
        return self.limits.keys() <= costs.keys() and not self.over_limit(costs)

    def is_feasible(self, trial: TrialSummary) -> bool:
        """Whether a trial's costs are known and within the limits."""
        return self.allows(trial.costs)

    def values_of(self, trial: TrialSummary) -> tuple[float, ...]:
        """A trial's value of each objective, as reported; NaN where a cost is not known."""
        first = float("nan") if trial.value is None else trial.value
        return (first, *(trial.costs.get(name, float("nan")) for name in list(self.objectives)[1:]))

    def losses(self, trials: Sequence[TrialSummary]) -> Float[np.ndarray, "trials objectives"]:
        """Values of trials, smaller is better; infinite where a cost is not known."""
        signs = [1 if direction == "minimize" else -1 for direction in self.objectives.values()]
        values = np.array([self.values_of(trial) for trial in trials]).reshape(-1, len(signs))
        found: Float[np.ndarray, "trials objectives"] = np.nan_to_num(values * signs, nan=np.inf)
        return found

    def front(self, trials: Sequence[TrialSummary]) -> tuple[TrialSummary, ...]:
        """Feasible complete trials that no other one beats in all objectives, in their order.

        Of trials with equal values the first stays. Fresh runs of a configuration are no points of
        their own: the luckiest seed would stand for it.
        """
        if not self.objectives:
            return ()
        searched = (trial for trial in trials if _is_complete(trial) and trial.confirms is None)
        known = [trial for trial in searched if self.is_feasible(trial)]
        pairs = zip(known, is_on_front(self.losses(known)), strict=True)
        return tuple(trial for trial, is_member in pairs if is_member)

    def knee(self, front: Sequence[TrialSummary]) -> TrialSummary | None:
        """The member of a front that is nearest to the best of all objectives at once.

        Each objective is scaled to 0 at its best and 1 at its worst on the front; the distance is
        Euclid's. Source: the ideal point of compromise programming, Zeleny 1973.
        """
        if not front:
            return None
        losses = self.losses(front)
        best, worst = losses.min(axis=0), losses.max(axis=0)
        scaled = (losses - best) / np.where(worst > best, worst - best, 1.0)
        return front[int(np.argmin(np.linalg.norm(scaled, axis=1)))]

    def ranked(self, trials: Sequence[TrialSummary]) -> tuple[TrialSummary, ...]:
        """Trials from the one that is crowned on: the front before others, no infeasible one.

        Args:
            trials: Complete trials, the best by the first objective first.
        """
        feasible = [trial for trial in trials if self.is_feasible(trial)]
        front = self.front(feasible)
        first = self.knee(front) if self.crown == "knee" else None
        members = {trial.number for trial in front}
        order = sorted(
            feasible, key=lambda trial: (trial is not first, trial.number not in members)
        )
        return tuple(order)

    def reason(self, num_front: int) -> str:
        """Why the first of `ranked` wins, in words.

        Args:
            num_front: Members of the front.
        """
        within = " within the limits" if self.limits else ""
        if not self.objectives:
            return f"the best{within}"
        what = "knee" if self.crown == "knee" else f"best {next(iter(self.objectives))}"
        return f"the {what} of {count(num_front, 'trial')}{within} that no other one beats"


def cost_text(cost: float | None) -> str:
    """A cost in words: whole from 1,000 on, else with four digits; a dash where it is not known."""
    if cost is None or not isfinite(cost):
        return "-"
    return f"{cost:,.0f}" if abs(cost) >= _WHOLE else f"{cost:.4g}"


def num_replaced(trials: Iterable[TrialSummary], wanted: int) -> int:
    """How many trials are drawn for those that exceed a limit and are not trained.

    Args:
        trials: All trials of a search.
        wanted: Trials that it was asked for; at most as many are drawn besides.
    """
    return min(sum(trial.over_limit is not None for trial in trials), wanted)


def is_on_front(losses: Float[np.ndarray, "trials objectives"]) -> Bool[np.ndarray, "trials"]:
    """Which rows no other one beats: none is at most as large in all columns and smaller in one.

    Of equal rows the first stays.
    """
    kept = np.zeros(len(losses), np.bool_)
    members = losses[:0]
    # By the first column, then the others: whatever beats a row comes before it.
    for row in np.lexsort(losses.T[::-1]):
        if not (members <= losses[row]).all(axis=1).any():
            members = np.vstack([members, losses[row]])
            kept[row] = True
    return kept


def _is_complete(trial: TrialSummary) -> bool:
    return trial.state is TrialState.COMPLETE and trial.value is not None
