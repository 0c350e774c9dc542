"""What kind of machine a node is, by which its hours have a price.

Ray labels a node with its accelerator, and its autoscaler with the node type of the file for
`ray up`, which says the machine type and whether it is spot. Where no file does, labels of your own
do (`ray start --labels instance-type=NAME,market-type=spot`).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestrator.base.machine import visible_gpus
from orchestrator.spec.prices import MachineKind

BOOTSTRAP_FILE = Path("~/ray_bootstrap_config.yaml")
"""Where `ray up` puts the file on the head; Tune looks there too."""
NODE_TYPE = "ray.io/node-group"
"""Label with the node type of the file; the autoscaler sets it."""
ACCELERATOR = "ray.io/accelerator-type"
"""Label with the kind of the GPUs; Ray sets it."""

_INSTANCE = "instance-type"
_MARKETS = ("ray.io/market-type", "market-type")
_ACCELERATOR_RESOURCE = "accelerator_type:"
# As Ray makes its names: the first words in capital letters with a number, or all but the maker.
_MODEL = re.compile(r"\w+\s+((?:[A-Z]+\s+)*[A-Z0-9]*\d[A-Z0-9]*)")


def bootstrap_config(file: Path | None = None) -> Mapping[str, Any]:
    """The file that `ray up` leaves on the head; empty if it is missing or cannot be read.

    Args:
        file: The file; None: where `ray up` leaves it.
    """
    try:
        text = (file or BOOTSTRAP_FILE).expanduser().read_text(encoding="utf-8")
        found = yaml.safe_load(text)
    except (OSError, RuntimeError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, Mapping) else {}


def node_types(file: Path | None = None) -> dict[str, MachineKind]:
    """The machines of each node type in the file of `ray up`; empty where there is no such file."""
    config = bootstrap_config(file)
    types = config.get("available_node_types")
    provider = config.get("provider")
    is_aws = isinstance(provider, Mapping) and provider.get("type") == "aws"
    if not isinstance(types, Mapping):
        return {}
    return {
        str(name): _kind_of_type(node_type, is_aws=is_aws)
        for name, node_type in types.items()
        if isinstance(node_type, Mapping)
    }


def kind_of(labels: Mapping[str, str], types: Mapping[str, MachineKind]) -> MachineKind:
    """The kind of machine that a node's labels say.

    Args:
        labels: Labels of the node.
        types: Node types of the file of `ray up`.
    """
    of_file = types.get(labels.get(NODE_TYPE, ""), MachineKind())
    market = next((labels[name] for name in _MARKETS if labels.get(name)), None)
    return MachineKind(
        labels.get(ACCELERATOR) or labels.get("accelerator") or of_file.accelerator,
        labels.get(_INSTANCE) or of_file.instance,
        of_file.is_spot if market is None else market.lower() == "spot",
    )


def this_kind() -> MachineKind:
    """The kind of this machine, as far as it is known."""
    names = [accelerator_name(gpu.name) for gpu in visible_gpus()]
    return MachineKind(names[0] if names else None)


def accelerator_name(device: str) -> str:
    """The name that Ray gives to a kind of GPU, e.g. `H100` for `NVIDIA H100 80GB HBM3`."""
    model = _MODEL.match(device)
    if model and len(model[1]) > 1:
        return model[1].replace(" ", "-")
    return re.sub(r"^NVIDIA\s+", "", device).strip().replace(" ", "-")


def _kind_of_type(node_type: Mapping[str, Any], *, is_aws: bool) -> MachineKind:
    """The machine of a node type: of AWS by EC2's parameters, of others by the type's labels."""
    labels = _section(node_type, "labels")
    resources = _section(node_type, "resources")
    accelerators = [
        str(name).removeprefix(_ACCELERATOR_RESOURCE)
        for name in resources
        if str(name).startswith(_ACCELERATOR_RESOURCE)
    ]
    machine = _section(node_type, "node_config") if is_aws else {}
    market = _section(machine, "InstanceMarketOptions").get("MarketType")
    told = kind_of({str(key): str(value) for key, value in labels.items()}, {})
    return MachineKind(
        told.accelerator or next(iter(accelerators), None),
        told.instance or machine.get("InstanceType"),
        (market == "spot" if machine else None) if told.is_spot is None else told.is_spot,
    )


def _section(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}
