"""What a running Ray has reserved, has free, and is about to lose.

`free_groups_of` removes placement groups of an actor that is gone. Ray keeps a group until both the
actor that made it and the job have ended, and Ray Train's own cleaner needs the dashboard: without
this, a killed controller's CPUs and GPUs would stay reserved until the sweep ends.

`free_slots` counts the workers of a trial that Ray would place at this moment.

`this_place` says where a worker runs. `watch_this_node` notices that this process's node is being
drained and tells the process's trial to leave. Trials on a cluster use it; nodes of our own Ray are
never drained. Train's own watcher would be one more process for each trial, and does not exist for
trials of one worker.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group

from orchestrator.base.errors import RayChangedError
from orchestrator.executors.trial_runner import set_leaving
from orchestrator.executors.wire import WorkerPlace

try:
    from ray._private import state
    from ray.core.generated import gcs_pb2

    state.state.get_draining_nodes  # noqa: B018
except (ImportError, AttributeError) as error:
    raise RayChangedError(str(error)) from error


def free_groups_of(actor_id: str) -> int:
    """Remove the placement groups of an actor, with the workers in them.

    Args:
        actor_id: Hexadecimal id.

    Returns:
        Number of groups removed.
    """
    return _free([group for group in _groups() if group.creator_actor_id.hex() == actor_id])


def free_orphaned_groups() -> int:
    """Remove the placement groups of actors of this job that are dead.

    Returns:
        Number of groups removed.
    """
    return _free([group for group in _groups() if _is_dead(group.creator_actor_id)])


def _free(groups: list[Any]) -> int:
    for group in groups:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
    return len(groups)


def _groups() -> Iterator[Any]:
    """Groups of this job that an actor made and that exist; Tune owns those of the driver."""
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


try:
    from ray._private.state import available_resources_per_node
except ImportError as error:
    raise RayChangedError(str(error)) from error


def this_place() -> WorkerPlace:
    """This worker, which begins now."""
    labels = ray.get_runtime_context().get_node_labels()
    return WorkerPlace(time.time_ns() // 1_000_000, dict(labels))


def free_slots(bundle: Mapping[str, float]) -> int:
    """Number of workers that would find a slot now.

    Args:
        bundle: Resources of each worker by Ray's names; whole GPUs.
    """
    nodes = available_resources_per_node().values()
    return sum(
        min(int(free.get(name, 0.0) // amount) for name, amount in bundle.items()) for free in nodes
    )


# A spot notice gives half a minute or more; a look is one small request to the GCS.
_LOOK_S = 1.0
# Name of the thread: a process that runs trial after trial starts it only once.
_THREAD = "node-watch"


def watch_this_node() -> None:
    """Start to watch, unless this process already does."""
    if all(thread.name != _THREAD for thread in threading.enumerate()):
        node = ray.get_runtime_context().get_node_id()
        threading.Thread(target=_watch, args=(node,), name=_THREAD, daemon=True).start()


def _watch(node: str) -> None:
    pause = threading.Event()
    while not _is_draining(node):
        pause.wait(_LOOK_S)
    set_leaving()


def _is_draining(node: str) -> bool:
    try:
        return node in state.state.get_draining_nodes()
    except Exception:  # noqa: BLE001  (the GCS may be away for a moment; it is asked again)
        return False
