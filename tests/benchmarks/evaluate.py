"""Scores, ranks and metrics of an evaluation against the bare matrix products, at TVR's size.

Run `python -m tests.benchmarks.evaluate --json`. The gallery is random and encoded already. The
bare products are taken in the blocks that the evaluation takes them in, into one buffer: faster
than products of all at once, whose results must be allocated.
"""

import argparse

import numpy as np
import torch
from torch import Tensor

from prvr_model.dataset import PreparedSplit
from prvr_model.evaluation import collapse_metrics, rank_gallery, rank_metrics
from prvr_model.metrics import Relevance
from prvr_model.model import EncodedVideos
from prvr_model.settings import ModelSettings
from prvr_model.similarity import unit_rows
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
    measure_ranks(queries[: options.block], _few(gallery), options)
    gemm_before = gemm_gflops()
    matmul_s, matmul_again_s, total_s, extra_mb = [], [], [], []
    for _ in range(options.repeats):
        matmul_s.append(seconds(lambda: bare_products(queries, gallery, options.block)))
        ranked_s, ranked_mb = measure_ranks(queries, gallery, options)
        total_s.append(ranked_s)
        extra_mb.append(ranked_mb)
        matmul_again_s.append(seconds(lambda: bare_products(queries, gallery, options.block)))
    # Products before and after: the machine may be shared.
    bare_s = float(np.median([(a + b) / 2 for a, b in zip(matmul_s, matmul_again_s, strict=True)]))
    result = {
        "total_s": float(np.median(total_s)),
        "matmul_s": bare_s,
        "ratio": float(np.median(total_s)) / bare_s,
        "extra_mb": max(extra_mb),
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


def measure_ranks(
    queries: Tensor, gallery: EncodedVideos, options: argparse.Namespace
) -> tuple[float, float]:
    """Seconds and extra memory of scores, ranks and metrics."""
    correct = torch.randint(len(gallery.clips), (len(queries), options.correct))
    settings = ModelSettings()

    def work() -> None:
        rank_metrics(rank_gallery(queries, gallery, Relevance(correct), settings, options.block))

    with PeakMemory() as memory:
        elapsed = seconds(work)
    return elapsed, memory.extra_mb


def bare_products(queries: Tensor, gallery: EncodedVideos, block: int) -> None:
    """Products of all queries with all rows of the gallery, and nothing else."""
    num_rows = max(1, _BLOCK_ELEMENTS // min(block, len(queries)))
    buffer = torch.empty(min(block, len(queries)) * num_rows)
    for some_queries in queries.split(block):
        for videos in (gallery.clips, gallery.frames):
            for rows in videos.flatten(0, 1).split(num_rows):
                shape = (len(some_queries), len(rows))
                out = buffer[: shape[0] * shape[1]].view(shape)
                torch.mm(some_queries, rows.T, out=out)


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
