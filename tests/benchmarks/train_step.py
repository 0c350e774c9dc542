"""Time and peak memory of a training step: forward, losses, backward, optimizer, with dropout.

Run `python -m tests.benchmarks.train_step --json`. `gemm_fraction` counts 17.3 GFLOP a video,
whatever is really executed, against the peak rate measured in the same run.
"""

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import torch

from prvr_model.inputs.allocator import keep_freed_blocks
from prvr_model.inputs.batching import Batch
from prvr_model.inputs.resampling import normalise_rows
from prvr_model.inputs.token_merging import choose_levels, merge_neighbours
from prvr_model.losses.objective import BranchDraws, compute_losses
from prvr_model.losses.triplet import NegativeDraws
from prvr_model.network.encoding import Encoders
from prvr_model.network.model import MscModel
from prvr_model.settings import Settings, SpeedSettings, build_settings
from prvr_model.training.train_loop import build_optimizer, gradient_norm
from tests.benchmarks.measure import PeakMemory, arguments, gemm_gflops, seconds, show
from tests.benchmarks.time_shares import shares_of_time
from tests.prvr_model.clip_segments import segment_plans, spanning_tree_weights

GFLOP_PER_VIDEO = 17.3


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
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--profile", dest="profiled", action="store_true", help="also say where the time goes"
    )
    options = arguments(parser)
    settings = build_settings(None, {"model.hidden_size": options.hidden})
    keep_freed_blocks()
    step = build_step(settings, random_batch(settings, options), options)
    with PeakMemory() as memory:
        step()
        runs = [measure(step) for _ in range(options.repeats)]
    step_s, peak = (statistics.median(values) for values in zip(*runs, strict=True))
    gflop = options.videos * GFLOP_PER_VIDEO
    result = {
        "step_s": step_s,
        "peak_rss_mb": memory.peak_mb,
        "extra_mb": memory.extra_mb,
        "gemm_gflops": peak,
        "gemm_fraction": statistics.median(gflop / took / rate for took, rate in runs),
        "videos_per_s": options.videos / step_s,
        "frames": settings.model.num_frames,
        "dropout": settings.model.dropout,
        "profile": shares_of_time(step) if options.profiled else None,
    }
    show(result, options)


def measure(step: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a step, and the machine's rate of products beside it.

    The machine may be shared: its rate is taken before and after each step, not at one moment.
    """
    before = gemm_gflops()
    took = seconds(step)
    return took, (before + gemm_gflops()) / 2


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
    as_told = SpeedSettings(micro_batch_videos=options.micro_batch_videos)
    encoders = Encoders(model, speed or as_told)

    def step() -> None:
        terms = compute_losses(model, batch, settings.losses, draws, options.hard, encoders)
        optimizer.zero_grad()
        terms.total.backward()
        gradient_norm(model)
        optimizer.step()

    return step


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
