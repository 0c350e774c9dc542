"""Exact search in a gallery: every video is scored, in the order of its bytes.

The score is evaluation's: the weighted sum of the best cosine over clips and over frames, float32.
Videos come by descending score; of equal scores the one that lies first in the gallery comes first.
(Evaluation, which must not flatter a model, counts a wrong video of equal score before the right
one.)

bfloat16 vectors and one query: a product of bfloat16 values has a bfloat16 result, too coarse to
rank by, but it runs at the memory's speed. It serves as a screen: whoever could still be among the
best, given the largest possible rounding error, is scored again in float32. Several queries are
multiplied in float32 at once, with rows that are widened some thousand at a time.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from prvr_model.retrieval.gallery import GalleryReader

# Queries scored in one pass over the gallery, and the products that are taken of them at once: they
# stay in the processor's cache between the product and the maximum.
_QUERIES = 128
_PRODUCTS = 1 << 20
# bfloat16 rows that are widened at once: 3 MB at the published size.
_WIDENED_VALUES = 1 << 20
# Videos whose vectors are copied to be scored again.
_RESCORED = 64
# A bfloat16 number has 8 significant bits: rounding changes it by 2^-9 of itself at most. Twice
# that, and the error of float32 sums.
_RELATIVE_ERROR, _ABSOLUTE_ERROR = 2.0**-8, 1e-5


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
    """Cosines of a query with each row of some videos, float32."""

    clips: Float[Tensor, "videos clips"]
    frames: Float[Tensor, "videos frames"]


@torch.no_grad()
def search(gallery: GalleryReader, unit_queries: Float[Tensor, "queries hidden"], top: int) -> Hits:
    """The best videos of a gallery, or of a reader's share of it.

    Args:
        gallery: The gallery.
        unit_queries: Query vectors of norm 1, float32.
        top: Videos wanted; fewer come where the gallery has fewer.
    """
    top = min(top, gallery.num_videos)
    if len(unit_queries) == 1 and gallery.manifest.dtype == "bfloat16":
        found = [_screened(gallery, unit_queries[0], top)]
    else:
        found = [
            _best(scores, gallery.positions, top)
            for block in unit_queries.split(_QUERIES)
            for scores in all_scores(gallery, block).numpy()
        ]
    return _stacked(found, top)


def search_among(
    gallery: GalleryReader,
    unit_query: Float[Tensor, "hidden"],
    positions: Int[np.ndarray, "videos"],
    top: int,
) -> Hits:
    """The best of some videos.

    Args:
        gallery: The gallery.
        unit_query: Query vector of norm 1, float32.
        positions: Where the videos lie, ascending.
        top: Videos wanted.
    """
    scores = _scores_of(gallery, unit_query, positions)
    return _stacked([_best(scores, positions, min(top, len(positions)))], top)


def all_scores(
    gallery: GalleryReader, unit_queries: Float[Tensor, "queries hidden"]
) -> Float[Tensor, "queries videos"]:
    """Scores of all videos of the reader's share, float32."""
    scores = unit_queries.new_empty((len(unit_queries), gallery.num_videos))
    memory = _Memory(unit_queries)
    start = 0
    for batch in gallery.batches:
        columns = slice(start, start + len(batch))
        clip, frame = (_largest(unit_queries, rows, memory) for rows in (batch.clips, batch.frames))
        scores[:, columns] = fused(clip, frame, gallery)
        start += len(batch)
    return scores


def fused(
    clip: Float[Tensor, "*pairs"], frame: Float[Tensor, "*pairs"], gallery: GalleryReader
) -> Float[Tensor, "*pairs"]:
    """The score of clip and frame scores, as evaluation fuses them."""
    settings = gallery.settings
    return settings.clip_score_weight * clip + settings.frame_score_weight * frame


def cosines(
    gallery: GalleryReader,
    unit_query: Float[Tensor, "hidden"],
    positions: Int[np.ndarray, "videos"],
) -> PairCosines:
    """Cosines of a query with all clips and frames of some videos, in the order given."""
    order = np.argsort(positions, kind="stable")
    back = torch.from_numpy(np.argsort(order))
    parts = [
        [rows @ unit_query for rows in gallery.vectors(positions[order[start : start + _RESCORED]])]
        for start in range(0, len(order), _RESCORED)
    ]
    return PairCosines(*(torch.cat(rows)[back] for rows in zip(*parts, strict=True)))


class _Memory:
    """Buffers that every block of a scan uses again: new memory costs more than the work on it."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        size = int(np.prod(shape))
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = self._like.new_empty(size)
        return self._buffers[name][:size].view(shape)


def _largest(
    unit_queries: Float[Tensor, "queries hidden"],
    rows: Float[Tensor, "videos rows hidden"],
    memory: _Memory,
) -> Float[Tensor, "queries videos"]:
    """Largest cosine over each video's rows, some videos at a time."""
    num_queries = len(unit_queries)
    found = unit_queries.new_empty((num_queries, len(rows)))
    per_video = rows.shape[1] * (rows.shape[2] if rows.dtype != torch.float32 else num_queries)
    limit = _WIDENED_VALUES if rows.dtype != torch.float32 else _PRODUCTS
    start = 0
    for videos in rows.split(max(1, limit // per_video)):
        flat = _widened(videos, memory).flatten(0, 1)
        products = memory.take("products", (num_queries, len(flat)))
        if num_queries == 1:
            torch.mv(flat, unit_queries[0], out=products[0])
        else:
            torch.mm(unit_queries, flat.T, out=products)
        places = slice(start, start + len(videos))
        torch.amax(products.unflatten(1, videos.shape[:2]), dim=2, out=found[:, places])
        start += len(videos)
    return found


def _widened(rows: Tensor, memory: _Memory) -> Tensor:
    return rows if rows.dtype == torch.float32 else memory.take("rows", rows.shape).copy_(rows)


def _screened(
    gallery: GalleryReader, unit_query: Float[Tensor, "hidden"], top: int
) -> tuple[Int[np.ndarray, "top"], Float[np.ndarray, "top"]]:
    """The best videos of a bfloat16 gallery: screened in bfloat16, then scored in float32."""
    scores, error = (values.numpy() for values in _rough_scores(gallery, unit_query))
    if not top:
        return _best(scores, gallery.positions, top)
    surely = np.partition(scores - error, -top)[-top]
    chosen = gallery.positions[scores + error >= surely]
    return _best(_scores_of(gallery, unit_query, chosen), chosen, top)


def _rough_scores(
    gallery: GalleryReader, unit_query: Float[Tensor, "hidden"]
) -> tuple[Float[Tensor, "videos"], Float[Tensor, "videos"]]:
    """Scores by products in bfloat16, and how far each may be off."""
    rounded = unit_query.bfloat16()
    branches: list[list[Tensor]] = [[], []]
    for batch in gallery.batches:
        for found, rows in zip(branches, (batch.clips, batch.frames), strict=True):
            products = torch.mv(rows.flatten(0, 1), rounded)
            found.append(products.view(rows.shape[:2]).amax(dim=1).float())
    clip, frame = (torch.cat([unit_query.new_empty(0), *found]) for found in branches)
    # |<q - r, x>| is at most |q - r| for any x of norm 1.
    of_query = float(torch.linalg.vector_norm(unit_query - rounded.float())) + _ABSOLUTE_ERROR
    clip_error, frame_error = (of_query + _RELATIVE_ERROR * part.abs() for part in (clip, frame))
    return fused(clip, frame, gallery), fused(clip_error, frame_error, gallery)


def _scores_of(
    gallery: GalleryReader, unit_query: Float[Tensor, "hidden"], positions: np.ndarray
) -> Float[np.ndarray, "videos"]:
    """Scores of some videos, float32; positions ascend."""
    parts = [np.empty(0, np.float32)]
    for start in range(0, len(positions), _RESCORED):
        vectors = gallery.vectors(positions[start : start + _RESCORED])
        clip, frame = ((rows @ unit_query).amax(dim=1) for rows in vectors)
        parts.append(fused(clip, frame, gallery).numpy())
    return np.concatenate(parts)


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


def _stacked(
    found: list[tuple[Int[np.ndarray, "top"], Float[np.ndarray, "top"]]], top: int
) -> Hits:
    if not found:
        return Hits(np.empty((0, top), np.int64), np.empty((0, top), np.float32))
    positions, scores = zip(*found, strict=True)
    return Hits(np.stack(positions), np.stack(scores))
