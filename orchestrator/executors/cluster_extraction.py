"""Extracts features on a Ray cluster: Ray Data hands videos to actors that hold the encoder.

Each actor does with its videos what one machine does with all, and writes each into the storage
when it is finished. A node that is lost costs the batch that it worked on: it comes again in the
next round, on the nodes that are there then.
"""

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray.data

from orchestrator.base.errors import ClusterError, RayFailedError
from orchestrator.base.text import error_line
from orchestrator.cluster.attached_process import cluster_nodes
from orchestrator.cluster.capacity import Node
from orchestrator.cluster.ray_environment import environment
from orchestrator.executors.interruption import Interruption
from orchestrator.executors.ray_session import attached_ray
from prvr_model.errors import DataError, PrvrError
from prvr_model.extraction.decoding import Sampling
from prvr_model.extraction.extract import extract_parts
from prvr_model.extraction.parts import Parts
from prvr_model.extraction.pipeline import BrokenVideo, VideoJob
from prvr_model.files.folder import Folder

if TYPE_CHECKING:
    from prvr_model.extraction.encoder import FeatureEncoder, Precision

# A lost node costs a batch: small ones cost little, and large ones keep an encoder busy across
# videos. With some batches an actor, none waits long for the last one.
_LARGEST_BATCH = 32
_BATCHES_PER_ACTOR = 4
# Rounds without a single result, after which it is not chance.
_TRIES = 3
_ADVICE = "finished videos are kept: the same command goes on with the others"
# It reports, as an error and on our stderr, what Ray Data itself does with its actors.
_QUIET_CORE = {"RAY_BACKEND_LOG_LEVEL": "fatal"}


@dataclass(frozen=True)
class ExtractionTask:
    """What each actor does.

    Args:
        encoder: Name or absolute folder of the encoder.
        device: Device of the actors' encoders.
        precision: Its number type.
        sampling: Which frames become rows.
        parts: URI of the folder that takes finished videos.
        workers: Threads that decode, an actor.
    """

    encoder: str
    device: str
    precision: "Precision"
    sampling: Sampling
    parts: str
    workers: int


@dataclass(frozen=True)
class ActorPool:
    """How many actors run at once, and what each holds."""

    actors: int
    cpus: int
    gpus: int


def actor_pool(nodes: Sequence[Node], device: str, workers: int) -> ActorPool:
    """One actor a GPU, or as many as the CPUs bear.

    Raises:
        ClusterError: No node has room for one.
    """
    if device == "cuda":
        actors = sum(int(min(node.gpus, node.cpus // workers)) for node in nodes)
    else:
        actors = sum(int(node.cpus // workers) for node in nodes)
    if not actors:
        wanted = f"a GPU and {workers} CPUs" if device == "cuda" else f"{workers} CPUs"
        raise ClusterError(f"no node of the cluster has {wanted}; choose fewer --workers")
    return ActorPool(actors, workers, int(device == "cuda"))


def extract_on_cluster(
    address: str, task: ExtractionTask, jobs: Sequence[VideoJob], done: Callable[[int], None]
) -> list[BrokenVideo]:
    """Encode videos on a cluster and wait for them.

    Args:
        address: `auto`, or HOST:PORT of its head.
        task: What actors do.
        jobs: Videos whose parts are missing.
        done: Told the rows of each video that is done.

    Returns:
        Videos that cannot be used.

    Raises:
        DataError: A node cannot load the encoder or does not see the videos.
        ClusterError: No node is left that has room.
        RayFailedError: Ray failed.
    """
    with (
        environment(_QUIET_CORE),
        Interruption().listening() as interruption,
        attached_ray(address, task.workers, interruption),
        interruption.at_once(),
    ):
        try:
            return _in_rounds(task, jobs, done)
        except PrvrError:
            raise
        except Exception as error:
            found = f"Ray failed during extraction: {error_line(error)}"
            raise RayFailedError(found, _ADVICE) from error


def _in_rounds(
    task: ExtractionTask, jobs: Sequence[VideoJob], done: Callable[[int], None]
) -> list[BrokenVideo]:
    """Hand out all videos, then those of lost batches, until none is left."""
    broken: list[BrokenVideo] = []
    left = {job.video: job for job in jobs}
    failures = 0
    while left:
        before = len(left)
        for result in _results(task, list(left.values())):
            if result["error"]:
                raise DataError(result["error"])
            if result["cause"]:
                broken.append(BrokenVideo(result["video"], result["cause"]))
            del left[result["video"]]
            done(int(result["rows"]))
        failures = failures + 1 if len(left) == before else 0
        if failures == _TRIES:
            first = next(iter(left))
            found = f"{len(left)} videos ended their actors {_TRIES} times, the first is {first!r}"
            raise RayFailedError(found, _ADVICE)
    return broken


def _results(task: ExtractionTask, jobs: Sequence[VideoJob]) -> Iterator[dict[str, Any]]:
    """A row for each video, but for those whose actor was lost."""
    pool = actor_pool(cluster_nodes(), task.device, task.workers)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # By default a lost actor's batch waits until its actor has a place again, which may be never.
    context.max_errored_blocks = -1
    size = max(1, min(_LARGEST_BATCH, len(jobs) // (pool.actors * _BATCHES_PER_ACTOR)))
    records = [{"video": job.video, "path": str(job.path), "key": job.key} for job in jobs]
    videos = ray.data.from_items(records, override_num_blocks=-(-len(jobs) // size))
    encoded = videos.map_batches(
        ExtractionActor,
        fn_constructor_args=(task,),
        batch_size=size,
        compute=ray.data.ActorPoolStrategy(size=pool.actors),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
        max_restarts=0,
        max_task_retries=0,
    )
    yield from encoded.iter_rows()


class ExtractionActor:
    """Holds an encoder on a node."""

    def __init__(self, task: ExtractionTask) -> None:
        self._task = task
        self._encoder: FeatureEncoder | None = None

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
        """Encode the videos of a batch; a row of the result for each.

        Errors with a message for the user are a result, since Ray would wrap what is raised.
        """
        jobs = [
            VideoJob(str(video), Path(str(path)), str(key))
            for video, path, key in zip(batch["video"], batch["path"], batch["key"], strict=True)
        ]
        rows: list[int] = []
        causes, problem = {}, ""
        try:
            for job in jobs:
                if not job.path.exists():
                    raise DataError(f"{job.path} is not there; nodes must share the videos' folder")
            broken = self._extract(jobs, rows.append)
            causes = {video.video: video.cause for video in broken}
        except PrvrError as error:
            problem = f"node {socket.gethostname()}: {error}"
        # The sum matters, not whose they are; videos of an earlier try have none.
        rows += [0] * (len(jobs) - len(rows))
        return {
            "video": [job.video for job in jobs],
            "rows": rows,
            "cause": [causes.get(job.video, "") for job in jobs],
            "error": [problem] * len(jobs),
        }

    def _extract(self, jobs: Sequence[VideoJob], done: Callable[[int], None]) -> list[BrokenVideo]:
        from prvr_model.extraction.encoder import FeatureEncoder

        task = self._task
        if self._encoder is None:
            self._encoder = FeatureEncoder.load(task.encoder, task.device, task.precision)
        # Looked at anew: a batch that comes a second time has parts from the first.
        parts = Parts(Folder.open(task.parts))
        return extract_parts(self._encoder, jobs, task.sampling, parts, task.workers, done)
