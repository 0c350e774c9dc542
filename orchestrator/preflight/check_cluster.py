"""A running Ray cluster: reachable, with room, and its nodes alike and of one time."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.base.errors import ClusterError
from orchestrator.base.installation import package_versions
from orchestrator.base.text import count
from orchestrator.cluster.capacity import Node
from orchestrator.cluster.client import attached_cluster
from orchestrator.preflight.check_devices import judge_devices
from orchestrator.preflight.finding import Finding, fine, problem, warning

# Timestamps of trials are compared in seconds; tokens of object stores fail beyond minutes.
_SKEW_S = 2.0
_SAME = ("python", "ray", "torch", "numpy", "prvr-sweep")


def check_cluster(address: str) -> list[Finding]:
    """The cluster at an address: `auto` or HOST:PORT; looked at from a worker of each node."""
    try:
        with attached_cluster(address) as cluster:
            found = check_resources(cluster.nodes, cluster.busy)
            looks = cluster.look_at_nodes()
    except ClusterError as error:
        return [problem("cluster", str(error), "start Ray, or correct --address and the token")]
    return [found, *(finding for look in looks for finding in judge_node(look, package_versions()))]


def check_resources(nodes: Sequence[Node], busy: str) -> Finding:
    """What the nodes offer together."""
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    message = f"{count(len(nodes), 'node')}, {count(cpus, 'CPU')}, {count(gpus, 'GPU')}"
    if not cpus:
        remedy = "start workers that offer CPUs: ray start --address=... --num-cpus=N"
        return problem("cluster", f"{message}: no trial fits anywhere", remedy)
    if busy:
        remedy = "wait for it or end it; `ray status` shows whose it is"
        return warning("cluster", f"{message}; in use now: {busy}", remedy)
    return fine("cluster", f"{message}, nothing in use")


def judge_node(look: Mapping[str, Any], here: Mapping[str, str]) -> list[Finding]:
    """What a worker found on its node.

    Args:
        look: As `ray_nodes.look_at_nodes` gives it.
        here: Versions on this machine.
    """
    place = f"node {look['name']}: "
    if "error" in look:
        remedy = "look into Ray's logs on the node: /tmp/ray/session_latest/logs"
        return [problem("node", f"{place}{look['error']}", remedy)]
    seen = json.loads(look["devices"])
    return [
        judge_versions(place, look["versions"], here),
        judge_clock(place, look["offset_s"], look["uncertainty_s"]),
        *judge_devices(place, look["present"], seen, visible=None),
    ]


def judge_versions(place: str, there: Mapping[str, str], here: Mapping[str, str]) -> Finding:
    """Versions on a node against those on this machine."""
    others = [
        f"{name} {there.get(name, 'missing')} (here {here[name]})"
        for name in _SAME
        if name in here and there.get(name) != here[name]
    ]
    if not others:
        return fine("node", f"{place}versions as here")
    remedy = "install constraints.txt on all nodes; numbers may differ between versions"
    return problem("node", f"{place}{', '.join(others)}", remedy)


def judge_clock(place: str, offset_s: float, uncertainty_s: float) -> Finding:
    """A node's clock against this machine's."""
    message = f"{place}clock {offset_s:+.2f} s from this machine's (known to {uncertainty_s:.2f} s)"
    if abs(offset_s) - uncertainty_s > _SKEW_S:
        return problem("clock", message, "set the clocks by NTP: `timedatectl set-ntp true`")
    return fine("clock", message)
