"""How many workers of a trial a running Ray would place at this moment."""

from collections.abc import Mapping

from orchestrator.base.errors import RayChangedError

try:
    from ray._private.state import available_resources_per_node
except ImportError as error:
    raise RayChangedError(str(error)) from error


def free_slots(bundle: Mapping[str, float]) -> int:
    """Workers that would find a place on what nobody uses now.

    Args:
        bundle: What each asks of Ray; of GPUs whole ones.
    """
    nodes = available_resources_per_node().values()
    return sum(
        min(int(free.get(name, 0.0) // amount) for name, amount in bundle.items()) for free in nodes
    )
