"""How far a sweep over several data sets is, from the studies of its parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.joint.sweep import JointSweep
from orchestrator.study.money import Cost, total_cost
from orchestrator.sweep.status import SweepStatus, read_status


@dataclass(frozen=True)
class JointStatus:
    """The status of every part.

    Args:
        joint: The sweep.
        parts: Status of each part that has begun, by data set.
    """

    joint: JointSweep
    parts: Mapping[str, SweepStatus]

    @property
    def state(self) -> str:
        """`running`, `interrupted` or `lost` as the part that is; `finished` if all parts are."""
        states = [part.state for part in self.parts.values()]
        open_states = [state for state in states if state != "finished"]
        if open_states:
            return open_states[-1]
        return "finished" if len(states) == len(self.joint.spec.parts) else "unfinished"

    @property
    def cost(self) -> Cost | None:
        """What all parts cost so far; None without prices."""
        return total_cost(part.cost for part in self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; None for a part that has not begun."""
        found = {
            data: self.parts[data].to_dict() if data in self.parts else None
            for data in self.joint.spec.parts
        }
        return {
            "sweep": self.joint.name,
            "home": str(self.joint.home),
            "question": self.joint.spec.question,
            "state": self.state,
            "parts": found,
            **({"money": cost.to_dict()} if (cost := self.cost) else {}),
        }


def joint_status(home: Path, name: str) -> JointStatus:
    """Read the studies of all parts, also while one runs.

    Raises:
        SweepNotFoundError: The home has no sweep over several data sets of this name.
    """
    joint = JointSweep.open(home, name)
    parts = {data: read_status(home, joint.spec.parts[data].name) for data in joint.begun}
    return JointStatus(joint, parts)
