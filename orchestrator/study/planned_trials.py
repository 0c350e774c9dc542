"""Trials that are planned by number, not drawn: the runs of an ablation, and confirmations.

The plan is kept with the study and grows by whole rounds, each in one write, so that a resumed
sweep runs the same trials.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.spec.ablation import SEED, Row

PLANNED = "planned_trials"
"""Attribute of the study that holds the plan."""


@dataclass(frozen=True)
class PlannedTrial:
    """A trial before it begins.

    Args:
        parameters: Settings by dotted path that replace the sweep's, the seed among them.
        variant: Row of the ablation that it is a run of; None outside an ablation.
        block: Index of its seed, from 0.
        confirms: Trial whose configuration it runs again; None outside a confirmation.
    """

    parameters: dict[str, Any]
    variant: str | None = None
    block: int | None = None
    confirms: int | None = None


@dataclass(frozen=True)
class TrialPlan:
    """Planned trials by number."""

    trials: Mapping[int, PlannedTrial]

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> "TrialPlan":
        """The plan in a study's attributes; empty where there is none."""
        kept = attributes.get(PLANNED, {})
        return cls({int(number): PlannedTrial(**value) for number, value in kept.items()})

    def with_round(self, first: int, trials: Iterable[PlannedTrial]) -> "TrialPlan":
        """The plan with more trials, numbered from `first` or from its own end, if that is later.

        Args:
            first: Number of trials drawn so far.
            trials: The trials in their order.
        """
        begin = max([first, *(number + 1 for number in self.trials)])
        return TrialPlan({**self.trials, **dict(enumerate(trials, begin))})

    def runs(self) -> Counter[str]:
        """Number of planned runs of each variant."""
        return Counter(trial.variant for trial in self.trials.values() if trial.variant is not None)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON; fields that are None are left out."""
        return {
            str(number): {key: value for key, value in asdict(planned).items() if value is not None}
            for number, planned in self.trials.items()
        }


def runs_of(
    rows: Sequence[Row],
    seeds: Mapping[str, Sequence[int]],
    done: Mapping[str, int] | None = None,
) -> list[PlannedTrial]:
    """Runs of an ablation's rows, seed by seed, so that an interrupted table is balanced.

    Args:
        rows: The rows.
        seeds: Seeds of each row by its name; a row without any gets no run.
        done: How many of each row's seeds have a run already; None: 0 for every row.
    """
    begun = done or {}
    most = max((len(seed) for seed in seeds.values()), default=0)
    return [
        PlannedTrial({**row.overrides, SEED: seeds[row.name][block]}, variant=row.name, block=block)
        for block in range(most)
        for row in rows
        if begun.get(row.name, 0) <= block < len(seeds.get(row.name, ()))
    ]
