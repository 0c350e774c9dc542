"""Names that Ray's providers read in a cluster file; Ray silently ignores all others.

Machines of AWS are described by parameters of EC2's RunInstances, which botocore knows down to the
last level, without a network.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from orchestrator.base.errors import ClusterFileError
from orchestrator.base.text import suggestion
from orchestrator.spec.problems import Problem, shown, unknown

# Read in the sources of Ray 2.60 (`ray.autoscaler`); a test compares them with the installed ones.
_EVERY_PROVIDER = (
    "type",
    "use_internal_ips",
    "use_external_head_ip",
    "disable_launch_config_check",
    "disable_node_updaters",
    "foreground_node_launch",
    "worker_liveness_check",
)
PROVIDER_KEYS: Mapping[str, tuple[str, ...]] = {
    "aws": (
        *_EVERY_PROVIDER,
        "region",
        "availability_zone",
        "cache_stopped_nodes",
        "key_pair",
        "security_group",
        "cloudwatch",
        "aws_credentials",
    ),
    "local": (
        *_EVERY_PROVIDER,
        "head_ip",
        "worker_ips",
        "external_head_ip",
        "coordinator_address",
    ),
}
_NESTED_KEYS: Mapping[str, tuple[str, ...]] = {
    "key_pair": ("key_name",),
    "security_group": ("GroupName", "IpPermissions"),
}
# Ray chooses one of these for each machine; EC2 knows only SubnetId.
_RAYS_OWN = "SubnetIds"
# Longer lists would push the suggestion out of sight.
_LISTED_NAMES = 12
# New kinds of machine come faster than new versions of botocore.
_GROWING = frozenset({"InstanceType"})


def provider_key_problems(provider: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys of the section `provider` that Ray does not read; none for unknown kinds."""
    names = PROVIDER_KEYS.get(str(provider.get("type")))
    if names is None:
        return
    for key, value in provider.items():
        if key not in names:
            yield Problem(("provider", str(key)), unknown("key", str(key), names))
        elif key in _NESTED_KEYS and isinstance(value, Mapping):
            yield from _unknown_keys(value, _NESTED_KEYS[key], ("provider", key))


def node_config_problems(node_config: object, path: Sequence[str]) -> Iterator[Problem]:
    """Keys and values that EC2 does not know in the description of a machine.

    Args:
        node_config: A node type's `node_config`.
        path: Its key path in the file.

    Raises:
        ClusterFileError: botocore is not installed.
    """
    if isinstance(node_config, Mapping):
        content = {key: value for key, value in node_config.items() if key != _RAYS_OWN}
        yield from _against(content, _run_instances(), tuple(path))


def _against(value: object, shape: Any, path: tuple[str, ...]) -> Iterator[Problem]:  # noqa: ANN401
    """Compare a value with one of botocore's shapes."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        yield from _unknown_keys(value, tuple(shape.members), path)
        for key, item in value.items():
            if key in shape.members:
                yield from _against(item, shape.members[key], (*path, str(key)))
    elif shape.type_name == "list" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _against(item, shape.member, (*path, str(index)))
    elif shape.type_name == "string":
        yield from _not_one_of(value, shape, path)


def _not_one_of(value: object, shape: Any, path: tuple[str, ...]) -> Iterator[Problem]:  # noqa: ANN401
    names = getattr(shape, "enum", None)
    if names and value not in names and shape.name not in _GROWING:
        allowed = ", ".join(names) if len(names) <= _LISTED_NAMES else f"EC2's {shape.name}"
        yield Problem(path, f"found {shown(value)}; allowed: {allowed}{suggestion(value, names)}")


def _unknown_keys(
    value: Mapping[Any, Any], names: Sequence[str], path: tuple[str, ...]
) -> Iterator[Problem]:
    for key in map(str, value):
        if key in names:
            continue
        if len(names) <= _LISTED_NAMES:
            yield Problem((*path, key), unknown("key", key, names))
        else:
            message = f"unknown key {key!r}; allowed: what EC2's RunInstances takes"
            yield Problem((*path, key), message + suggestion(key, names))


@cache
def _run_instances() -> Any:  # noqa: ANN401  (a shape of botocore's)
    try:
        from botocore.loaders import Loader
        from botocore.model import ServiceModel
    except ImportError as error:
        raise ClusterFileError(
            "a file for AWS is checked against boto3, without which `ray up` does not run "
            "either: pip install boto3"
        ) from error
    model = ServiceModel(Loader().load_service_model("ec2", "service-2"))
    return model.operation_model("RunInstances").input_shape
