"""A cluster whose workers are still to come, as `ray up` leaves it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from orchestrator.base.errors import ClusterError, LocationError, SpecError
from orchestrator.base.machine import network_file_system
from orchestrator.cluster import autoscaler, node_check
from orchestrator.cluster.capacity import Node, RunningCluster
from orchestrator.cluster.client import Cluster
from orchestrator.cluster.node_check import SharedLocations
from orchestrator.sweep import ready_cluster as ready_cluster_module
from orchestrator.sweep.ready_cluster import ready_cluster
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import SyntheticSettings, write_synthetic
from tests.orchestrator.spec.spec_texts import spec_of

HEAD = Node(0, name="10.0.0.1 (head)", resources={"train_driver": 100})
WORKER = Node(8, 1, name="10.0.0.2")
GPU = ("resources.gpus=1", "resources.cpus=4")


class Growing:
    """A cluster that starts two workers by itself and has some of them; notes what it is asked."""

    def __init__(self, *nodes: Node, lacking: tuple[str, ...] = (), most: int = 2) -> None:
        self.nodes = list(nodes)
        self.most = most
        self.lacking = list(lacking)
        self.asked: list[object] = []

    def coming(self, present: list[Node]) -> list[Node]:
        return [replace(WORKER, name="gpu, not started yet")] * (self.most - len(present[1:]))

    def await_worker(self, bundle: Mapping[str, float]) -> None:
        self.asked.append(bundle)
        self.nodes.append(WORKER)

    def check_locations(self, locations: SharedLocations) -> list[str]:
        self.asked.append(locations.storage)
        return self.lacking


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    path = tmp_path_factory.mktemp("growing") / "store"
    write_synthetic(path, SyntheticSettings(train_videos=4, val_videos=4, test_videos=4), name="s")
    return FeatureStore.open(path)


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a network file system."""
    folder = tmp_path / "shared"
    folder.mkdir()

    def kind(path: Path) -> str | None:
        return "nfs4" if path.is_relative_to(folder) else None

    monkeypatch.setattr(autoscaler, "network_file_system", kind)
    return folder


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """No store is small enough to be sent."""
    monkeypatch.setattr(node_check, "SENT_STORE_LIMIT_BYTES", 0)


def ready(
    cluster: Growing,
    store: FeatureStore,
    storage: str | Path,
    monkeypatch: pytest.MonkeyPatch,
    *changes: str,
) -> tuple[RunningCluster, list[str]]:
    """What the launch runs on, and what it told."""

    @contextmanager
    def attached(_: str) -> Iterator[Growing]:
        yield cluster

    monkeypatch.setattr(ready_cluster_module, "attached_cluster", attached)
    monkeypatch.setattr(ready_cluster_module, "coming_nodes", cluster.coming)
    monkeypatch.setattr(
        ready_cluster_module, "is_growing", lambda present: bool(cluster.coming(present[:1]))
    )
    monkeypatch.setattr(ready_cluster_module, "trial_store", lambda *_: str(store.path))
    told: list[str] = []
    spec = spec_of(*(changes or GPU))
    return ready_cluster("auto", spec, store, str(storage), told.append), told


def test_the_first_worker_is_asked_and_a_small_store_goes_along(
    store: FeatureStore, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Growing(HEAD)
    found, told = ready(cluster, store, shared, monkeypatch)
    assert cluster.asked == [{"CPU": 4, "GPU": 1}, str(shared)]
    assert [node.name for node in found.nodes] == [HEAD.name, WORKER.name, "gpu, not started yet"]
    assert (found.sent_store, found.is_growing) == (str(store.path), True)
    assert len(told) == 1
    assert told[0].startswith("no worker is up yet; starting one, which takes minutes")


def test_present_workers_speak_for_those_to_come(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: None
) -> None:
    cluster = Growing(HEAD, WORKER)
    found, told = ready(cluster, store, tmp_path, monkeypatch)
    assert cluster.asked == [str(tmp_path)]
    assert (found.sent_store, found.is_growing, told) == (None, True, [])


def test_a_lost_node_is_replaced_by_one_that_may_lack_the_store(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = ready(Growing(HEAD, WORKER, WORKER), store, tmp_path, monkeypatch)
    assert (found.sent_store, found.is_growing) == (str(store.path), True)


def test_a_cluster_that_starts_no_nodes_gets_what_it_lacks_only(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = ready(Growing(HEAD, WORKER, most=0), store, tmp_path, monkeypatch)
    assert (found.sent_store, found.is_growing) == (None, False)
    lacking = Growing(HEAD, WORKER, lacking=("10.0.0.2",), most=0)
    found, told = ready(lacking, store, tmp_path, monkeypatch)
    assert found.sent_store == str(store.path)
    assert told == [f"10.0.0.2: {store.path} is missing; it is sent with the trials"]


def test_the_disk_of_the_head_is_refused(
    store: FeatureStore, shared: Path, monkeypatch: pytest.MonkeyPatch, large: None
) -> None:
    own = shared.parent
    cluster = Growing(HEAD)
    with pytest.raises(LocationError) as caught:
        ready(cluster, store, own, monkeypatch)
    first, data, storage, last = str(caught.value).split("\n")
    assert first == (
        "no worker of the cluster is up yet, and workers would lack data or storage; nothing was "
        "started:"
    )
    assert data.startswith(f"  data: {store.path} is on a disk of this machine; name it by a URI (")
    assert storage == (
        f"  storage: {own} is on a disk of this machine; set --storage to s3://... or to a folder "
        "on a file system that all nodes mount"
    )
    assert "(min_workers: 1 in the cluster's file)" in last
    assert cluster.asked == []
    assert list(own.iterdir()) == [shared]
    with pytest.raises(LocationError) as caught:
        ready(cluster, store, shared, monkeypatch)
    assert "storage:" not in str(caught.value)


def test_a_head_that_runs_trials_waits_for_no_worker(
    store: FeatureStore, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Growing(replace(HEAD, cpus=4))
    found, told = ready(cluster, store, shared, monkeypatch, "resources.cpus=1")
    assert cluster.asked == [str(shared)]
    assert found.sent_store == str(store.path)
    (line,) = told
    assert f"must find the driver's {shared}, or their trials fail" in line


def test_what_can_never_fit_waits_for_no_worker(
    store: FeatureStore, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Growing(HEAD)
    with pytest.raises(SpecError, match="cpus"):
        ready(cluster, store, shared, monkeypatch, "resources.cpus=9")
    assert cluster.asked == []


@pytest.mark.parametrize("answer", [None, {"came": False, "nodes": []}])
def test_no_worker_comes(answer: object) -> None:
    line = SimpleNamespace(ask=lambda *_: answer)
    with pytest.raises(ClusterError, match="no worker of the cluster started within 20 min"):
        Cluster([HEAD], {}, line).await_worker({"CPU": 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "found"),
    [("nfs4", "nfs4"), ("fuse.s3fs", "fuse.s3fs"), ("ext4", None), ("overlay", None), ("", None)],
)
def test_kinds_of_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, found: str | None
) -> None:
    mounts = [SimpleNamespace(mountpoint="/", fstype="ext4")]
    mounts += [SimpleNamespace(mountpoint=str(tmp_path), fstype=kind)]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    (tmp_path / "folder").mkdir()
    assert network_file_system(tmp_path / "folder" / "not there") == found
    assert network_file_system(tmp_path.parent) is None
