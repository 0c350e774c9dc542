"""Sees that this process's node is being drained, and tells the process's trial to leave.

For both hosts of trials, on a cluster that others drain; on a Ray of our own nobody does. Train's
own watcher would be a process more for each trial, and is none for trials of one worker.
"""

import threading

import ray

from orchestrator.base.errors import RayChangedError
from orchestrator.executors.leaving import set_leaving

try:
    from ray._private.state import state

    state.get_draining_nodes  # noqa: B018
except (ImportError, AttributeError) as error:
    raise RayChangedError(str(error)) from error

# A spot notice gives half a minute or more; a look is one small question to the GCS.
_LOOK_S = 1.0
# Names the thread, so that a process that runs trial after trial has one.
_THREAD = "node-watch"


def watch_this_node() -> None:
    """Start to watch; does nothing where this process watches already."""
    if all(one.name != _THREAD for one in threading.enumerate()):
        node = ray.get_runtime_context().get_node_id()
        threading.Thread(target=_watch, args=(node,), name=_THREAD, daemon=True).start()


def _watch(node: str) -> None:
    pause = threading.Event()
    while not _is_draining(node):
        pause.wait(_LOOK_S)
    set_leaving()


def _is_draining(node: str) -> bool:
    try:
        return node in state.get_draining_nodes()
    except Exception:  # noqa: BLE001  (the GCS is away for a moment; it is asked again)
        return False
