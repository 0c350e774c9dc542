"""Exact search in a gallery: every video is scored, in the order of its bytes.

The score is evaluation's: the weighted sum of the best cosine over clips and over frames, float32.
Videos come by descending score; of equal scores the one that lies first in the gallery comes first.
(Evaluation, which must not flatter a model, counts a wrong video of equal score before the right
one.)

A scan is a screen (`screen`): coarse products with all rows say between which bounds each score
lies. The videos that seem best are scored in float32, and after them every other one that could
still be among the best, one query at a time: a score does not depend on what else is asked.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from prvr_model.inputs.allocator import release_freed_blocks
from prvr_model.inputs.torch_threads import in_threads
from prvr_model.retrieval.gallery import GalleryReader
from prvr_model.retrieval.screen import bounds, bounds_among, fused, screens_bytes

# Queries screened in one pass over the gallery.
_QUERIES = 64


@dataclass(frozen=True)
class Hits:
    """The best videos of each query, best first.

    Args:
        positions: Where they lie in the gallery.
        scores: Their scores, float32.
    """

    positions: Int[np.ndarray, "queries top"]
    scores: Float[np.ndarray, "queries top"]


@dataclass(frozen=True)
class PairCosines:
    """Cosines of pairs of query and video with each row of the video, float32."""

    clips: Float[Tensor, "pairs clips"]
    frames: Float[Tensor, "pairs frames"]


@torch.no_grad()
def search(gallery: GalleryReader, unit_queries: Float[Tensor, "queries hidden"], top: int) -> Hits:
    """The best videos of a gallery, or of a reader's share of it.

    Args:
        gallery: The gallery.
        unit_queries: Query vectors of norm 1, float32.
        top: Videos wanted; fewer come where the gallery has fewer.
    """
    top = min(top, gallery.num_videos)
    if not top:
        return Hits(*(np.empty((len(unit_queries), 0), kind) for kind in (np.int64, np.float32)))
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for block in unit_queries.split(_QUERIES) if len(unit_queries) else ():
        found += _searched(gallery, block, gallery.positions, bounds(gallery, block), top)
        # Bounds of all videos are the most that a search holds.
        release_freed_blocks()
    return stacked(found, top)


def search_among(
    gallery: GalleryReader,
    unit_query: Float[Tensor, "hidden"],
    places: Int[np.ndarray, "videos"],
    top: int,
) -> Hits:
    """The best of some videos.

    Args:
        gallery: The gallery.
        unit_query: Query vector of norm 1, float32.
        places: Which of the reader's share, ascending.
        top: Videos wanted, at most as many as there are.
    """
    positions = gallery.positions[places]
    if screens_bytes(gallery):
        screened = bounds_among(gallery, unit_query[None], places)
        found = list(_searched(gallery, unit_query[None], positions, screened, top))
    else:
        scores = _scores_of(gallery, unit_query[None], np.zeros_like(positions), positions)
        found = [_best(scores, positions, top)]
    return stacked(found, top)


def cosines(
    gallery: GalleryReader,
    unit_queries: Float[Tensor, "queries hidden"],
    positions: Int[np.ndarray, "queries top"],
) -> PairCosines:
    """Cosines of each query with all clips and frames of some videos, query after query."""
    top, manifest = positions.shape[1], gallery.manifest
    clips, frames = (
        unit_queries.new_empty((positions.size, rows))
        for rows in (manifest.num_clips, manifest.num_frames)
    )

    def work(pairs: Iterator[tuple[int, int]]) -> None:
        for pair, position in pairs:
            for found, rows in zip((clips, frames), gallery.mapped(position), strict=True):
                torch.mv(rows.float(), unit_queries[pair // top], out=found[pair])

    in_threads(list(enumerate(positions.reshape(-1).tolist())), work)
    return PairCosines(clips, frames)


# Five: where is searched, for what, and what the screen says.
def _searched(
    gallery: GalleryReader,
    unit_queries: Float[Tensor, "queries hidden"],
    positions: Int[np.ndarray, "videos"],
    screened: tuple[Float[Tensor, "queries videos"], Float[Tensor, "queries videos"]],
    top: int,
) -> Iterator[tuple[Int[np.ndarray, "top"], Float[np.ndarray, "top"]]]:
    """The best videos of each query among those that were screened, scored in float32."""
    lowest, highest = screened
    first = lowest.topk(top, dim=1).indices
    owners = np.arange(len(first)).repeat(top)
    places = first.numpy().reshape(-1)
    scores = _scores_of(gallery, unit_queries, owners, positions[places])
    # So many videos have this score or more: none that must have less is among the best.
    surely = np.sort(scores.reshape(first.shape), axis=1)[:, :1]
    may_be_best = highest.numpy() >= surely
    may_be_best[owners, places] = False
    others, other_places = may_be_best.nonzero()
    more = _scores_of(gallery, unit_queries, others, positions[other_places])
    owners, places, scores = (
        np.concatenate(parts)
        for parts in ((owners, others), (places, other_places), (scores, more))
    )
    for query in range(len(unit_queries)):
        its = owners == query
        yield _best(scores[its], positions[places[its]], top)


def _scores_of(
    gallery: GalleryReader,
    unit_queries: Float[Tensor, "queries hidden"],
    queries: Int[np.ndarray, "pairs"],
    positions: Int[np.ndarray, "pairs"],
) -> Float[np.ndarray, "pairs"]:
    """Scores of pairs of query and video, float32."""
    best = torch.empty(2, len(positions))
    order = np.argsort(positions, kind="stable")
    bounds = np.flatnonzero(np.diff(positions[order])) + 1

    def work(videos: Iterator[Int[np.ndarray, "pairs"]]) -> None:
        for pairs in videos:
            position = int(positions[pairs[0]])
            for branch, rows in zip(best, gallery.mapped(position), strict=True):
                wide = rows.float()
                for pair in pairs.tolist():
                    branch[pair] = torch.mv(wide, unit_queries[queries[pair]]).max()

    in_threads(np.split(order, bounds) if len(order) else [], work)
    return fused(best[0], best[1], gallery).numpy()


def _best(
    scores: Float[np.ndarray, "videos"], positions: Int[np.ndarray, "videos"], top: int
) -> tuple[Int[np.ndarray, "top"], Float[np.ndarray, "top"]]:
    """The best videos, best first; of equal scores the lowest position."""
    if top < len(scores):
        # All that equal the last one stay: a partition alone would keep any of them.
        least = np.partition(scores, -top)[-top] if top else np.inf
        kept = np.flatnonzero(scores >= least)
        scores, positions = scores[kept], positions[kept]
    order = np.lexsort((positions, -scores))[:top]
    return positions[order], scores[order]


def stacked(found: list[tuple[Int[np.ndarray, "top"], Float[np.ndarray, "top"]]], top: int) -> Hits:
    """Hits of some queries as one object."""
    if not found:
        return Hits(np.empty((0, top), np.int64), np.empty((0, top), np.float32))
    positions, scores = zip(*found, strict=True)
    return Hits(np.stack(positions), np.stack(scores))
