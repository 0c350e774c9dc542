"""Whether every node of a cluster file starts Ray with token authentication.

A head that requires a token is of no use if workers start without one, and vice versa.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.spec.problems import Problem

_TOKEN_MODE = "RAY_AUTH_MODE=token"

_MODE = r"RAY_AUTH_MODE=[\"']?token\b"
_GIVEN = re.compile(_MODE)
# Each command runs in its own shell: the next one does not see what it exports.
_STARTED = re.compile(rf"{_MODE}.*\bray start\b", re.DOTALL)
_KEPT = re.compile(rf"{_MODE}.*(?:>|\btee\b)", re.DOTALL)
_STARTS = re.compile(r"\bray start\b")
_HEAD, _WORKERS = "the head", "workers"


def token_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Nodes whose Ray would start without a token."""
    bare = _bare_nodes(config)
    if not bare:
        return
    where = "" if bare == [_HEAD, _WORKERS] else f" for {' and '.join(bare)}"
    yield Problem(
        (),
        f"no {_TOKEN_MODE}{where}: put it into docker.run_options, or before `ray start` in "
        "head_start_ray_commands and in worker_start_ray_commands, or let setup_commands write it "
        "to ~/.bashrc; without it, anyone who reaches a port of the cluster can run programs on it",
    )


def _bare_nodes(config: Mapping[str, Any]) -> list[str]:
    """The kinds of nodes without a token."""
    docker = _mapping(config, "docker")
    types = {
        str(name): value
        for name, value in _mapping(config, "available_node_types").items()
        if isinstance(value, Mapping) and name != config.get("head_node_type")
    }
    # A file for your own machines has no node types.
    workers = types or {"": {}}
    without = [
        f"{_WORKERS} {name}"
        for name, value in workers.items()
        if not _has_token(config, "worker", {**docker, **_mapping(value, "docker")}, value)
    ]
    head = [] if _has_token(config, "head", docker, {}) else [_HEAD]
    return head + ([_WORKERS] if len(without) == len(workers) else without)


def _has_token(
    config: Mapping[str, Any], kind: str, docker: Mapping[str, Any], node_type: Mapping[str, Any]
) -> bool:
    options = _texts(docker, "run_options") + _texts(docker, f"{kind}_run_options")
    own_setup = f"{kind}_setup_commands"
    # A node type's own commands replace all others.
    setup = (
        _texts(node_type, own_setup)
        if own_setup in node_type
        else _texts(config, "setup_commands") + _texts(config, own_setup)
    )
    starts = [text for text in _texts(config, f"{kind}_start_ray_commands") if _STARTS.search(text)]
    return (
        any(map(_GIVEN.search, options))
        or any(map(_KEPT.search, setup))
        or (bool(starts) and all(map(_STARTED.search, starts)))
    )


def _mapping(section: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = section.get(key)
    return found if isinstance(found, Mapping) else {}


def _texts(section: Mapping[str, Any], key: str) -> list[str]:
    found = section.get(key)
    return [str(command) for command in found] if isinstance(found, list) else []
