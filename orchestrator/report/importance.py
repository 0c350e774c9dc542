"""Which parameters of a search mattered: PED-ANOVA, compared with importances by chance alone.

Trials of different budgets cannot be compared, so all are taken at the largest budget that enough
of them reached. Noise gives some importance even to a parameter that does nothing. So the values
are shuffled among the trials many times, and a parameter is said to matter only if its importance
exceeds the largest importance of nearly every shuffle. Importances are compared before they are
divided by their sum: as a share, the largest of a few is always large.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.report.budgets import largest_budget
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.statistics.table import LEVEL
from orchestrator.study.importance import ped_anova, ped_anova_of_each
from orchestrator.study.reader import StudyReader

# The best tenth must hold at least five trials for PED-ANOVA to be stable, as Optuna says; with
# the best quarter, which smaller studies need, that is twenty.
LEAST_TRIALS = 20
# The 95 % quantile of 200 shuffles is the tenth largest.
_NUM_SHUFFLES = 200
_MOST_TRIALS = 1000


@dataclass(frozen=True)
class Importance:
    """Share of each parameter in what makes a trial one of the best.

    Args:
        shares: By dotted path, the largest first; they sum to one; empty with too few trials.
        threshold: What the largest share exceeds in one of twenty shuffles, on the same scale,
            which can be above 1; None with too few trials.
        made_of: Which trials it is made of, as part of a sentence.
    """

    shares: dict[str, float]
    threshold: float | None
    made_of: str

    @property
    def named(self) -> tuple[str, ...]:
        """Parameters that stand out from chance."""
        if self.threshold is None:
            return ()
        return tuple(path for path, share in self.shares.items() if share > self.threshold)

    @property
    def statement(self) -> str:
        """What can be said, in a sentence."""
        if self.threshold is None:
            return (
                f"{self.made_of} cannot show which parameter mattered: it takes {LEAST_TRIALS} "
                "trials or more, and two parameters"
            )
        if not self.named:
            return f"Among {self.made_of} no parameter stands out from what chance would show"
        return f"Among {self.made_of} these stand out from chance: {', '.join(self.named)}"


def importances(spec: SweepSpec, study: StudyReader, seed: int = 0) -> Importance:
    """Importance of the parameters among a search's trials of one budget.

    The budget is the largest that enough trials reached: see `budgets`.
    """
    compared = largest_budget(spec, study, LEAST_TRIALS)
    if len(compared.trials) < LEAST_TRIALS or len(spec.space) < 2:
        return Importance({}, None, compared.statement)
    sign = 1.0 if study.direction == "maximize" else -1.0
    # Of very many trials a sample says the same, and shuffling it takes seconds.
    chosen = np.random.default_rng(seed).permutation(len(compared.trials))[:_MOST_TRIALS]
    values = sign * np.array(compared.values)[np.sort(chosen)]
    parameters = [compared.trials[k].parameters for k in np.sort(chosen)]
    importance = ped_anova(spec, parameters, values)
    total = sum(importance.values()) or 1.0
    by_size = sorted(importance.items(), key=lambda item: -item[1])
    shares = {path: value / total for path, value in by_size}
    threshold = _of_chance(spec, parameters, values, seed) / total
    return Importance(shares, threshold, compared.statement)


def _of_chance(
    spec: SweepSpec, parameters: Sequence[dict[str, Any]], values: np.ndarray, seed: int
) -> float:
    """What the largest importance exceeds in one of twenty shuffles of the values."""
    generator = np.random.default_rng(seed)
    shuffled = (generator.permutation(values) for _ in range(_NUM_SHUFFLES))
    largest = [max(found.values()) for found in ped_anova_of_each(spec, parameters, shuffled)]
    return float(np.quantile(largest, 1 - LEVEL))
