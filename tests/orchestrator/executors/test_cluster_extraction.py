"""Extraction on a cluster: the same store as on one machine, also when a node is lost."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
from pyarrow.fs import FileSelector

from orchestrator.base.errors import ClusterError, RayFailedError
from orchestrator.cluster.capacity import Node
from orchestrator.executors import cluster_extraction
from orchestrator.executors.cluster_extraction import (
    ActorPool,
    ExtractionActor,
    ExtractionTask,
    actor_pool,
)
from prvr_model.extraction.decoding import Sampling
from prvr_model.extraction.pipeline import VideoJob
from prvr_model.files.folder import Folder
from tests.orchestrator.cluster_process import SmallCluster, small_cluster
from tests.orchestrator.command_line import TIMEOUT_S, command, environment
from tests.prvr_model.files.test_folder_s3 import ENVIRONMENT, Server
from tests.small_videos import real_videos, write_video
from tests.tiny_encoder import write_tiny_clip

VIDEOS = 12
# Without them, a node that is gone is missed after half a minute.
HEALTH = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}


def node(cpus: float, gpus: float = 0) -> Node:
    return Node(cpus, gpus, None, "n", {}, {})


def test_actors_fill_the_cpus_or_the_gpus() -> None:
    nodes = [node(5), node(4, 2), node(1)]
    assert actor_pool(nodes, "cpu", 2) == ActorPool(4, 2, 0)
    assert actor_pool(nodes, "cuda", 2) == ActorPool(2, 2, 1)
    with pytest.raises(ClusterError, match="no node of the cluster has a GPU and 5 CPUs"):
        actor_pool(nodes, "cuda", 5)
    with pytest.raises(ClusterError, match="no node of the cluster has 9 CPUs"):
        actor_pool(nodes, "cpu", 9)


def task(folder: Path, encoder: str) -> ExtractionTask:
    return ExtractionTask(encoder, "cpu", "float32", Sampling(3.0), str(folder / "parts"), 1)


def batch(*paths: Path) -> dict[str, np.ndarray]:
    names = [path.name for path in paths]
    return {"video": np.array(names), "key": np.array(names), "path": np.array([*map(str, paths)])}


def test_an_actor_says_which_videos_are_broken_and_keeps_the_others(tmp_path: Path) -> None:
    actor = ExtractionActor(task(tmp_path, str(write_tiny_clip(tmp_path / "tiny"))))
    good, bad = write_video(tmp_path / "good", [0, 0.1, 0.2]), tmp_path / "bad"
    bad.touch()
    found = actor(batch(bad, good))
    assert found["cause"] == ["the file is empty", ""]
    assert sum(found["rows"]) == 1
    assert found["error"] == ["", ""]
    assert (tmp_path / "parts/good.safetensors").exists()


def test_what_a_node_lacks_is_an_error_with_its_name(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v", [0.0])
    problem = ExtractionActor(task(tmp_path, str(tmp_path)))(batch(video))["error"][0]
    assert problem.startswith(f"node {socket.gethostname()}: encoder")
    missing = ExtractionActor(task(tmp_path, str(tmp_path)))(batch(video, tmp_path / "gone"))
    assert "gone is not there; nodes must share the videos' folder" in missing["error"][1]


def test_what_was_lost_comes_again_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [VideoJob(name, tmp_path / name, name) for name in ("a", "b", "c")]
    rounds: list[list[str]] = []

    def results(_: object, left: Sequence[VideoJob]) -> Iterator[dict[str, object]]:
        rounds.append([job.video for job in left])
        if left[0].video != "c":
            yield {"video": left[0].video, "rows": 2, "cause": "", "error": ""}

    monkeypatch.setattr(cluster_extraction, "_results", results)
    done: list[int] = []
    with pytest.raises(RayFailedError, match=r"1 videos ended their actors 3 times.*'c'.*goes on"):
        cluster_extraction._in_rounds(task(tmp_path, "x"), jobs, done.append)
    assert rounds == [["a", "b", "c"], ["b", "c"], ["c"], ["c"], ["c"]]
    assert done == [2, 2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many videos that take a while, captions, an encoder."""
    path = tmp_path_factory.mktemp("extraction")
    bikes = next(video for video in real_videos() if video.name == "bikes.mp4").read_bytes()
    (path / "videos").mkdir()
    (path / "videos/v0.mp4").write_bytes(bikes)
    for number in range(1, VIDEOS):
        (path / f"videos/v{number}.mp4").hardlink_to(path / "videos/v0.mp4")
    lines = [{"video": f"v{number}", "caption": f"ride {number}"} for number in range(VIDEOS)]
    (path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_tiny_clip(path / "tiny")
    return path


def arguments(store: str) -> list[str]:
    options = "--videos videos --captions captions.jsonl --encoder tiny --fps 3 --device cpu"
    return ["data", "extract", *options.split(), store]


def start(folder: Path, cluster: SmallCluster, *more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(*arguments("far.store"), "--address", cluster.address, *more),
        cwd=folder,
        env=dict(cluster.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def raylets() -> list[psutil.Process]:
    """Of our cluster's workers, which offer a CPU; the head offers none."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.name() == "raylet" and "--head" not in process.cmdline()
    ]


def busy_node(nodes: Sequence[psutil.Process], limit_s: float) -> psutil.Process:
    """The raylet of a node whose actor works on a batch."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        for raylet in nodes:
            titles = [" ".join(child.cmdline()) for child in raylet.children()]
            if any("MapWorker" in title and "submit" in title for title in titles):
                return raylet
        time.sleep(0.2)
    raise AssertionError("no actor worked on a batch")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An S3 server that the cluster's nodes, and this process, may use."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    running = Server()
    try:
        yield running
    finally:
        running.stop()


def finished(storage: str) -> list[str]:
    """Names of the videos' parts in all folders of a storage, empty ones left out."""
    folder = Folder.open(storage)
    found = folder.filesystem.get_file_info(
        FileSelector(folder.path, recursive=True, allow_not_found=True)
    )
    return [info.path for info in found if info.path.endswith(".safetensors")]


@pytest.mark.soak
@pytest.mark.integration
def test_a_lost_node_costs_its_running_batch(folder: Path, server: Server) -> None:
    nodes = ('{"num_cpus": 0}', '{"num_cpus": 1}', '{"num_cpus": 1}')
    storage = server.uri("bucket/parts")
    with small_cluster(*nodes, environment={**HEALTH, **ENVIRONMENT}) as cluster:
        running = start(folder, cluster, "--storage", storage)
        victim = busy_node(raylets(), 120)
        end = time.monotonic() + 60
        while len(finished(storage)) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        assert 2 <= len(finished(storage)) < VIDEOS
        os.kill(victim.pid, signal.SIGKILL)
        out, err = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 0, err
    assert finished(storage) == []
    here = subprocess.run(
        command(*arguments("near.store")),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.partition("fingerprint")[2] == here.stdout.partition("fingerprint")[2]
