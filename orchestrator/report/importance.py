"""Which parameters of a search mattered: PED-ANOVA, and what chance alone would have named.

Trials of different budgets cannot be compared: only complete ones count, which ran all their
epochs. The importance of a parameter that does nothing is not 0 but what noise makes of it; so the
values are dealt out anew among the trials many times, and only a parameter above nearly all of the
largest importances of such deals is said to matter.
"""

from dataclasses import dataclass

import numpy as np

from orchestrator.importance_evaluator import ped_anova
from orchestrator.study import StudyReader
from orchestrator.sweep_spec import SweepSpec
from orchestrator.trial import TrialSummary

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
        threshold: What the largest share exceeds in one of twenty deals of chance; None: too few.
        trials: Complete trials of the full budget that it is made of.
        epochs: Their budget.
    """

    shares: dict[str, float]
    threshold: float | None
    trials: int
    epochs: int

    @property
    def named(self) -> tuple[str, ...]:
        """Parameters that stand out from chance."""
        limit = self.threshold
        return () if limit is None else tuple(p for p, one in self.shares.items() if one > limit)

    @property
    def statement(self) -> str:
        """What can be said, in a sentence."""
        what = f"{self.trials} complete trials of {self.epochs} epochs"
        if self.threshold is None:
            return (
                f"Too small to say which parameter mattered: {what}; it takes {LEAST_TRIALS} or "
                "more, and two parameters"
            )
        if not self.named:
            return f"Of {what} no parameter stands out from what chance would show"
        return f"Of {what} stand out from chance: {', '.join(self.named)}"


def importances(spec: SweepSpec, study: StudyReader, seed: int = 0) -> Importance:
    """Importance of the parameters among a search's complete trials of the full budget."""
    searched = [one for one in study.best(study.num_asked()) if one.confirms is None]
    epochs = max((one.epochs for one in searched), default=spec.max_epochs)
    trials = [one for one in searched if one.epochs == epochs and one.value is not None]
    if len(trials) < LEAST_TRIALS or len(spec.space) < 2:
        return Importance({}, None, len(trials), epochs)
    sign = 1.0 if study.direction == "maximize" else -1.0
    values = np.array([sign * (one.value or 0.0) for one in trials])
    shares = ped_anova(spec, [one.parameters for one in trials], values)
    ordered = dict(sorted(shares.items(), key=lambda one: -one[1]))
    return Importance(ordered, _of_chance(spec, trials, values, seed), len(trials), epochs)


def _of_chance(spec: SweepSpec, trials: list[TrialSummary], values: np.ndarray, seed: int) -> float:
    """Quantile of the largest share where values are dealt out anew."""
    generator = np.random.default_rng(seed)
    parameters = [one.parameters for one in trials]
    largest = [
        max(ped_anova(spec, parameters, generator.permutation(values)).values())
        for _ in range(_DEALS)
    ]
    return float(np.quantile(largest, 1 - _LEVEL))
