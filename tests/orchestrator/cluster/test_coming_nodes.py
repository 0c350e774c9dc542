"""Nodes that an autoscaler may start, from the file that `ray up` leaves on the head."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.base.errors import SpecError
from orchestrator.cluster.autoscaler import coming_nodes, is_growing
from orchestrator.cluster.capacity import Node
from orchestrator.commands.plan_text import render_plan
from orchestrator.preflight import plan as plan_module
from orchestrator.preflight.plan import plan_on
from tests.orchestrator.spec.spec_texts import spec_of

CONFIG = """\
cluster_name: tuning
max_workers: 4
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0, train_driver: 100}, max_workers: 0}
  dear: {resources: {CPU: 8, GPU: 1, memory: 17179869184, accelerator_type:A10G: 1}, max_workers: 2}
  spot: {resources: {CPU: 8, GPU: 1, memory: 17179869184}, max_workers: 3, priority: 1}
  unknown: {resources: {}, max_workers: 5}
"""
HEAD = Node(0, name="head", resources={"train_driver": 100})
WORKER = Node(8, 1, 2**34, "10.0.0.2")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ray_bootstrap_config.yaml"
    path.write_text(CONFIG)
    return path


def test_all_types_up_to_the_clusters_maximum_the_preferred_first(file: Path) -> None:
    names = [node.name for node in coming_nodes([HEAD], file)]
    assert names == ["spot, not started yet"] * 3 + ["dear, not started yet"]
    first = coming_nodes([HEAD], file)[0]
    assert (first.cpus, first.gpus, first.memory_bytes) == (8, 1, 2**34)


def test_nodes_that_are_there_do_not_come_again(file: Path) -> None:
    assert len(coming_nodes([HEAD, WORKER], file)) == 3
    assert len(coming_nodes([HEAD, *[WORKER] * 4], file)) == 0
    assert len(coming_nodes([HEAD, *[WORKER] * 9], file)) == 0


def test_a_cluster_that_is_whole_grows_again_where_a_node_is_lost(
    file: Path, tmp_path: Path
) -> None:
    assert is_growing([HEAD, *[WORKER] * 4], file)
    assert not is_growing([HEAD, *[WORKER] * 4], tmp_path / "none.yaml")


@pytest.mark.parametrize("content", ["", "- a", "a: [", "available_node_types: 3", "\x00"])
def test_what_cannot_be_read_promises_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "odd.yaml"
    assert coming_nodes([HEAD], path) == []
    path.write_text(content)
    assert coming_nodes([HEAD], path) == []


def test_a_plan_packs_onto_what_can_come(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def cluster(_: str) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(nodes=[HEAD], busy="", probe=None)

    monkeypatch.setattr(plan_module, "attached_cluster", cluster)
    spec = spec_of("resources.gpus=1", "resources.cpus=4")
    monkeypatch.setattr(plan_module, "coming_nodes", lambda present: [])
    with pytest.raises(SpecError):
        plan_on(spec, "auto")
    monkeypatch.setattr(plan_module, "coming_nodes", lambda present: coming_nodes(present, file))
    planned = plan_on(spec, "auto")
    assert planned.trials_at_once == 4
    assert planned.probe is None
    assert "dear, not started yet" in render_plan(planned)
