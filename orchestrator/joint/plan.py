"""What a sweep over several data sets will do and cost: the plans of its parts and their sum."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.joint.sweep import naming
from orchestrator.preflight.already_trained import known_runs
from orchestrator.preflight.plan import Plan, plan_here, plan_on
from orchestrator.preflight.plan_money import PlanMoney, total_money
from orchestrator.spec.joint import JointSpec, rows_spec
from orchestrator.spec.search_space import drawn_points
from orchestrator.spec.sweep_spec import SweepSpec

_Say = Callable[[str], None]


@dataclass(frozen=True)
class JointPlan:
    """The plans of all parts.

    Args:
        spec: The sweep.
        parts: Plan of each part by data set. In those of a search but the first, configurations
            drawn at random stand for those that it will confirm.
    """

    spec: JointSpec
    parts: Mapping[str, Plan]

    @property
    def most_trials(self) -> int:
        """Trials of all parts."""
        return sum(plan.most_trials for plan in self.parts.values())

    @property
    def known(self) -> int:
        """Trials of all parts that need no training."""
        return sum(plan.known for plan in self.parts.values())

    @property
    def seconds(self) -> float | None:
        """Expected wall time of all parts, one after the other; None if one is not known."""
        bands = [plan.seconds for plan in self.parts.values()]
        known = [band.expected for band in bands if band is not None]
        return sum(known) if len(known) == len(bands) else None

    @property
    def money(self) -> PlanMoney | None:
        """What all parts cost; None where that of one is not known."""
        return total_money(plan.money for plan in self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "sweep": self.spec.name,
            "question": self.spec.question,
            "parts": {data: plan.to_dict() for data, plan in self.parts.items()},
            "trials": self.most_trials,
            "known": self.known,
            "seconds": self.seconds,
            **({"money": money.to_dict()} if (money := self.money) else {}),
            "transfer": self.spec.transfer,
        }


def joint_plan(
    spec: JointSpec,
    home: Path,
    storage: str | None,
    address: str | None,
    *,
    probe: bool | None,
    tell: _Say | None = None,
) -> JointPlan:
    """Plan every part.

    Args:
        spec: The sweep.
        home: Its home, absolute.
        storage: Where its trials go; None: the home.
        address: Address of a running cluster; None: this machine.
        probe: Whether to time the training step; None: on a cluster only.
        tell: Takes a line for the user when something takes its time.

    Raises:
        PrvrError: As `plan_here` and `plan_on`.
    """
    plans = {}
    for data, planned in planned_parts(spec).items():
        is_known = planned is spec.parts[data]
        with naming(data):
            known = known_runs(planned, home, storage) if is_known else 0
            if address is None:
                plans[data] = plan_here(planned, probe=bool(probe), tell=tell, known=known)
            else:
                wanted = probe is not False
                plans[data] = plan_on(planned, address, probe=wanted, tell=tell, known=known)
    return JointPlan(spec, plans)


def planned_parts(spec: JointSpec) -> dict[str, SweepSpec]:
    """The sweep of each data set before any has run, see `JointPlan`."""
    return {
        data: placeholder_rows(part) if spec.is_search and part is not spec.first else part
        for data, part in spec.parts.items()
    }


def placeholder_rows(part: SweepSpec) -> SweepSpec:
    """A later data set's ablation before the search has ended, with rows drawn at random."""
    assert part.confirm is not None, "a search over several data sets has a confirmation"
    points = drawn_points(part, min(part.confirm.top, part.num_trials))
    return rows_spec(part, {f"confirmed {place}": row for place, row in enumerate(points, 1)})
