"""Kinds of machines, from the labels of nodes and the file that `ray up` leaves on the head."""

from pathlib import Path

import pytest
from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager

from orchestrator.cluster.autoscaler import coming_nodes, worker_types
from orchestrator.cluster.capacity import Node
from orchestrator.cluster.machine_kinds import accelerator_name, kind_of, node_types
from orchestrator.spec.prices import MachineKind
from tests.locations import ROOT

GPU = "accelerator_type:A10G: 1"
FILE = f"""\
provider: {{type: aws}}
max_workers: 2
head_node_type: head
available_node_types:
  head: {{resources: {{CPU: 0}}, max_workers: 0, node_config: {{InstanceType: m6i.xlarge}}}}
  cheap:
    resources: {{CPU: 8, GPU: 1, {GPU}}}
    max_workers: 2
    priority: 1
    node_config: {{InstanceType: g5.2xlarge, InstanceMarketOptions: {{MarketType: spot}}}}
  dear: {{resources: {{CPU: 8, GPU: 1, {GPU}}}, max_workers: 2, node_config: {{InstanceType: g5}}}}
  named: {{resources: {{CPU: 8}}, max_workers: 1, labels: {{market-type: SPOT, instance-type: me}}}}
"""
CHEAP = MachineKind("A10G", "g5.2xlarge", is_spot=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ray_bootstrap_config.yaml"
    path.write_text(FILE)
    return path


def test_the_file_says_machine_type_and_market(file: Path) -> None:
    types = node_types(file)
    assert types["cheap"] == CHEAP
    assert types["dear"] == MachineKind("A10G", "g5", is_spot=False)
    assert types["named"] == MachineKind(None, "me", is_spot=True)


def test_our_own_file_for_aws_says_which_workers_are_spot() -> None:
    types = node_types(ROOT / "cluster" / "gpu.yaml")
    kinds = [(types[name].instance, types[name].is_spot) for name in ("gpu-spot", "gpu-on-demand")]
    assert kinds == [("g5.2xlarge", True), ("g5.2xlarge", False)]


def test_a_node_is_of_its_type_unless_its_own_labels_say_otherwise(file: Path) -> None:
    types = node_types(file)
    group = {"ray.io/node-group": "cheap", "ray.io/node-id": "a"}
    assert kind_of(group, types) == CHEAP
    own = {**group, "ray.io/market-type": "on-demand", "ray.io/accelerator-type": "H100"}
    assert kind_of(own, types) == MachineKind("H100", "g5.2xlarge", is_spot=False)
    assert kind_of(group, {}) == kind_of({}, types) == MachineKind()
    assert kind_of({"market-type": "spot", "instance-type": "x"}, {}).instance == "x"


def test_nodes_to_come_are_of_their_type(file: Path) -> None:
    types = node_types(file)
    coming = coming_nodes([Node(0, name="head")], file)
    assert [kind_of(node.labels, types) for node in coming] == [CHEAP, CHEAP]
    kinds = {kind_of(node.labels, types).instance for node in worker_types(file)}
    assert kinds == {"g5.2xlarge", "g5", "me"}


@pytest.mark.parametrize("content", ["", "- a", "a: [", "available_node_types: {a: 3}", "\x00"])
def test_what_cannot_be_read_names_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    assert node_types(tmp_path / "file") == node_types(tmp_path / "none") == {}
    assert worker_types(tmp_path / "file") == []


@pytest.mark.parametrize(
    "device",
    ["NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB", "Tesla V100-SXM2-16GB", "NVIDIA A10G",
     "NVIDIA L40S", "NVIDIA GeForce RTX 4090", "NVIDIA RTX PRO 6000 Blackwell", "Tesla T4",
     "NVIDIA H200 NVL"],
)  # fmt: skip
def test_accelerators_have_the_names_that_ray_gives_them(device: str) -> None:
    rays = NvidiaGPUAcceleratorManager._gpu_name_to_accelerator_type(device)
    assert accelerator_name(device) == rays
