"""How many workers of a trial a running Ray would place at this moment."""

from typing import Any

from orchestrator.capacity import Node, TrialNeeds
from orchestrator.errors import RayChangedError

try:
    from ray._private.state import available_resources_per_node
except ImportError as error:
    raise RayChangedError(str(error)) from error


def free_slots(needs: TrialNeeds) -> int:
    """Workers that would find a place on what nobody uses now."""
    nodes = map(_free_node, available_resources_per_node().values())
    return sum(needs.slots_on(node) for node in nodes)


def _free_node(free: dict[str, Any]) -> Node:
    """A node as if it had only what is free of it; Train asks Ray for no memory."""
    return Node(cpus=free.get("CPU", 0.0), gpus=free.get("GPU", 0.0))
