"""Nodes that a cluster's autoscaler may still start; Ray itself does not list them.

`ray up` leaves the cluster's file on its head, with the resources of every node type filled in. A
driver that runs there packs trials onto the nodes that exist and onto those that may start.

Right after `ray up` only the head exists, but before the first trial it must be known whether
workers find data and storage. Locations on the head's own disk are refused at once, as no other
machine has it; all others are checked from the first worker, which the sweep would start anyway.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.base.errors import LocationError
from orchestrator.base.machine import network_file_system
from orchestrator.cluster.capacity import Node, TrialNeeds
from orchestrator.cluster.client import Cluster
from orchestrator.cluster.fitting import pack_or_refuse
from orchestrator.cluster.machine_kinds import NODE_TYPE, bootstrap_config
from orchestrator.cluster.node_check import SENT_STORE_LIMIT_BYTES, SharedLocations
from prvr_model.files.location import local_path

_OWN = ("CPU", "GPU", "memory", "object_store_memory")
# More would only make the plan long: other limits apply to so many trials at once.
_MOST_NODES = 1000


def coming_nodes(present: Sequence[Node], file: Path | None = None) -> list[Node]:
    """Worker nodes that the autoscaler may still start, those of higher priority first.

    Args:
        present: Nodes that exist, the head first.
        file: The cluster's file; None: where `ray up` leaves it.

    Returns:
        Empty if the file is missing or cannot be read: then no other nodes are known.
    """
    config = bootstrap_config(file)
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


def worker_types(file: Path | None = None) -> list[Node]:
    """A node of every type that the autoscaler may start, whatever exists.

    Args:
        file: See `coming_nodes`.
    """
    config = bootstrap_config(file)
    types = config.get("available_node_types")
    if not isinstance(types, Mapping):
        return []
    nodes = (
        next(_of_type(str(name), node_type, Counter()), None)
        for name, node_type in types.items()
        if name != config.get("head_node_type")
    )
    return [node for node in nodes if node is not None]


def is_growing(present: Sequence[Node], file: Path | None = None) -> bool:
    """Whether the autoscaler starts nodes, if only to replace lost ones.

    Args:
        present: Nodes that exist, the head first.
        file: See `coming_nodes`.
    """
    return bool(coming_nodes(present[:1], file))


def _priority(node_type: Any) -> int:  # noqa: ANN401
    value = node_type.get("priority", 0) if isinstance(node_type, Mapping) else 0
    return value if isinstance(value, int) else 0


def _of_type(name: str, node_type: Any, present: Counter[Any]) -> Iterator[Node]:  # noqa: ANN401
    """Nodes of a type that may start, besides those of its shape that exist."""
    resources = node_type.get("resources") if isinstance(node_type, Mapping) else None
    if not isinstance(resources, Mapping) or not resources.get("CPU"):
        return  # No trial runs on a node without CPUs.
    node = _node(name, resources)
    started = min(present[_shape(node)], int(node_type.get("max_workers", 0)))
    present[_shape(node)] -= started
    for _ in range(min(int(node_type.get("max_workers", 0)) - started, _MOST_NODES)):
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
        {NODE_TYPE: name},
    )


def _shape(node: Node) -> tuple[float, float]:
    return node.cpus, node.gpus


def bring_first_worker(
    cluster: Cluster,
    locations: SharedLocations,
    needs: TrialNeeds,
    coming: Sequence[Node],
    warn: Callable[[str], None],
) -> None:
    """Wait until one worker node is up, so that it can check the locations.

    A head that runs trials itself may never need a worker; then this does not wait.

    Args:
        cluster: The cluster; the head is the first of its nodes.
        locations: Data and storage that workers must find.
        needs: What a trial occupies.
        coming: Nodes that may still start.
        warn: Takes a line for the user.

    Raises:
        LocationError: A location is on a disk that only this machine has.
        SpecError: No trial would ever fit.
        ClusterError: No worker started in time.
    """
    if any(node.cpus for node in cluster.nodes[1:]):
        return
    _refuse_own_disk(locations)
    pack_or_refuse(needs, [*cluster.nodes, *coming])
    if any(needs.slots_on(node) for node in cluster.nodes):
        warn(
            "no worker is up yet that could check data and storage; workers that start later "
            f"must find {_needed(locations)}, or their trials fail"
        )
        return
    warn(
        "no worker is up yet; starting one, which takes minutes, to check whether it finds data "
        "and storage"
    )
    cluster.await_worker({"CPU": needs.cpus, "GPU": needs.gpus})


def _needed(locations: SharedLocations) -> str:
    storage = f"the driver's {locations.storage}"
    return storage if locations.data.is_small else f"{storage} and {locations.data.store}"


def _refuse_own_disk(locations: SharedLocations) -> None:
    problems = []
    if not locations.data.is_small and _is_on_own_disk(locations.data.store):
        problems.append(
            f"data: {locations.data.store} is on a disk of this machine; name it by a URI (data: "
            "s3://...) or put it on a file system that all nodes mount; a store of up to "
            f"{SENT_STORE_LIMIT_BYTES >> 20} MiB would travel with the sweep"
        )
    if _is_on_own_disk(locations.storage):
        problems.append(
            f"storage: {locations.storage} is on a disk of this machine; set --storage to s3://... "
            "or to a folder on a file system that all nodes mount"
        )
    if problems:
        found = "\n".join(f"  {problem}" for problem in problems)
        raise LocationError(
            "no worker of the cluster is up yet, and workers would lack data or storage; nothing "
            f"was started:\n{found}\n  if workers do share it, start one first (min_workers: 1 in "
            "the cluster's file); it is then checked"
        )


def _is_on_own_disk(location: str) -> bool:
    path = local_path(location)
    return path is not None and network_file_system(path) is None
