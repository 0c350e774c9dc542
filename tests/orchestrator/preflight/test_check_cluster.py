"""Clusters: without room, with other versions, with clocks that are off."""

import json
from typing import Any

import pytest

from orchestrator.cluster.capacity import Node
from orchestrator.cluster.node_survey import clock_offset
from orchestrator.preflight.check_cluster import (
    check_cluster,
    check_resources,
    judge_clock,
    judge_node,
)

HERE = {"python": "3.11.9", "ray": "2.60.0", "torch": "2.13.0"}


def look(**changes: object) -> dict[str, Any]:
    devices = {"torch": "2.13.0", "cuda": None, "gpus": [], "nccl": None}
    fields = {"name": "a", "versions": HERE, "present": [], "devices": json.dumps(devices)}
    return {**fields, "offset_s": 0.01, "uncertainty_s": 0.02, **changes}


def test_a_node_like_this_machine() -> None:
    assert {finding.level for finding in judge_node(look(), HERE)} == {"ok"}


def test_a_node_of_other_versions() -> None:
    found = judge_node(look(versions={**HERE, "torch": "2.9.0"}), HERE)[0]
    assert (found.level, found.message) == ("problem", "node a: torch 2.9.0 (here 2.13.0)")
    assert "constraints.txt" in found.remedy


def test_a_node_that_does_not_answer() -> None:
    (found,) = judge_node({"name": "a", "error": "no answer in time"}, HERE)
    assert (found.level, found.message) == ("problem", "node a: no answer in time")


def test_a_clock_that_is_off() -> None:
    found = judge_clock("node a: ", -7.5, 0.01)
    assert found.level == "problem"
    assert "clock -7.50 s" in found.message
    assert "NTP" in found.remedy
    assert judge_clock("node a: ", 7.5, 6.0).level == "ok"


def test_the_quickest_exchange_says_how_far_a_clock_is_off() -> None:
    time_s = [100.0]
    delays = iter([2.0, 0.5, 0.1, 3.0, 1.0, 0.2, 0.4])

    def ask() -> float:
        time_s[0] += next(delays)
        return time_s[0] + 40.0

    offset_s, uncertainty_s = clock_offset(ask, lambda: time_s[0])
    assert uncertainty_s == pytest.approx(0.05)
    assert abs(offset_s - 40.0) <= uncertainty_s + 1e-9


def test_a_cluster_without_room() -> None:
    found = check_resources([Node(0, name="head")], "")
    assert found.level == "problem"
    assert "no trial fits" in found.message


def test_a_cluster_that_is_busy_is_a_warning() -> None:
    assert check_resources([Node(4)], "3 CPUs").level == "warning"
    assert check_resources([Node(4)], "").message == "1 node, 4 CPUs, 0 GPUs, nothing in use"


def test_a_cluster_that_is_not_there() -> None:
    (found,) = check_cluster("127.0.0.1:1")
    assert found.level == "problem"
    assert "nothing answers at 127.0.0.1:1" in found.message
