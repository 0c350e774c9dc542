"""Runs a function in a group of N processes on this machine, and spreads a batch over them."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from prvr_model.inputs.batching import Batch
from prvr_model.process_group import BatchShards, Shards
from tests.warm_process import warm_context

_TIMEOUT = timedelta(seconds=60)


def run_in_group(
    world: int, function: Callable[..., Any], *arguments: object, backend: str = "gloo"
) -> list[Any]:
    """What the function returned on each rank, passed on as JSON.

    Args:
        world: Number of processes.
        function: A function of a module; its group is initialised when it is called.
        arguments: What it is called with; must be picklable.
        backend: Of the group; with `nccl` each process has the GPU of its rank.

    Raises:
        RuntimeError: A process failed.
    """
    context = warm_context()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processes = [
            context.Process(
                target=_run, args=(_Member(folder, rank, world, backend), function, arguments)
            )
            for rank in range(world)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        codes = [process.exitcode for process in processes]
        if any(codes):
            raise RuntimeError(f"exit codes {codes}")
        return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


@dataclass(frozen=True)
class _Member:
    """A process of a group, and where they meet."""

    folder: Path
    rank: int
    world: int
    backend: str


def _run(me: _Member, function: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    if me.backend == "nccl":
        torch.cuda.set_device(me.rank)
    distributed.init_process_group(
        me.backend,
        init_method=f"file://{me.folder}/meeting",
        rank=me.rank,
        world_size=me.world,
        timeout=_TIMEOUT,
    )
    try:
        found = function(*arguments)
    finally:
        distributed.destroy_process_group()
    (me.folder / f"{me.rank}.json").write_text(json.dumps(found))


def uneven(total: int, world: int) -> Shards:
    """Shards as uneven as can be: 1 row, then as many as are left for the others."""
    if world == 1:
        return Shards((total,))
    rest = Shards.even(total - 1, world - 1).counts
    return Shards((1, *rest)) if total else Shards.even(total, world)


def own_part(batch: Batch, videos: Shards, rank: int) -> Batch:
    """A worker's part of a batch."""
    per_video = torch.bincount(batch.video_of_caption, minlength=len(batch.frames))
    counts = tuple(
        int(per_video[videos.rows(worker)].sum()) for worker in range(len(videos.counts))
    )
    captions = Shards(counts)
    rows, texts = videos.rows(rank), captions.rows(rank)
    by_video = ("frames", "clips", "clip_sizes", "frame_to_clip", "segment_of_clip")
    return replace(
        batch,
        **{name: getattr(batch, name)[rows] for name in by_video},
        tokens=batch.tokens[texts],
        tokens_valid=batch.tokens_valid[texts],
        given_spread=BatchShards(videos, captions),
    )


def converted(batch: Batch, dtype: torch.dtype) -> Batch:
    """The batch with its real numbers in another type."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(
        batch,
        **{
            name: value.to(dtype)
            for name, value in values.items()
            if isinstance(value, Tensor) and value.is_floating_point()
        },
    )
