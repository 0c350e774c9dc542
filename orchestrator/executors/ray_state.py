"""Frees the places of workers whose keeper is gone.

Ray keeps a placement group until both the actor that made it and the job have ended, and Ray
Train's own cleaner needs the dashboard: without this, a killed controller's CPUs and GPUs would
be lost until the sweep ends.
"""

from collections.abc import Iterator
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group

from orchestrator.base.errors import RayChangedError

try:
    from ray._private import state
    from ray.core.generated import gcs_pb2
except ImportError as error:
    raise RayChangedError(str(error)) from error


def free_groups_of(actor_id: str) -> int:
    """Remove what an actor has reserved, with the workers in it.

    Args:
        actor_id: Hexadecimal id.

    Returns:
        Number of groups removed.
    """
    return _free([one for one in _groups() if one.creator_actor_id.hex() == actor_id])


def free_orphaned_groups() -> int:
    """Remove what actors of this job had reserved that are no more.

    Returns:
        Number of groups removed.
    """
    return _free([one for one in _groups() if _is_dead(one.creator_actor_id)])


def _free(groups: list[Any]) -> int:
    for one in groups:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(one.placement_group_id)))
    return len(groups)


def _groups() -> Iterator[Any]:
    """Groups of this job that an actor made and nobody removed; the driver's are Tune's."""
    job = ray.get_runtime_context().get_job_id()
    for text in _accessor().get_placement_group_table():
        group = gcs_pb2.PlacementGroupTableData.FromString(text)
        gone = group.state == gcs_pb2.PlacementGroupTableData.REMOVED
        if group.creator_actor_id and group.creator_job_id.hex() == job and not gone:
            yield group


def _is_dead(actor_id: bytes) -> bool:
    text = _accessor().get_actor_info(ray.ActorID(actor_id))
    if text is None:
        return False
    info = gcs_pb2.ActorTableData.FromString(text)
    return bool(info.state == gcs_pb2.ActorTableData.DEAD)


def _accessor() -> Any:  # noqa: ANN401
    try:
        return state.state._connect_and_get_accessor()
    except AttributeError as error:
        raise RayChangedError(f"ray._private.state: {error}") from error
