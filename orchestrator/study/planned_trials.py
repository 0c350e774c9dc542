"""Trials that are planned by number, not drawn: the runs of an ablation, and confirmations.

The plan is kept with the study and grows by whole rounds, each in one write, so that a sweep that
goes on in another process runs what it would have run.
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
        variant: The row of the ablation that it is a run of; None: of none.
        block: Which of the row's seeds it has, from 0.
        confirms: The trial whose configuration it runs again; None: of none.
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
        """The plan with more trials, numbered from `first` on, or after its own end.

        Args:
            first: Number of trials that were asked for so far.
            trials: The trials in their order.
        """
        begin = max([first, *(number + 1 for number in self.trials)])
        return TrialPlan({**self.trials, **dict(enumerate(trials, begin))})

    def runs(self) -> Counter[str]:
        """Number of planned runs of each variant."""
        return Counter(trial.variant for trial in self.trials.values() if trial.variant is not None)

    def to_json(self) -> dict[str, Any]:
        """As JSON takes it; what is None is left out."""
        return {
            str(number): {key: value for key, value in asdict(planned).items() if value is not None}
            for number, planned in self.trials.items()
        }


def runs_of(
    rows: Sequence[Row],
    seeds: Mapping[str, Sequence[int]],
    done: Mapping[str, int] | None = None,
) -> list[PlannedTrial]:
    """Runs of an ablation's rows, seed by seed: a table that is interrupted is a balanced one.

    Args:
        rows: The rows.
        seeds: Seeds of each row by its name; a row without any gets no run.
        done: How many of a row's seeds have their run already; None: none has.
    """
    begun = done or {}
    most = max((len(seed) for seed in seeds.values()), default=0)
    return [
        PlannedTrial({**row.overrides, SEED: seeds[row.name][block]}, variant=row.name, block=block)
        for block in range(most)
        for row in rows
        if begun.get(row.name, 0) <= block < len(seeds.get(row.name, ()))
    ]
