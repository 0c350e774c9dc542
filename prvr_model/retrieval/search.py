"""Exact search in a gallery: every video is scored, in the order of its bytes.

The score is evaluation's: the weighted sum of the best cosine over clips and over frames, float32.
Videos come by descending score; of equal scores the one that lies first in the gallery comes first.
(Evaluation, which must not flatter a model, counts a wrong video of equal score before the right
one.)

A scan is a screen: it multiplies all queries with all rows at once, in bfloat16 where the processor
has instructions for it (twice the rate of float32). That is too coarse to rank by, so every video
that could still be among the best, given the largest possible rounding error, is scored again in
float32, one query at a time: a score does not depend on what else is asked.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from prvr_model.inputs.allocator import release_freed_blocks
from prvr_model.inputs.threads import in_parts
from prvr_model.retrieval.gallery import GalleryReader

_Item = TypeVar("_Item")

# Queries screened in one pass over the gallery.
_QUERIES = 64
# Bytes of rows that are multiplied at once, also after they are converted: calls cost little
# against that, and the products are still in the processor's cache when the maximum is taken.
_PIECE_BYTES = 1 << 23
# A bfloat16 number has 8 significant bits: rounding changes it by 2^-8 of itself at most.
_ROUNDING = 2.0**-8
# More than the error of float32 sums of some hundred products.
_SUM_ERROR = 1e-5


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
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for block in unit_queries.split(_QUERIES) if len(unit_queries) else ():
        found += _searched(gallery, block, top)
        # Bounds of all videos are the most that a search holds.
        release_freed_blocks()
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
    scores = _scores_of(gallery, unit_query[None], np.zeros_like(positions), positions)
    return stacked([_best(scores, positions, min(top, len(positions)))], top)


def fused(
    clip: Float[Tensor, "*pairs"], frame: Float[Tensor, "*pairs"], gallery: GalleryReader
) -> Float[Tensor, "*pairs"]:
    """The score of clip and frame scores, as evaluation fuses them."""
    settings = gallery.settings
    return settings.clip_score_weight * clip + settings.frame_score_weight * frame


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

    _in_threads(list(enumerate(positions.reshape(-1).tolist())), work)
    return PairCosines(clips, frames)


def _searched(
    gallery: GalleryReader, unit_queries: Float[Tensor, "queries hidden"], top: int
) -> Iterator[tuple[Int[np.ndarray, "top"], Float[np.ndarray, "top"]]]:
    """The best videos of each query: screened, then scored in float32."""
    lowest, highest = _bounds(gallery, unit_queries)
    surely = lowest.topk(top, dim=1).values[:, -1:]
    queries, places = (highest >= surely).numpy().nonzero()
    positions = gallery.positions[places]
    scores = _scores_of(gallery, unit_queries, queries, positions)
    for query in range(len(unit_queries)):
        its = slice(*np.searchsorted(queries, (query, query + 1)))
        yield _best(scores[its], positions[its], top)


def _bounds(
    gallery: GalleryReader, unit_queries: Float[Tensor, "queries hidden"]
) -> Float[Tensor, "2 queries videos"]:
    """The lowest and the highest score that each video can have."""
    dtype = _product_type(gallery, len(unit_queries))
    rounding = _ROUNDING if dtype == torch.bfloat16 else 0.0
    rounded = unit_queries.to(dtype)
    # |<q - r, x>| is at most |q - r| for any x of norm 1; the same of rows that are rounded.
    error = torch.linalg.vector_norm(unit_queries - rounded.float(), dim=1)[:, None] + _SUM_ERROR
    if gallery.manifest.dtype == "float32":
        error += rounding * (1 + rounding)
    bounds = unit_queries.new_empty((2, len(unit_queries), gallery.num_videos))

    def score(piece: _Piece, memory: _Memory) -> None:
        best = [_largest(rounded, rows, memory) for rows in (piece.clips, piece.frames)]
        errors = [error + rounding * products.abs() for products in best]
        middle, off = (fused(clip, frame, gallery) for clip, frame in (best, errors))
        torch.sub(middle, off, out=bounds[0, :, piece.columns])
        torch.add(middle, off, out=bounds[1, :, piece.columns])

    _scan(gallery, dtype, score)
    return bounds


def _product_type(gallery: GalleryReader, num_queries: int) -> torch.dtype:
    """The type in which queries and rows are multiplied fastest."""
    # To convert float32 rows costs what it costs to multiply them with one query.
    is_worth_it = gallery.manifest.dtype == "bfloat16" or num_queries > 1
    return torch.bfloat16 if is_worth_it and _multiplies_bfloat16() else torch.float32


def _multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for it."""
    return bool(torch.cpu._is_avx512_bf16_supported())


@dataclass(frozen=True)
class _Piece:
    """Some videos of a batch; `columns` counts all videos of the reader's share."""

    columns: slice
    clips: Tensor
    frames: Tensor


def _pieces(gallery: GalleryReader, dtype: torch.dtype) -> Iterator[_Piece]:
    start = 0
    for batch in gallery.batches:
        values = batch.clips[0].numel() + batch.frames[0].numel()
        size = max(1, _PIECE_BYTES // (values * max(batch.clips.itemsize, dtype.itemsize)))
        for clips, frames in zip(batch.clips.split(size), batch.frames.split(size), strict=True):
            yield _Piece(slice(start, start + len(clips)), clips, frames)
            start += len(clips)


def _scan(
    gallery: GalleryReader, dtype: torch.dtype, score: Callable[["_Piece", "_Memory"], None]
) -> None:
    """Call `score` with all pieces of a gallery, which are multiplied in a type."""

    def work(pieces: Iterator[_Piece]) -> None:
        memory = _Memory()
        for piece in pieces:
            score(piece, memory)

    _in_threads(list(_pieces(gallery, dtype)), work)


# One call at a time sets torch's threads; a second one would only wait for the memory.
_WORKING = threading.Lock()


def _in_threads(items: Sequence[_Item], work: Callable[[Iterator[_Item]], None]) -> None:
    """Let as many threads as torch has take items until none is left, each of which works alone.

    Threads that share every product would wait for one another at its end, on a busy machine
    longer than the work takes.
    """
    left = iter(items)
    with _WORKING:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            in_parts(len(items), threads, torch.no_grad()(lambda _: work(left)))
        finally:
            torch.set_num_threads(threads)


class _Memory:
    """Buffers that every piece of a scan uses again: new memory costs more than the work on it."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        size = int(np.prod(shape))
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = torch.empty(size, dtype=dtype)
        return self._buffers[name][:size].view(shape)


def _largest(
    queries: Float[Tensor, "queries hidden"],
    rows: Float[Tensor, "videos rows hidden"],
    memory: _Memory,
) -> Float[Tensor, "queries videos"]:
    """Largest product with each video's rows, taken in the queries' type."""
    if rows.dtype != queries.dtype:
        rows = memory.take("rows", rows.shape, queries.dtype).copy_(rows)
    flat = rows.flatten(0, 1)
    products = memory.take("products", (len(queries), len(flat)), queries.dtype)
    torch.mm(queries, flat.T, out=products)
    found: Tensor = products.unflatten(1, rows.shape[:2]).amax(dim=2)
    return found.float()


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

    _in_threads(np.split(order, bounds) if len(order) else [], work)
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
