"""Nodes that a cluster's autoscaler may start, which Ray itself does not tell.

`ray up` leaves the cluster's file on its head, with the resources of every node type filled in. A
driver that runs there packs trials onto the nodes that exist and onto those that can come.

Right after `ray up` only the head exists, and what the workers will find must be known before the
first trial. The head's own disk is refused at once, as no other machine has it; everything else is
asked of the first worker, which the sweep would start anyway.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from orchestrator.base.errors import LocationError
from orchestrator.base.machine import network_file_system
from orchestrator.cluster.capacity import Node, TrialNeeds
from orchestrator.cluster.client import Cluster
from orchestrator.cluster.fitting import pack_or_refuse
from orchestrator.cluster.node_check import SENT_STORE_LIMIT_BYTES, SharedLocations

BOOTSTRAP_FILE = Path("~/ray_bootstrap_config.yaml")
"""Where `ray up` puts the file on the head; Tune looks there too."""

_OWN = ("CPU", "GPU", "memory", "object_store_memory")
# More would only make the plan long: a sweep of so many trials at once is cut by other limits.
_MOST_NODES = 1000


def coming_nodes(present: Sequence[Node], file: Path | None = None) -> list[Node]:
    """Worker nodes that the autoscaler may still start, those of higher priority first.

    Args:
        present: Nodes that are there, the head first.
        file: The cluster's file; None: where `ray up` leaves it.

    Returns:
        None of them where there is no such file, or it cannot be read: then what is there is all.
    """
    config = _config((file or BOOTSTRAP_FILE).expanduser())
    types = config.get("available_node_types")
    if not isinstance(types, Mapping):
        return []
    shapes = Counter(_shape(node) for node in present[1:])
    left = min(int(config.get("max_workers", 0)), _MOST_NODES) - len(present[1:])
    found: list[Node] = []
    for name, node_type in sorted(types.items(), key=lambda pair: -_priority(pair[1])):
        if name != config.get("head_node_type"):
            found += _of_type(str(name), node_type, shapes)
    return found[: max(0, left)]


def is_growing(present: Sequence[Node], file: Path | None = None) -> bool:
    """Whether the autoscaler starts nodes there, if only in place of those that are lost.

    Args:
        present: Nodes that are there, the head first.
        file: See `coming_nodes`.
    """
    return bool(coming_nodes(present[:1], file))


def _config(file: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _priority(node_type: Any) -> int:  # noqa: ANN401
    value = node_type.get("priority", 0) if isinstance(node_type, Mapping) else 0
    return value if isinstance(value, int) else 0


def _of_type(name: str, node_type: Any, present: Counter[Any]) -> Iterator[Node]:  # noqa: ANN401
    """Nodes of a type beyond those of its shape that are there."""
    resources = node_type.get("resources") if isinstance(node_type, Mapping) else None
    if not isinstance(resources, Mapping) or not resources.get("CPU"):
        return  # Without CPUs no trial runs there.
    node = _node(name, resources)
    there = min(present[_shape(node)], int(node_type.get("max_workers", 0)))
    present[_shape(node)] -= there
    for _ in range(min(int(node_type.get("max_workers", 0)) - there, _MOST_NODES)):
        yield node


def _node(name: str, resources: Mapping[str, Any]) -> Node:
    memory = resources.get("memory")
    others = {key: float(value) for key, value in resources.items() if key not in _OWN}
    return Node(
        float(resources["CPU"]),
        float(resources.get("GPU", 0)),
        int(memory) if memory else None,
        f"{name}, not started yet",
        others,
    )


def _shape(node: Node) -> tuple[float, float]:
    return node.cpus, node.gpus


_FILE_SCHEME = "file://"


def bring_first_worker(
    cluster: Cluster,
    places: SharedLocations,
    needs: TrialNeeds,
    coming: Sequence[Node],
    warn: Callable[[str], None],
) -> None:
    """Have a worker there that can be asked for the places; nothing is done where there is one.

    A head that runs trials itself may never need a worker, so none is waited for.

    Args:
        cluster: With its nodes, the head first.
        places: What the workers will have to find.
        needs: What a trial occupies.
        coming: Nodes that may still be started.
        warn: Takes a line for the user.

    Raises:
        LocationError: A place is on a disk of this machine alone.
        SpecError: No trial would ever fit.
        ClusterError: No worker came in time.
    """
    if any(node.cpus for node in cluster.nodes[1:]):
        return
    _refuse_own_disk(places)
    pack_or_refuse(needs, [*cluster.nodes, *coming])
    if any(needs.slots_on(node) for node in cluster.nodes):
        warn(
            "no worker is there yet that could be asked for data and storage; those that start "
            f"later must find {_needed(places)}, or their trials fail"
        )
        return
    warn(
        "no worker is there yet; one is asked for, which takes minutes, to see whether it finds "
        "data and storage"
    )
    cluster.await_worker({"CPU": needs.cpus, "GPU": needs.gpus})


def _needed(places: SharedLocations) -> str:
    storage = f"the driver's {places.storage}"
    return storage if places.data.is_small else f"{storage} and {places.data.store}"


def _refuse_own_disk(places: SharedLocations) -> None:
    problems = []
    if not places.data.is_small and _is_on_own_disk(places.data.store):
        problems.append(
            f"data: {places.data.store} is on a disk of this machine; name it by a URI (data: "
            "s3://...) or put it on a file system that all nodes mount; up to "
            f"{SENT_STORE_LIMIT_BYTES >> 20} MiB it would go along with the sweep"
        )
    if _is_on_own_disk(places.storage):
        problems.append(
            f"storage: {places.storage} is on a disk of this machine; set --storage to s3://... or "
            "to a folder on a file system that all nodes mount"
        )
    if problems:
        found = "\n".join(f"  {problem}" for problem in problems)
        raise LocationError(
            "workers of the cluster are still to come, and would not find everything; nothing was "
            f"started:\n{found}\n  where they share it all the same, let one start first "
            "(min_workers: 1 in the cluster's file): it is asked then"
        )


def _is_on_own_disk(place: str) -> bool:
    path = place.removeprefix(_FILE_SCHEME)
    return "://" not in path and network_file_system(Path(path)) is None
