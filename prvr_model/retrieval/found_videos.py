"""What a gallery finds for queries: videos with their scores, and where in each the query fits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from prvr_model.retrieval.gallery import GalleryReader, GalleryVideos
from prvr_model.retrieval.ivf import InvertedFile
from prvr_model.retrieval.moments import PairScores, Window, windows
from prvr_model.retrieval.search import cosines, fused, search


@dataclass(frozen=True)
class FoundVideos:
    """The best videos of one query, best first.

    Args:
        scores: Their scores.
        about: What the gallery knows of them.
        moments: Windows of each, best first; their times are NaN where nobody knows the duration.
        strips: Score of each frame of each.
    """

    scores: Float[np.ndarray, "videos"]
    about: GalleryVideos
    moments: Sequence[Sequence[Window]]
    strips: Float[np.ndarray, "videos frames"]


@torch.no_grad()
def search_videos(
    gallery: GalleryReader,
    index: InvertedFile | None,
    unit_queries: Float[np.ndarray, "queries hidden"],
    top: int,
    num_moments: int,
) -> list[FoundVideos | None]:
    """The best videos of each query; None where the gallery is empty.

    Args:
        gallery: The gallery.
        index: Its inverted file; None: all videos are scored.
        unit_queries: Query vectors of norm 1.
        top: Videos wanted.
        num_moments: Moments wanted of each.
    """
    queries = torch.from_numpy(np.ascontiguousarray(unit_queries, np.float32))
    hits = index.search(queries, top) if index else search(gallery, queries, top)
    # One query's videos at a time: their vectors are copied.
    return [
        _found(gallery, query, positions, scores, num_moments) if len(positions) else None
        for query, positions, scores in zip(queries, hits.positions, hits.scores, strict=True)
    ]


def _found(
    gallery: GalleryReader,
    query: torch.Tensor,
    positions: np.ndarray,
    scores: np.ndarray,
    num_moments: int,
) -> FoundVideos:
    about = gallery.videos(positions)
    pairs = cosines(gallery, query, positions)
    on_frames = pairs.clips.gather(1, torch.from_numpy(about.clip_of_frame))
    spans = PairScores(pairs.clips.numpy(), pairs.frames.numpy(), about.clip_of_frame, about.times)
    strips = fused(on_frames, pairs.frames, gallery).numpy()
    return FoundVideos(scores, about, windows(spans, num_moments), strips)
