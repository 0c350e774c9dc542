"""Runs a function in N gloo processes on this machine."""

import json
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from tests.warm_process import warm_context

_TIMEOUT = timedelta(seconds=60)


def run_in_group(world: int, function: Callable[..., Any], *arguments: object) -> list[Any]:
    """What the function returned on each rank, passed on as JSON.

    Args:
        world: Number of processes.
        function: A function of a module; its group is initialised when it is called.
        arguments: What it is called with; must be picklable.

    Raises:
        RuntimeError: A process failed.
    """
    context = warm_context()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processes = [
            context.Process(target=_run, args=(folder, rank, world, function, arguments))
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


def _run(
    folder: Path, rank: int, world: int, function: Callable[..., Any], arguments: tuple[object, ...]
) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=world,
        timeout=_TIMEOUT,
    )
    try:
        found = function(*arguments)
    finally:
        distributed.destroy_process_group()
    (folder / f"{rank}.json").write_text(json.dumps(found))
