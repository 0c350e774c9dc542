"""Attaches to a running Ray cluster, describes and checks its nodes, and probes one worker.

If a cluster does not answer, Ray waits for minutes or for ever, and some of its failures end the
process. So `client` runs this module in a separate process, which it can end: requests come on
stdin and answers go to stdout, one line of JSON each.
"""

import json
import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TextIO

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.base.errors import ClusterError, RayChangedError
from orchestrator.base.our_code import PACKAGES, ROOT
from orchestrator.cluster.capacity import Node
from orchestrator.cluster.node_survey import look_at_nodes, ray_error_text
from orchestrator.cluster.ray_environment import job_on_our_path, leave_ray, own_start
from prvr_model.errors import PrvrError

try:
    from ray._private import services
except ImportError as error:
    raise RayChangedError(str(error)) from error

_HEAD = "node:__internal_head__"
_ACCELERATOR = "accelerator_type:"
# Not in `Node.resources`: they have fields of their own, serve Ray itself, or are only names.
_NOT_OFFERED = ("CPU", "GPU", "memory", "object_store_memory", "node:", _ACCELERATOR)
_CONNECT_S = 2.0


@contextmanager
def attached(
    address: str, namespace: str | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Attach this process to a running cluster as a driver while the block runs.

    Our packages travel with what runs there. Authentication comes from the environment.

    Args:
        address: `auto` or HOST:PORT.
        namespace: Namespace of named actors; None: a new one.
        variables: Environment variables of what runs there.

    Raises:
        ClusterError: There is no cluster, or it refuses.
    """
    environment = {
        "py_modules": [str(ROOT / name) for name in PACKAGES],
        "excludes": ["**/__pycache__"],
        "env_vars": dict(variables or {}),
    }
    try:
        found = address
        if address == "auto":  # else Ray would prefer an address of the environment to ours
            found = services.get_ray_address_from_environment(address, None)
        with _loopback_where_it_is(found), own_start():
            ray.init(
                address=found,
                job_config=job_on_our_path(),
                namespace=namespace,
                runtime_env=environment,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except PrvrError:
        raise
    except Exception as error:
        leave_ray()
        raise ClusterError(str(error) or type(error).__name__) from error
    except BaseException:
        # Ctrl-C may leave this process half attached.
        leave_ray()
        raise
    try:
        yield
    finally:
        leave_ray()


def cluster_nodes() -> list[Node]:
    """The living nodes of the attached cluster with all their resources, free or in use."""
    return [node for _, node in _nodes_by_id()]


def _nodes_by_id() -> list[tuple[str, Node]]:
    entries = sorted((entry for entry in ray.nodes() if entry["Alive"]), key=_head_first)
    # Several nodes on one machine, as in tests, share its address.
    seen: Counter[str] = Counter()
    nodes = []
    for entry in entries:
        address = entry["NodeManagerAddress"]
        seen[address] += 1
        number = f" #{seen[address]}" if seen[address] > 1 else ""
        node = _node(f"{address}{number}", entry["Resources"], entry.get("Labels") or {})
        nodes.append((entry["NodeID"], node))
    return nodes


def resources_in_use() -> dict[str, float]:
    """CPUs and GPUs of the cluster that are in use now."""
    total, free = ray.cluster_resources(), ray.available_resources()
    used = {name: total.get(name, 0.0) - free.get(name, 0.0) for name in ("CPU", "GPU")}
    return {name: amount for name, amount in used.items() if amount > 0}


def probe_worker(request: str, bundle: Mapping[str, float], limit_s: float) -> dict[str, Any]:
    """Probe one worker of the cluster.

    Args:
        request: A `ProbeRequest` as JSON.
        bundle: Resources of the worker by Ray's names.
        limit_s: Seconds to wait for its answer.

    Returns:
        `node` and `result` (a `ProbeResult` as JSON), or `error`.
    """
    others = {name: value for name, value in bundle.items() if name not in ("CPU", "GPU", "memory")}
    task = ray.remote(_probe).options(
        num_cpus=bundle.get("CPU", 0),
        num_gpus=bundle.get("GPU", 0),
        memory=bundle.get("memory"),
        resources=others,
        max_retries=0,
    )
    answer = task.remote(request)
    try:
        node, result = ray.get(answer, timeout=limit_s)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(answer, force=True)
        return {"error": f"no worker answered within {limit_s:.0f} s; the cluster may be busy"}
    except ray.exceptions.RayError as error:
        return {"error": ray_error_text(error)}
    return {"node": node, "result": result}


def _probe(request: str) -> tuple[str, str]:
    """Runs on a worker, with the packages that `attached` sends."""
    from prvr_model.training.probe import probe_json

    return ray.util.get_node_ip_address(), probe_json(request)


def await_worker(bundle: Mapping[str, float], limit_s: float) -> dict[str, Any]:
    """Wait until a node has room for a process; the autoscaler starts one if none has.

    Args:
        bundle: Resources of the process by Ray's names.
        limit_s: Seconds to wait.

    Returns:
        `came`: whether a node has room; `nodes`: all living nodes now.
    """
    ask = ray.remote(_nothing).options(
        num_cpus=bundle.get("CPU", 0), num_gpus=bundle.get("GPU", 0), max_retries=0
    )
    asked = ask.remote()
    done, late = ray.wait([asked], timeout=limit_s)
    for answer in late:
        ray.cancel(answer, force=True)
    return {"came": bool(done), "nodes": [asdict(node) for node in cluster_nodes()]}


def _nothing() -> None:
    """Runs on a worker."""


def check_locations(locations: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
    """Check from every node that can run trials whether it finds the driver's data and storage.

    Args:
        locations: Fields of `SharedLocations`.
        limit_s: Seconds to wait for all nodes together.

    Returns:
        `problems`: a line for each node that has one; `lacking`: nodes that must be sent the data.
    """
    asked = {
        # No CPU, so that busy nodes are checked too.
        ray.remote(_look)
        .options(
            num_cpus=0,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(key, False),
        )
        .remote(dict(locations)): node.name
        for key, node in _nodes_by_id()
        if node.cpus
    }
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=limit_s)
    problems = {asked[answer]: f"no answer within {limit_s:.0f} s" for answer in late}
    for answer in late:
        ray.cancel(answer, force=True)
    looks = {asked[answer]: _look_or_error(answer) for answer in done}
    problems |= {name: value["problem"] for name, value in looks.items() if value["problem"]}
    return {
        "problems": [f"node {name}: {problems[name]}" for name in sorted(problems)],
        "lacking": sorted(name for name, value in looks.items() if value["lacks_data"]),
    }


def look_at_all_nodes(limit_s: float) -> dict[str, Any]:
    """Look at each node from a worker on it.

    Returns:
        `nodes`: see `node_survey.look_at_nodes`.
    """
    nodes = [(key, node.name) for key, node in _nodes_by_id()]
    return {"nodes": look_at_nodes(nodes, limit_s)}


def _look_or_error(answer: Any) -> dict[str, Any]:  # noqa: ANN401
    try:
        found: dict[str, Any] = ray.get(answer)
    except ray.exceptions.RayError as error:
        return {"problem": ray_error_text(error), "lacks_data": False}
    return found


def _look(locations: Mapping[str, Any]) -> dict[str, Any]:
    """Runs on a worker, with the packages that `attached` sends."""
    from orchestrator.cluster.node_check import SharedData, SharedLocations, look_here

    data = SharedData(**locations["data"])
    return asdict(look_here(SharedLocations(**{**locations, "data": data})))


def _head_first(entry: Mapping[str, Any]) -> tuple[bool, str, int]:
    return _HEAD not in entry["Resources"], entry["NodeManagerAddress"], entry["NodeManagerPort"]


def _node(name: str, resources: Mapping[str, float], labels: Mapping[str, str]) -> Node:
    offered = {key: value for key, value in resources.items() if not key.startswith(_NOT_OFFERED)}
    kinds = [key.removeprefix(_ACCELERATOR) for key in resources if key.startswith(_ACCELERATOR)]
    known = {key: value for key, value in labels.items() if not key.startswith("ray.io/node-id")}
    if kinds:
        known["accelerator"] = ", ".join(kinds)
    memory = resources.get("memory")
    return Node(
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        memory_bytes=None if memory is None else int(memory),
        name=f"{name} (head)" if _HEAD in resources else name,
        resources=offered,
        labels=known,
    )


@contextmanager
def _loopback_where_it_is(address: str) -> Iterator[None]:
    """Let Ray find a cluster that listens on loopback alone.

    Ray takes 127.0.0.1 for a mistake and looks for the cluster on the network instead.
    """
    if not hasattr(services, "resolve_ip_for_localhost"):
        raise RayChangedError("ray._private.services.resolve_ip_for_localhost")
    resolve = services.resolve_ip_for_localhost
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((resolve(host), int(port)), _CONNECT_S).close()
    except (OSError, ValueError):
        services.resolve_ip_for_localhost = str
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = resolve


def main() -> None:
    """Answer requests until stdin ends: the first holds the address, each other one a task."""
    handlers: dict[str, Callable[..., dict[str, Any]]] = {
        "probe": probe_worker,
        "worker": await_worker,
        "locations": check_locations,
        "look": look_at_all_nodes,
    }
    answers = _answers()
    try:
        with attached(json.loads(sys.stdin.readline())["address"]):
            nodes = [asdict(node) for node in cluster_nodes()]
            _answer(answers, {"nodes": nodes, "in_use": resources_in_use()})
            for line in sys.stdin:
                asked = json.loads(line)
                _answer(answers, handlers[asked.pop("what")](**asked))
    except ClusterError as error:
        _answer(answers, {"error": str(error)})


def _answers() -> TextIO:
    """The real stdout; what Ray prints goes to stderr from now on."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _answer(answers: TextIO, content: Mapping[str, Any]) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
