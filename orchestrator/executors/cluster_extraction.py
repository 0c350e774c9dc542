"""Extracts features on a running Ray cluster: Ray Data hands videos to actors that hold the encoder.

Each actor does with its videos what one machine does with all, and writes each into the storage
when it is finished. A node that is lost costs the batch that it worked on: Ray Data gives that batch
to another actor.
"""

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from orchestrator.base.errors import ClusterError, RayFailedError
from orchestrator.base.text import error_line
from orchestrator.cluster.capacity import Node
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
    address: str,
    pool: ActorPool,
    task: ExtractionTask,
    jobs: Sequence[VideoJob],
    done: Callable[[int], None],
) -> list[BrokenVideo]:
    """Encode videos on a cluster and wait for them.

    Args:
        address: `auto`, or HOST:PORT of its head.
        pool: Actors.
        task: What they do.
        jobs: Videos whose parts are missing.
        done: Told the rows of each video that is done.

    Returns:
        Videos that cannot be used.

    Raises:
        DataError: A node cannot load the encoder or does not see the videos.
        RayFailedError: Ray failed.
    """
    if not jobs:
        return []
    broken = []
    with (
        Interruption().listening() as interruption,
        attached_ray(address, task.workers, interruption),
        interruption.at_once(),
    ):
        try:
            for result in _results(pool, task, jobs):
                if result["error"]:
                    raise DataError(result["error"])
                if result["cause"]:
                    broken.append(BrokenVideo(result["video"], result["cause"]))
                done(int(result["rows"]))
        except PrvrError:
            raise
        except Exception as error:
            raise RayFailedError(f"Ray failed during extraction: {error_line(error)}") from error
    return broken


def _results(
    pool: ActorPool, task: ExtractionTask, jobs: Sequence[VideoJob]
) -> Iterator[dict[str, Any]]:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    size = max(1, min(_LARGEST_BATCH, len(jobs) // (pool.actors * _BATCHES_PER_ACTOR)))
    records = [{"video": job.video, "path": str(job.path), "key": job.key} for job in jobs]
    videos = ray.data.from_items(records, override_num_blocks=-(-len(jobs) // size))
    encoded = videos.map_batches(
        _Actor,
        fn_constructor_args=(task,),
        batch_size=size,
        # The first actor begins while others are still to come, and goes on when they are lost.
        concurrency=(1, pool.actors),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
    )
    yield from encoded.iter_rows(prefetch_batches=0)


class _Actor:
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
