"""Time and peak memory of a training step: forward, losses, backward, optimizer, with dropout.

Run `python -m tests.benchmarks.train_step --json`. Several `--precisions` are measured in turns;
the first one's figures are the result's own, all are in `by_precision`. `gemm_fraction` counts the
operations of the step's products (`step_operations`) against the rate of a large product of the
same type in the same run. Two limits stand beside the seconds: products alone, at that rate, and
memory alone: what the step holds at its peak, written and read once at the rate of a copy.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch

from prvr_model.inputs.allocator import keep_freed_blocks
from prvr_model.inputs.batching import Batch
from prvr_model.inputs.resampling import normalise_rows
from prvr_model.inputs.token_merging import choose_levels, merge_neighbours
from prvr_model.losses.objective import BranchDraws, compute_losses
from prvr_model.losses.triplet import NegativeDraws
from prvr_model.network import encoders
from prvr_model.network.encoding import Encoders
from prvr_model.network.model import MscModel
from prvr_model.settings import Settings, SpeedSettings, build_settings
from prvr_model.training.train_loop import build_optimizer, gradient_norm
from tests.benchmarks.measure import (
    PeakMemory,
    arguments,
    copy_rate,
    gemm_gflops,
    processor_features,
    seconds,
    show,
)
from tests.benchmarks.step_operations import StepSizes, step_operations
from tests.benchmarks.time_shares import shares_of_time
from tests.prvr_model.clip_segments import segment_plans, spanning_tree_weights

Precision: TypeAlias = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# Memory that is freed is used again from the third step on.
_WARM_UPS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=128)
    parser.add_argument("--captions", type=int, default=640, help="captions of all videos")
    parser.add_argument("--min-tokens", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--dim", type=int, default=768, help="of frames and tokens")
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--hard", action="store_true", help="hard negatives, as from epoch 20")
    parser.add_argument("--micro-batch-videos", type=int, help="videos encoded at once")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["float32"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--profile", dest="profiled", action="store_true", help="also say where the time goes"
    )
    options = arguments(parser)
    settings = build_settings(None, {"model.hidden_size": options.hidden})
    keep_freed_blocks()
    batch = random_batch(settings, options)
    steps = {
        precision: build_step(settings, batch, options, speed_of(options, precision))
        for precision in options.precisions
    }
    memory = {precision: warm_up(step) for precision, step in steps.items()}
    runs: dict[Precision, list[Run]] = {precision: [] for precision in steps}
    for _ in range(options.repeats):
        for precision, step in steps.items():
            runs[precision].append(measure(step, precision))
    gflop = step_operations(settings.model, sizes_of(batch, options)) / 1e9
    found = {precision: figures(runs[precision], memory[precision], gflop) for precision in steps}
    first = options.precisions[0]
    result = {
        **found[first],
        "by_precision": found,
        "videos_per_s": options.videos / found[first]["step_s"],
        "gflop": gflop,
        "frames": settings.model.num_frames,
        "dropout": settings.model.dropout,
        "processor": processor_features(),
        "profile": shares_of_time(steps[first]) if options.profiled else None,
    }
    show(result, options)


def warm_up(step: Callable[[], object]) -> PeakMemory:
    """Run until the step's memory is there, which takes longer than the step; its peak."""
    with PeakMemory() as memory:
        for _ in range(_WARM_UPS):
            step()
    return memory


class Run(NamedTuple):
    """Seconds of a step, and beside it the rates of products, and of copies in bytes."""

    took_s: float
    gflops: float
    copied: float


def measure(step: Callable[[], object], precision: Precision) -> Run:
    """A step; the machine may be shared: rates are taken before and after, not at one moment."""
    dtype = getattr(torch, precision)
    before, copied = gemm_gflops(dtype), copy_rate()
    took = seconds(step)
    return Run(took, (before + gemm_gflops(dtype)) / 2, (copied + copy_rate()) / 2)


def figures(runs: Sequence[Run], memory: PeakMemory, gflop: float) -> dict[str, float]:
    """Medians of some runs."""
    took, gflops, copied = (statistics.median(values) for values in zip(*runs, strict=True))
    return {
        "step_s": took,
        "products_alone_s": gflop / gflops,
        "memory_alone_s": 2 * memory.extra_mb * 1e6 / copied,
        "peak_rss_mb": memory.peak_mb,
        "extra_mb": memory.extra_mb,
        "gemm_gflops": gflops,
        "gemm_fraction": statistics.median(gflop / run.took_s / run.gflops for run in runs),
    }


def sizes_of(batch: Batch, options: argparse.Namespace) -> StepSizes:
    """What decides on a step's operations; captions are encoded in parts of like length."""
    lengths = batch.tokens_valid.sum(dim=1).sort().values
    parts = [lengths[part] for part in encoders._parts(batch.tokens)]
    padded = [(len(part), int(part.max())) for part in parts]
    rows = sum(number * length for number, length in padded)
    mean = sum(number * length**2 for number, length in padded) / rows
    return StepSizes(options.videos, options.captions, rows, mean, options.dim)


def build_step(
    settings: Settings,
    batch: Batch,
    options: argparse.Namespace,
    speed: SpeedSettings | None = None,
) -> Callable[[], object]:
    """One training step, as `train_loop` makes it; `speed` None: as the options say."""
    model = MscModel(settings.model, options.dim, options.dim).train()
    optimizer = build_optimizer(model, settings, options.videos)
    sizes = (len(batch.video_of_caption), len(batch.frames)) * 2
    drawn = [torch.rand(size) for size in sizes]
    draws = BranchDraws(NegativeDraws(*drawn[:2]), NegativeDraws(*drawn[2:]))
    encoding = Encoders(model, speed or speed_of(options))

    def step() -> None:
        terms = compute_losses(model, batch, settings.losses, draws, options.hard, encoding)
        optimizer.zero_grad()
        terms.total.backward()
        gradient_norm(model)
        optimizer.step()

    return step


def speed_of(options: argparse.Namespace, precision: Precision = "float32") -> SpeedSettings:
    """How a step runs, as the options say."""
    return SpeedSettings(micro_batch_videos=options.micro_batch_videos, precision=precision)


def random_batch(settings: Settings, options: argparse.Namespace) -> Batch:
    """Videos of random features and captions spread evenly over them, lengths at random."""
    generator = np.random.default_rng(0)
    shape = (options.videos, settings.model.num_frames, options.dim)
    frames = generator.standard_normal(shape, np.float32)
    merged = merge_neighbours(frames, settings.model.merge_targets)
    clips = normalise_rows(merged.features)
    levels = settings.segment_levels
    chosen = choose_levels(spanning_tree_weights(clips), settings.losses.tau, len(levels))
    plans = segment_plans(clips, merged.sizes, levels)
    lengths = generator.integers(options.min_tokens, options.max_tokens + 1, options.captions)
    valid = np.arange(lengths.max()) < lengths[:, None]
    tokens = generator.standard_normal((*valid.shape, options.dim), np.float32)
    tokens = normalise_rows(tokens) * valid[:, :, None]
    owners = np.arange(options.captions) * options.videos // options.captions
    arrays = {
        "frames": normalise_rows(frames),
        "clips": clips,
        "clip_sizes": merged.sizes,
        "frame_to_clip": merged.frame_to_clip,
        "segment_of_clip": plans[np.arange(options.videos), chosen],
        "tokens": tokens.astype(np.float32, copy=False),
        "tokens_valid": valid,
        "teacher": tokens[np.arange(options.captions), lengths - 1],
        "video_of_caption": owners,
    }
    return Batch(**{name: torch.from_numpy(array) for name, array in arrays.items()})


if __name__ == "__main__":
    main()
