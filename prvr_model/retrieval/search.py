"""Exact search in a gallery: every video is scored, in the order of its bytes.

The score is evaluation's: the weighted sum of the best cosine over clips and over frames, float32.
Videos come by descending score; of equal scores the one that lies first in the gallery comes first.
(Evaluation, which must not flatter a model, counts a wrong video of equal score before the right
one.)

bfloat16 vectors and one query: a product of bfloat16 values has a bfloat16 result, too coarse to
rank by, but it runs at the memory's speed. It serves as a screen: a video that could still be among
the best, given the largest possible rounding error, is scored again in float32. Several queries are
multiplied in float32 at once, with rows that are widened some thousand at a time.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from prvr_model.inputs.threads import in_parts
from prvr_model.retrieval.gallery import GalleryReader

# Queries scored in one pass over the gallery.
_QUERIES = 128
# What a thread takes at a time: its calls cost little against that, and threads end together.
_PIECE_BYTES = 16 * 2**20
# Products that are taken at once, and bfloat16 values that are widened at once: they stay in the
# processor's cache from one step to the next.
_PRODUCTS = 1 << 18
_WIDENED_VALUES = 1 << 19
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
    if not len(unit_queries):
        return stacked([], top)
    if len(unit_queries) == 1 and gallery.manifest.dtype == "bfloat16":
        found = [_screened(gallery, unit_queries[0], top)]
    else:
        found = [
            _best(scores, gallery.positions, top)
            for block in unit_queries.split(_QUERIES)
            for scores in all_scores(gallery, block).numpy()
        ]
    return stacked(found, top)


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
    return stacked([_best(scores, positions, min(top, len(positions)))], top)


def all_scores(
    gallery: GalleryReader, unit_queries: Float[Tensor, "queries hidden"]
) -> Float[Tensor, "queries videos"]:
    """Scores of all videos of the reader's share, float32."""
    scores = unit_queries.new_empty((len(unit_queries), gallery.num_videos))

    def score(piece: _Piece, memory: _Memory) -> None:
        clip, frame = (_largest(unit_queries, rows, memory) for rows in (piece.clips, piece.frames))
        scores[:, piece.columns] = fused(clip, frame, gallery)

    _scan(gallery, score)
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


@dataclass(frozen=True)
class _Piece:
    """Some videos of a batch; `columns` counts all videos of the reader's share."""

    columns: slice
    clips: Tensor
    frames: Tensor


def _scan(gallery: GalleryReader, score: Callable[["_Piece", "_Memory"], None]) -> None:
    """Call `score` with all pieces of a gallery."""
    pieces = list(_pieces(gallery))

    def work(part: slice) -> None:
        memory = _Memory()
        for piece in pieces[part]:
            score(piece, memory)

    _in_threads(len(pieces), work)


# One call at a time sets torch's threads; a second one would only wait for the memory.
_WORKING = threading.Lock()


def _in_threads(total: int, work: Callable[[slice], None]) -> None:
    """Share items among as many threads as torch has, each of which works alone.

    Threads that share every product would wait for one another at its end, on a busy machine
    longer than the work takes.
    """
    with _WORKING:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            in_parts(total, threads, torch.no_grad()(work))
        finally:
            torch.set_num_threads(threads)


def _pieces(gallery: GalleryReader) -> Iterator[_Piece]:
    item = 2 if gallery.manifest.dtype == "bfloat16" else 4
    rows = gallery.manifest.num_clips + gallery.manifest.num_frames
    video_bytes = rows * gallery.manifest.hidden * item
    size = max(1, _PIECE_BYTES // video_bytes)
    start = 0
    for batch in gallery.batches:
        for clips, frames in zip(batch.clips.split(size), batch.frames.split(size), strict=True):
            yield _Piece(slice(start, start + len(clips)), clips, frames)
            start += len(clips)


class _Memory:
    """Buffers that every block of a scan uses again: new memory costs more than the work on it."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        size = int(np.prod(shape))
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = torch.empty(size)
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
    found = unit_query.new_empty((2, gallery.num_videos))

    def score(piece: _Piece, memory: _Memory) -> None:
        for branch, rows in zip(found, (piece.clips, piece.frames), strict=True):
            products = torch.mv(rows.flatten(0, 1), rounded)
            branch[piece.columns] = products.view(rows.shape[:2]).amax(dim=1)

    _scan(gallery, score)
    # |<q - r, x>| is at most |q - r| for any x of norm 1.
    of_query = float(torch.linalg.vector_norm(unit_query - rounded.float())) + _ABSOLUTE_ERROR
    errors = of_query + _RELATIVE_ERROR * found.abs()
    return fused(found[0], found[1], gallery), fused(errors[0], errors[1], gallery)


def _scores_of(
    gallery: GalleryReader, unit_query: Float[Tensor, "hidden"], positions: np.ndarray
) -> Float[np.ndarray, "videos"]:
    """Scores of some videos, float32; positions ascend."""
    scores = np.empty(len(positions), np.float32)
    starts = range(0, len(positions), _RESCORED)

    def work(part: slice) -> None:
        for start in starts[part]:
            some = slice(start, start + _RESCORED)
            clip, frame = (
                (rows @ unit_query).amax(dim=1) for rows in gallery.vectors(positions[some])
            )
            scores[some] = fused(clip, frame, gallery).numpy()

    _in_threads(len(starts), work)
    return scores


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
