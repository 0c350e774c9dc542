"""Runs trials of two workers on Ray and looks, before Ray goes, at what they left occupied."""

import time
from pathlib import Path
from typing import Any

import ray

from orchestrator.executors.tune_executor import TrialSlot, TuneExecutor

# Ray tells nodes of freed resources within a second or two; longer means never.
_LIMIT_S = 20


class FreedExecutor(TuneExecutor):
    """Notes what is occupied and which placement groups live after the last trial."""

    def __init__(self, function: str, workers: int = 2, start_limit_s: float = 300) -> None:
        slot = TrialSlot(workers=workers)
        super().__init__(slot, function, start_limit_s=start_limit_s, max_evictions=1)
        self.occupied: dict[str, float] | None = None
        self.groups: list[str] = []
        self.num_groups = 0

    def _fit(self, bridge: Any, scratch: Path) -> None:  # noqa: ANN401
        try:
            super()._fit(bridge, scratch)
        finally:
            limit_s = time.monotonic() + _LIMIT_S
            while (occupied := _occupied()) and time.monotonic() < limit_s:
                time.sleep(0.2)
            states = [value["state"] for value in ray.util.placement_group_table().values()]
            self.occupied = occupied
            self.num_groups = len(states)
            self.groups = [state for state in states if state != "REMOVED"]


def _occupied() -> dict[str, float]:
    """What is there but not available, by name."""
    available, there = ray.available_resources(), ray.cluster_resources()
    # Memory of objects is no trial's: this process holds the trainable's arguments. Names that
    # only one side has are of placement groups.
    names = {*available, *there} - {"object_store_memory"}
    left = {name: there.get(name, 0.0) - available.get(name, 0.0) for name in names}
    return {name: amount for name, amount in left.items() if amount}
