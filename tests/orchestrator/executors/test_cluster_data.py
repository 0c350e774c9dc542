"""Data reaches the nodes of a cluster, each of which begins with an empty folder of copies."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from prvr_model.files.folder import Folder
from prvr_model.store.format import MANIFEST_NAME
from prvr_model.store.reader import FeatureStore
from prvr_model.store.staging import CACHE_VARIABLE
from prvr_model.store.synthetic import SyntheticSettings, write_synthetic
from tests.orchestrator.cluster_process import SmallCluster, small_cluster
from tests.orchestrator.command_line import TINY_SPACE, Done
from tests.prvr_model.files.test_folder_s3 import ENVIRONMENT, Server

pytestmark = [pytest.mark.integration, pytest.mark.soak]

_HIDES = """#!/bin/sh
exec unshare -rm sh -c 'mount -t tmpfs none "$0" && exec "$@"' {hidden} {python} "$@"
"""


@dataclass(frozen=True)
class Nodes:
    """A cluster of two nodes of two CPUs, and the folders of copies of its nodes and its driver.

    `hidden` is a folder that only this process sees and the nodes do not.
    """

    cluster: SmallCluster
    caches: tuple[Path, Path]
    own: Path
    hidden: Path

    def launch(self, space: Path, home: Path, *arguments: str | Path) -> Done:
        return self.cluster.run(
            "launch", space, "--home", home, "--json", *arguments, **{CACHE_VARIABLE: str(self.own)}
        )


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File with a line for each request to the S3 server."""
    return tmp_path_factory.mktemp("s3") / "requests"


@pytest.fixture(scope="module")
def server(requests: Path) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_PROFILE", raising=False)
        patch.delenv(CACHE_VARIABLE, raising=False)
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        running = Server(requests)
        yield running
        running.stop()


@pytest.fixture(scope="module")
def nodes(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("nodes")
    hidden = folder / "hidden"
    hidden.mkdir()
    caches = (folder / "first", folder / "second")
    options = [
        json.dumps({"num_cpus": 2, "env_vars": {CACHE_VARIABLE: str(cache)}}) for cache in caches
    ]
    python = hiding_python(folder, hidden)
    with small_cluster(*options, python=python) as cluster:
        yield Nodes(cluster, caches, folder / "own", hidden)


def hiding_python(folder: Path, hidden: Path) -> str | Path:
    """An interpreter whose processes see the folder empty; where that cannot be, the usual one."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        return sys.executable
    script = folder / "python"
    script.write_text(_HIDES.format(hidden=hidden, python=sys.executable))
    script.chmod(0o755)
    return script


def new_store(path: Path, seed: int) -> FeatureStore:
    sizes = SyntheticSettings(seed=seed, train_videos=12, val_videos=8, test_videos=8)
    write_synthetic(path, sizes, name="far")
    return FeatureStore.open(path)


def space_of(folder: Path, data: str) -> Path:
    first, _, rest = TINY_SPACE.partition("data:\n")
    path = folder / "tiny.yaml"
    path.write_text(f"{first}data: {data}\n{rest.partition(chr(10))[2]}")
    return path


# A worker takes a whole node, so that those of a trial lie on both.
_TWO_WORKERS = ("--set", "resources.workers=2", "--set", "resources.cpus=2")


def copies(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def complete(done: Done) -> int:
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["problem"] is None
    assert result["test"]["SumR"] > 0
    return int(result["trials"]["complete"])


def test_a_store_at_a_uri_is_copied_to_each_node_once(
    nodes: Nodes, server: Server, requests: Path, tmp_path: Path
) -> None:
    """A second sweep finds the copies."""
    store = new_store(nodes.hidden / "s3", seed=1)
    uri = server.uri("bucket/stores/far")
    for name in [MANIFEST_NAME, *store.manifest.files]:
        Folder.open(uri).write_bytes(name, (store.path / name).read_bytes())
    space = space_of(tmp_path, f'"{uri}"')
    planned = nodes.cluster.run("plan", space, "--no-probe", **{CACHE_VARIABLE: str(nodes.own)})
    assert planned.code == 0, planned.err
    assert downloads(requests) == 0
    first = nodes.launch(space, tmp_path / "first", *_TWO_WORKERS)
    assert complete(first) == 2
    assert f"copying {uri} (" in first.err
    fingerprint = store.manifest.fingerprint
    for cache in (nodes.own, *nodes.caches):
        assert copies(cache) == [fingerprint]
        # What was prepared beside a copy was prepared by a trial on it.
        assert (cache / fingerprint / "prepared").is_dir()
    assert downloads(requests) == 3
    second = nodes.launch(space, tmp_path / "second")
    assert complete(second) == 2
    assert downloads(requests) == 3


def downloads(requests: Path) -> int:
    return requests.read_text().count("GET /bucket/stores/far/train.videos.arrow")


def test_a_small_store_that_nodes_do_not_see_goes_along(nodes: Nodes, tmp_path: Path) -> None:
    store = new_store(nodes.hidden / "small", seed=10)
    if not isinstance(hiding_python(tmp_path, nodes.hidden), Path):
        pytest.skip("no folder can be hidden from a process here")
    space = space_of(tmp_path, str(store.path))
    done = nodes.launch(space, tmp_path / "home", *_TWO_WORKERS)
    assert complete(done) == 2
    assert f": {store.path} is missing; it is sent with the trials" in done.err
    fingerprint = store.manifest.fingerprint
    assert fingerprint not in copies(nodes.own)
    used = [
        cache / fingerprint for cache in nodes.caches if (cache / fingerprint / "prepared").is_dir()
    ]
    assert len(used) == 2
    for copy in used:
        FeatureStore.open(copy).verify()
        assert [one for one in copies(copy.parent) if len(one) != len(fingerprint)] == []


def test_a_large_store_that_nodes_do_not_see_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    store = new_store(nodes.hidden / "large", seed=20)
    if not isinstance(hiding_python(tmp_path, nodes.hidden), Path):
        pytest.skip("no folder can be hidden from a process here")
    manifest = store.path / MANIFEST_NAME
    (name, record), *_ = store.manifest.files.items()
    # A file of the size of many, without taking the place of them.
    size = 300 * 2**20
    os.truncate(store.path / name, size)
    manifest.write_text(manifest.read_text().replace(str(record.size_bytes), str(size)))
    done = nodes.launch(space_of(tmp_path, str(store.path)), tmp_path / "home")
    assert (done.code, done.out) == (2, "")
    assert f"data: there is no feature store at {store.path}" in done.err
    assert "or into an object store and name it by its URI (data: s3://...)" in done.err
