"""Several objectives and limits of cost: which trials are feasible, the Pareto front, its knee.

A study's own values, its pruning and its confirmation are those of the first objective. The others
are costs, which trials report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.trial import TrialState, TrialSummary

GOALS = "goals"
"""Attribute of a sweep with several objectives or limits: them, as JSON."""


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
            f"{name} is {costs[name]:,.6g}, allowed: at most {self.limits[name]:,.6g}"
            for name, excess in self.excess(costs).items()
            if excess > 0
        ]
        return "; ".join(texts) or None

    def is_feasible(self, trial: TrialSummary) -> bool:
        """Whether a trial's costs are known and within the limits."""
        return self.limits.keys() <= trial.costs.keys() and not self.over_limit(trial.costs)

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

        Of trials with equal values the first stays.
        """
        if not self.objectives:
            return ()
        known = [trial for trial in trials if _is_complete(trial) and self.is_feasible(trial)]
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


def is_on_front(losses: Float[np.ndarray, "trials objectives"]) -> Bool[np.ndarray, "trials"]:
    """Which rows no other one beats: none is at most as large in all columns and smaller in one.

    Of equal rows the first stays.
    """
    kept = np.zeros(len(losses), np.bool_)
    members: list[Float[np.ndarray, objectives]] = []
    # By the first column, then the others: whatever beats a row comes before it.
    for row in np.lexsort(losses.T[::-1]):
        if not any((member <= losses[row]).all() for member in members):
            members.append(losses[row])
            kept[row] = True
    return kept


def _is_complete(trial: TrialSummary) -> bool:
    return trial.state is TrialState.COMPLETE and trial.value is not None
