"""Nodes that a cluster's autoscaler may start, which Ray itself does not tell.

`ray up` leaves the cluster's file on its head, with the resources of every node type filled in. A
driver that runs there packs trials onto what is there and onto what can come.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from orchestrator.cluster.capacity import Node

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
    for name, one in sorted(types.items(), key=lambda pair: -_priority(pair[1])):
        if name != config.get("head_node_type"):
            found += _of_type(str(name), one, shapes)
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
    others = {key: float(one) for key, one in resources.items() if key not in _OWN}
    return Node(
        float(resources["CPU"]),
        float(resources.get("GPU", 0)),
        int(memory) if memory else None,
        f"{name}, not started yet",
        others,
    )


def _shape(node: Node) -> tuple[float, float]:
    return node.cpus, node.gpus
