"""Addresses that are of no use, without a cluster."""

import socket
from collections.abc import Iterator

import pytest

from orchestrator.base.errors import ClusterError
from orchestrator.cluster import attached_process as ray_cluster
from orchestrator.cluster import client as cluster_query
from orchestrator.cluster.capacity import Node
from orchestrator.cluster.client import Cluster, attached_cluster


def refusal(address: str) -> str:
    with pytest.raises(ClusterError) as caught, attached_cluster(address):
        pass
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somebody who listens and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening


def test_ray_client_is_refused_with_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (
        "found ray://head:10001: through Ray Client a sweep would end with the connection; send it "
        "with `prvr-sweep launch SPACE.yaml --submit http://127.0.0.1:8265` (the head's dashboard, "
        "through a tunnel), or run the command on a node of the cluster with --address HOST:PORT "
        "of its head"
    )
    assert refusal("ray://head:10001") == expected
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert refusal("auto") == expected


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:port", "local", ""])
def test_what_is_no_address(address: str) -> None:
    assert refusal(address) == (
        f"found --address {address!r}; allowed: auto, or HOST:PORT of the head"
    )


def test_nobody_listens(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    assert refusal(f"127.0.0.1:{port}") == (
        f"nothing answers at 127.0.0.1:{port} (Connection refused); is Ray running there? `ray "
        "status` on its head shows the address"
    )
    assert "nothing answers at 127.0.0.1:99999" in refusal("127.0.0.1:99999")
    assert "nothing answers at no.such.host.invalid:1" in refusal("no.such.host.invalid:1")


@pytest.mark.integration
def test_somebody_listens_who_is_no_ray(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_query, "_ATTACH_S", 3.0)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    assert refusal(address).startswith(f"no Ray answered at {address}")


@pytest.mark.parametrize("address", ["127.0.0.1", "local", "http://127.0.0.1:8265"])
def test_what_the_environment_calls_an_address_is_none(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert refusal("auto") == (
        f"found RAY_ADDRESS {address!r}; allowed: auto, or HOST:PORT of the head"
    )


def test_nobody_listens_where_the_environment_says(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert f"nothing answers at {address}, which RAY_ADDRESS names (" in refusal("auto")


def test_a_node_as_ray_describes_it() -> None:
    resources = {
        "CPU": 16.0,
        "GPU": 2.0,
        "memory": 3e9,
        "object_store_memory": 1e9,
        "node:10.0.0.2": 1.0,
        "accelerator_type:A10G": 1.0,
        "train_driver": 1.0,
    }
    labels = {"ray.io/node-id": "abc", "ray.io/market-type": "spot"}
    assert ray_cluster._node("10.0.0.2", resources, labels) == Node(
        cpus=16,
        gpus=2,
        memory_bytes=3 * 10**9,
        name="10.0.0.2",
        resources={"train_driver": 1},
        labels={"ray.io/market-type": "spot", "accelerator": "A10G"},
    )
    head = ray_cluster._node("10.0.0.1", {"node:__internal_head__": 1.0}, {})
    assert head == Node(0, name="10.0.0.1 (head)")


def test_what_is_in_use_in_words() -> None:
    nodes = [Node(4)]
    assert Cluster(nodes, {"CPU": 3.0, "GPU": 0.5}, None).busy == "3 CPUs and 0.5 GPU"  # type: ignore[arg-type]
    assert Cluster(nodes, {}, None).busy == ""  # type: ignore[arg-type]
