"""What a gallery finds for queries: videos with their scores, and where in each the query fits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from prvr_model.retrieval.gallery import GalleryReader, GalleryVideos
from prvr_model.retrieval.ivf import InvertedFile
from prvr_model.retrieval.moments import PairScores, Window, windows
from prvr_model.retrieval.screen import fused
from prvr_model.retrieval.search import Hits, cosines, search

# Pairs of query and video that are described at once: some megabytes of times and scores.
_PAIRS = 1024


@dataclass(frozen=True)
class FoundVideos:
    """The best videos of some queries, query after query, each best first.

    Args:
        top: Videos of each query.
        scores: Their scores.
        about: What the gallery knows of them.
        moments: Windows of each, best first; their times are NaN where nobody knows the duration.
        strips: Score of each frame of each.
    """

    top: int
    scores: Float[np.ndarray, "pairs"]
    about: GalleryVideos
    moments: Sequence[Sequence[Window]]
    strips: Float[np.ndarray, "pairs frames"]


@torch.no_grad()
def search_videos(
    gallery: GalleryReader,
    index: InvertedFile | None,
    unit_queries: Float[np.ndarray, "queries hidden"],
    top: int,
    num_moments: int,
) -> Iterator[FoundVideos]:
    """The best videos of each query, of some queries at a time.

    Args:
        gallery: The gallery, which has videos.
        index: Its inverted file; None: all videos are scored.
        unit_queries: Query vectors of norm 1.
        top: Videos wanted.
        num_moments: Moments wanted of each.
    """
    queries = torch.from_numpy(np.ascontiguousarray(unit_queries, np.float32))
    hits = index.search(queries, top) if index else search(gallery, queries, top)
    size = max(1, _PAIRS // hits.positions.shape[1])
    for start in range(0, len(queries), size):
        some = slice(start, start + size)
        found = Hits(hits.positions[some], hits.scores[some])
        yield _described(gallery, queries[some], found, num_moments)


def _described(
    gallery: GalleryReader, queries: torch.Tensor, hits: Hits, num_moments: int
) -> FoundVideos:
    about = gallery.videos(hits.positions.reshape(-1))
    pairs = cosines(gallery, queries, hits.positions)
    on_frames = pairs.clips.gather(1, torch.from_numpy(about.clip_of_frame))
    spans = PairScores(pairs.clips.numpy(), pairs.frames.numpy(), about.clip_of_frame, about.times)
    strips = fused(on_frames, pairs.frames, gallery).numpy()
    moments = windows(spans, num_moments)
    return FoundVideos(hits.positions.shape[1], hits.scores.reshape(-1), about, moments, strips)
