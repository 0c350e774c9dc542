"""Input time of a video: prepared for the first time (cold), and in each epoch after (warm).

Run `python -m tests.benchmarks.input_pipeline --json`. Cold is everything from a store's features
to arrays in files: resampling, merging, normalisation, connectivity, segment plans, and the tokens
of the video's captions. Warm is a batch's tensors out of these arrays, per video of the batch, as
a training loop waits for them: with `--depth 0` all of it, else what prefetching leaves when the
steps take no time. The first epoch, which also maps files and takes memory, is told apart.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from prvr_model.inputs.allocator import keep_freed_blocks
from prvr_model.inputs.batching import epoch_order
from prvr_model.inputs.prefetch import BatchMemory, prefetched
from prvr_model.inputs.prepared_split import PreparedSplit, prepare_split
from prvr_model.settings import Settings
from prvr_model.store.reader import FeatureStore
from prvr_model.store.writer import StoreWriter
from tests.benchmarks.measure import arguments, gemm_gflops, show

_CPU = torch.device("cpu")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=512)
    parser.add_argument("--min-frames", type=int, default=60)
    parser.add_argument("--max-frames", type=int, default=200)
    parser.add_argument("--dim", type=int, default=768, help="of frames and tokens")
    parser.add_argument("--captions", type=int, default=5, help="captions of a video")
    parser.add_argument("--min-tokens", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--batch", type=int, default=128, help="videos of a batch")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--depth", type=int, default=0, help="batches made ahead by a thread")
    options = arguments(parser)
    # As training does.
    keep_freed_blocks()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.store"
        write_store(path, options)
        result = measure(FeatureStore.open(path), options)
    show({**result, "gemm_gflops": gemm_gflops()}, options)


def measure(store: FeatureStore, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds a video, cold and warm; seconds to open what is prepared."""
    settings = Settings()
    start = time.perf_counter()
    prepare_split(store, "train", settings)
    prepared = time.perf_counter()
    split = prepare_split(store, "train", settings)
    opened = time.perf_counter()
    memory = BatchMemory(_CPU, options.depth)
    first, *epochs = [
        epoch_seconds(split, options, memory, epoch) for epoch in range(options.epochs + 1)
    ]
    return {
        "warm_ms_per_video": statistics.median(epochs) / split.num_videos * 1e3,
        "first_epoch_ms_per_video": first / split.num_videos * 1e3,
        "cold_ms_per_video": (prepared - start) / split.num_videos * 1e3,
        "open_s": opened - prepared,
    }


def epoch_seconds(
    split: PreparedSplit, options: argparse.Namespace, memory: BatchMemory, epoch: int
) -> float:
    """Time of making all batches of an epoch."""
    start = time.perf_counter()
    order = epoch_order(split.num_videos, options.batch, 0, epoch)
    for _ in prefetched(split, order, _CPU, options.depth, memory):
        pass
    return time.perf_counter() - start


def write_store(path: Path, options: argparse.Namespace) -> None:
    """A store of random features."""
    generator = np.random.default_rng(0)
    writer = StoreWriter(
        path,
        name="random",
        video_dim=options.dim,
        text_dim=options.dim,
        video_dtype=options.dtype,
        text_dtype=options.dtype,
    )
    with writer:
        for video in range(options.videos):
            length = generator.integers(options.min_frames, options.max_frames + 1)
            frames = generator.standard_normal((length, options.dim), np.float32)
            writer.add_video("train", f"v{video}", frames)
            for caption in range(options.captions):
                length = generator.integers(options.min_tokens, options.max_tokens + 1)
                tokens = generator.standard_normal((length, options.dim), np.float32)
                name = f"v{video}#enc#{caption}"
                writer.add_caption("train", name, f"v{video}", f"caption {name}", tokens)


if __name__ == "__main__":
    main()
