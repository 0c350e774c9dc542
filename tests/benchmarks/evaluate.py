"""Scores, ranks and metrics of an evaluation against the bare matrix products, at TVR's size.

Run `python -m tests.benchmarks.evaluate --json`. The gallery is random and encoded already. The
bare products are taken in the blocks that the evaluation takes them in, into one buffer: faster
than products of all at once, whose results must be allocated.
"""

import argparse
import time
from functools import partial

import numpy as np
import torch
from torch import Tensor

from prvr_model.inputs.prepared_split import PreparedSplit
from prvr_model.network.model import EncodedVideos
from prvr_model.network.similarity import unit_rows
from prvr_model.retrieval.evaluation import collapse_metrics, rank_gallery, rank_metrics
from prvr_model.retrieval.metrics import Relevance
from prvr_model.settings import ModelSettings
from tests.benchmarks.measure import PeakMemory, arguments, gemm_gflops, seconds, show

# Similarities of one bare product, 16 MiB.
_BLOCK_ELEMENTS = 1 << 22


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=10_895)
    parser.add_argument("--videos", type=int, default=2_179)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--dim", type=int, default=768, help="of the foundation features")
    parser.add_argument("--correct", type=int, default=2, help="correct videos of each query")
    parser.add_argument("--block", type=int, default=1024, help="queries scored at once")
    parser.add_argument("--repeats", type=int, default=1)
    options = arguments(parser)
    queries = unit_rows(torch.randn(options.queries, options.hidden))
    gallery = EncodedVideos(_rows(options, options.clips), _rows(options, options.frames))
    # A first small one: threads and libraries start.
    measure(queries[: options.block], _few(gallery), options)
    gemm_before = gemm_gflops()
    runs = [measure(queries, gallery, options) for _ in range(options.repeats)]
    matmul_s, total_s, extra_mb = (float(np.median(values)) for values in zip(*runs, strict=True))
    result = {
        "total_s": total_s,
        "matmul_s": matmul_s,
        "ratio": total_s / matmul_s,
        "extra_mb": extra_mb,
        "gemm_gflops": (gemm_before + gemm_gflops()) / 2,
        **measure_collapse(queries, gallery, options),
    }
    show(result, options)


def _rows(options: argparse.Namespace, rows: int) -> Tensor:
    found = torch.randn(options.videos, rows, options.hidden)
    found /= torch.linalg.vector_norm(found, dim=2, keepdim=True)
    return found


def _few(gallery: EncodedVideos) -> EncodedVideos:
    return EncodedVideos(gallery.clips[:16], gallery.frames[:16])


def measure(
    queries: Tensor, gallery: EncodedVideos, options: argparse.Namespace
) -> tuple[float, float, float]:
    """Seconds of the bare products, then of scores, ranks and metrics, and the memory of these.

    Both take turns, some queries at a time: the machine may be shared, and both see the same of it.
    """
    relevance = Relevance(torch.randint(len(gallery.clips), (len(queries), options.correct)))
    settings = ModelSettings()
    buffer = torch.ones(_BLOCK_ELEMENTS)
    bare_s, total_s, parts = 0.0, 0.0, []
    with PeakMemory() as memory:
        for start in range(0, len(queries), options.block):
            rows = slice(start, start + options.block)
            bare_s += seconds(partial(bare_products, queries[rows], gallery, buffer))
            began = time.perf_counter()
            correct = relevance.block(rows)
            parts.append(rank_gallery(queries[rows], gallery, correct, settings, options.block))
            total_s += time.perf_counter() - began
        began = time.perf_counter()
        rank_metrics({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        total_s += time.perf_counter() - began
    return bare_s, total_s, memory.extra_mb


def bare_products(queries: Tensor, gallery: EncodedVideos, buffer: Tensor) -> None:
    """Products of queries with all rows of the gallery, and nothing else."""
    num_rows = max(1, len(buffer) // len(queries))
    for videos in (gallery.clips, gallery.frames):
        for rows in videos.flatten(0, 1).split(num_rows):
            shape = (len(queries), len(rows))
            torch.mm(queries, rows.T, out=buffer[: shape[0] * shape[1]].view(shape))


def measure_collapse(
    queries: Tensor, gallery: EncodedVideos, options: argparse.Namespace
) -> dict[str, float]:
    """Seconds and extra memory of the collapse diagnostics, which come beside the metrics."""
    split = _random_split(len(queries), options)
    with PeakMemory() as memory:
        elapsed = seconds(lambda: collapse_metrics(split, queries, gallery))
    return {"collapse_s": elapsed, "collapse_extra_mb": memory.extra_mb}


def _random_split(num_queries: int, options: argparse.Namespace) -> PreparedSplit:
    """The arrays that the diagnostics read: captions of one token, and input clips."""
    generator = np.random.default_rng(0)
    clips = generator.standard_normal((options.videos, options.clips, options.dim), np.float32)
    owners = np.sort(generator.integers(options.videos, size=num_queries))
    counts = np.bincount(owners, minlength=options.videos)
    return PreparedSplit(
        frames=np.empty((options.videos, 0, options.dim), np.float32),
        clips=clips,
        clip_sizes=np.ones((options.videos, options.clips), np.float32),
        frame_to_clip=np.empty((options.videos, 0), np.int64),
        segment_of_clip=np.empty((options.videos, 0), np.int64),
        tokens=generator.standard_normal((num_queries, options.dim), np.float32),
        token_offsets=np.arange(num_queries + 1),
        caption_video=owners,
        caption_order=np.arange(num_queries),
        caption_starts=np.concatenate([[0], np.cumsum(counts)]),
    )


if __name__ == "__main__":
    main()
