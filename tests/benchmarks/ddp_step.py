"""A training step by several single-threaded workers against one single-threaded process.

Run `python -m tests.benchmarks.ddp_step --json`. Both train on the same global batch: a quarter of
the published size by default. Workers are gloo processes of this machine. Rounds take turns, so
that both see the same of a shared machine.
"""

import argparse
import os
import statistics
import sys
import time
from typing import Any

import torch
from torch import distributed

from prvr_model.inputs.allocator import keep_freed_blocks
from prvr_model.inputs.batching import Batch
from prvr_model.losses.objective import BranchDraws, compute_losses
from prvr_model.losses.triplet import NegativeDraws
from prvr_model.network.model import MscModel
from prvr_model.process_group import ALONE, GroupWorkers, Shards, Workers
from prvr_model.settings import Settings, build_settings
from prvr_model.training.train_loop import build_optimizer
from tests.benchmarks.measure import arguments, show
from tests.benchmarks.train_step import random_batch
from tests.process_group import own_part, run_in_group


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=32)
    parser.add_argument("--captions", type=int, default=160, help="captions of all videos")
    parser.add_argument("--min-tokens", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--dim", type=int, default=768, help="of frames and tokens")
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = arguments(parser)
    found = run_in_group(options.workers, measure, options)
    alone_s, together_s = (statistics.median(found[0][name]) for name in ("alone", "together"))
    result = {
        "alone_s": alone_s,
        "together_s": together_s,
        "speedup": alone_s / together_s,
        "exchanged_mb_per_step": found[0]["bytes"] / 1e6,
        "cores": len(os.sched_getaffinity(0)),
    }
    show(result, options)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each step, alone and together, on one worker; alone the others wait."""
    torch.set_num_threads(1)
    keep_freed_blocks()
    workers = GroupWorkers()
    settings = build_settings(None, {"model.hidden_size": options.hidden})
    batch = random_batch(settings, options)
    shards = Shards.even(options.videos, workers.size)
    part = own_part(batch, shards, workers.rank)
    alone = Step(settings, batch, options, ALONE) if workers.rank == 0 else None
    together = Step(settings, part, options, workers)
    times: dict[str, list[float]] = {"alone": [], "together": []}
    for _ in range(options.repeats + 1):
        if alone:
            times["alone"].append(alone.seconds())
        distributed.barrier()
        before = workers.exchanged_bytes
        times["together"].append(together.seconds())
        distributed.barrier()
    # The first round sets up libraries and memory.
    kept = {name: values[1:] for name, values in times.items()}
    return {**kept, "bytes": workers.exchanged_bytes - before}


class Step:
    """One training step, as `train_loop` makes it."""

    def __init__(
        self, settings: Settings, batch: Batch, options: argparse.Namespace, workers: Workers
    ) -> None:
        self.settings, self.batch, self.workers = settings, batch, workers
        torch.manual_seed(0)
        self.model = MscModel(settings.model, options.dim, options.dim).train()
        self.optimizer = build_optimizer(self.model, settings, options.videos)
        sizes = (options.captions, options.videos) * 2
        drawn = [torch.rand(size) for size in sizes]
        self.draws = BranchDraws(NegativeDraws(*drawn[:2]), NegativeDraws(*drawn[2:]))

    def seconds(self) -> float:
        """Make the step."""
        start = time.perf_counter()
        self.optimizer.zero_grad()
        losses, workers = self.settings.losses, self.workers
        terms = compute_losses(
            self.model, self.batch, losses, self.draws, hard_negatives=False, workers=workers
        )
        terms.total.backward()
        workers.sum_gradients(self.model.parameters())
        self.optimizer.step()
        return time.perf_counter() - start


if __name__ == "__main__":
    # Child processes find their functions under this module's own name.
    sys.modules["tests.benchmarks.ddp_step"] = sys.modules["__main__"]
    main()
