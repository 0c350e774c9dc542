"""Which parameters of a search mattered: PED-ANOVA, and what chance alone would have named.

Trials of different budgets cannot be compared: they are taken at the largest budget that enough of
them reached. The importance of a parameter that does nothing is not 0 but what noise makes of it;
so the values are dealt out anew among the trials many times, and only a parameter above nearly all
of the largest importances of such deals is said to matter. What is compared is not yet divided by
the sum: as a share, the largest of a few parameters is large whatever they do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.report.budgets import largest_budget
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.study.importance import ped_anova
from orchestrator.study.reader import StudyReader
from orchestrator.study.trial import TrialSummary

# The best tenth must hold at least five trials for PED-ANOVA to be stable, as Optuna says; with
# the best quarter, which smaller studies need, that is twenty.
LEAST_TRIALS = 20
# The level below which deals call something important, and their number: the 95 % quantile of 200
# is the tenth largest.
_LEVEL = 0.05
_DEALS = 200


@dataclass(frozen=True)
class Importance:
    """Share of each parameter in what makes a trial one of the best.

    Args:
        shares: By dotted path, the largest first; they sum to one; empty: too few trials.
        threshold: What the largest exceeds in one of twenty deals of chance, on the same scale,
            which can be above 1; None: too few.
        made_of: Which trials it is made of, as part of a sentence.
    """

    shares: dict[str, float]
    threshold: float | None
    made_of: str

    @property
    def named(self) -> tuple[str, ...]:
        """Parameters that stand out from chance."""
        limit = self.threshold
        return () if limit is None else tuple(p for p, one in self.shares.items() if one > limit)

    @property
    def statement(self) -> str:
        """What can be said, in a sentence."""
        what = self.made_of
        if self.threshold is None:
            return (
                f"Too small to say which parameter mattered: {what}; it takes {LEAST_TRIALS} or "
                "more, and two parameters"
            )
        if not self.named:
            return f"Of {what} no parameter stands out from what chance would show"
        return f"Of {what} stand out from chance: {', '.join(self.named)}"


def importances(spec: SweepSpec, study: StudyReader, seed: int = 0) -> Importance:
    """Importance of the parameters among a search's trials of one budget.

    The budget is the largest that enough trials reached: see `budgets`.
    """
    found = largest_budget(spec, study, LEAST_TRIALS)
    if len(found.trials) < LEAST_TRIALS or len(spec.space) < 2:
        return Importance({}, None, found.statement)
    sign = 1.0 if study.direction == "maximize" else -1.0
    values = sign * np.array(found.values)
    told = ped_anova(spec, [one.parameters for one in found.trials], values)
    total = sum(told.values()) or 1.0
    ordered = sorted(told.items(), key=lambda one: -one[1])
    threshold = _of_chance(spec, found.trials, values, seed) / total
    return Importance({path: one / total for path, one in ordered}, threshold, found.statement)


def _of_chance(
    spec: SweepSpec, trials: Sequence[TrialSummary], values: np.ndarray, seed: int
) -> float:
    """Quantile of the largest share where values are dealt out anew."""
    generator = np.random.default_rng(seed)
    parameters = [one.parameters for one in trials]
    largest = [
        max(ped_anova(spec, parameters, generator.permutation(values)).values())
        for _ in range(_DEALS)
    ]
    return float(np.quantile(largest, 1 - _LEVEL))
