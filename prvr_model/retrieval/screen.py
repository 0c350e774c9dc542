"""The screen of a scan: the lowest and the highest score that each video of a gallery can have.

All queries are multiplied with all rows at once, in the fastest way there is. A gallery may hold
each vector a second time, a byte a value (`ScreenRows`): processors with instructions for it
multiply these faster than they could read the vectors. Elsewhere the vectors are multiplied, in
bfloat16 where the processor has instructions for that (twice the rate of float32). The bounds are
those of the largest possible rounding error.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor

from prvr_model.inputs.processor import multiplies_bfloat16, multiplies_bytes
from prvr_model.inputs.torch_threads import in_threads
from prvr_model.retrieval.gallery import GalleryBatch, GalleryReader, ScreenRows

# Bytes of rows that are multiplied at once, also after they are converted: calls cost little
# against that, and the products are still in the processor's cache when the maximum is taken.
_PIECE_BYTES = 1 << 23
# A bfloat16 number has 8 significant bits: rounding changes it by 2^-8 of itself at most.
_ROUNDING = 2.0**-8
# More than the error of float32 sums of some hundred products.
_SUM_ERROR = 1e-5
# Of a byte with sign; -128 is left out.
_LARGEST_CODE = 127
# Norm of a row whose values were rounded to bfloat16, at most, and a little more.
_LARGEST_NORM = 1.01
# Videos that are rounded to bytes at a time: some megabytes.
_ROUNDED = 32


@torch.no_grad()
def bounds(
    gallery: GalleryReader, unit_queries: Float[Tensor, "queries hidden"]
) -> tuple[Float[Tensor, "queries videos"], Float[Tensor, "queries videos"]]:
    """The lowest and the highest score that each video of the reader's share can have.

    Args:
        gallery: The gallery.
        unit_queries: Query vectors of norm 1, float32.
    """
    if screens_bytes(gallery):
        middle, error = _by_bytes(gallery, unit_queries)
    else:
        middle, error = _by_vectors(gallery, unit_queries)
    # In place: at this size, memory that the system must zero costs more than the sums.
    return middle - error, middle.add_(error)


@torch.no_grad()
def bounds_among(
    gallery: GalleryReader,
    unit_queries: Float[Tensor, "queries hidden"],
    places: Int[np.ndarray, "videos"],
) -> tuple[Float[Tensor, "queries videos"], Float[Tensor, "queries videos"]]:
    """As `bounds`, of some videos of a gallery that `screens_bytes`.

    Args:
        gallery: The gallery.
        unit_queries: Query vectors of norm 1, float32.
        places: Which of the reader's share, ascending.
    """
    middle, error = _by_bytes(gallery, unit_queries, places)
    return middle - error, middle.add_(error)


def screens_bytes(gallery: GalleryReader) -> bool:
    """Whether the gallery has the bytes and the processor multiplies them fast."""
    return gallery.manifest.screen and multiplies_bytes()


def screen_rows(vectors: Float[Tensor, "videos rows hidden"]) -> ScreenRows:
    """Round vectors to bytes.

    Args:
        vectors: As the gallery holds them, bfloat16 or float32.
    """
    parts = [_rounded(some.float(), dims=(1, 2)) for some in vectors.split(_ROUNDED)]
    codes, steps, errors = (torch.cat(part) for part in zip(*parts, strict=True))
    return ScreenRows(codes, steps.flatten(), errors.amax(dim=1))


def _rounded(
    values: Float[Tensor, "*axes hidden"], dims: tuple[int, ...]
) -> tuple[Int8[Tensor, "*axes hidden"], Tensor, Float[Tensor, "*axes"]]:
    """Codes, the step between two of them, one over some axes, and the norm of what is lost."""
    largest = values.abs().amax(dim=dims, keepdim=True)
    steps = largest.clamp(min=torch.finfo(torch.float32).tiny * _LARGEST_CODE) / _LARGEST_CODE
    codes = (values / steps).round_()
    return codes.to(torch.int8), steps, torch.linalg.vector_norm(values - codes * steps, dim=-1)


def fused(
    clip: Float[Tensor, "*pairs"], frame: Float[Tensor, "*pairs"], gallery: GalleryReader
) -> Float[Tensor, "*pairs"]:
    """The score of clip and frame scores, as evaluation fuses them."""
    settings = gallery.settings
    return settings.clip_score_weight * clip + settings.frame_score_weight * frame


@dataclass(frozen=True)
class _Piece:
    """Some videos of a batch; `columns` counts all videos of the reader's share."""

    columns: slice
    batch: GalleryBatch
    rows: slice


def _scan(
    gallery: GalleryReader, itemsize: int, score: Callable[[_Piece, "_Memory"], None]
) -> None:
    """Call `score` with all pieces of a gallery, whose values take some bytes."""

    def work(pieces: Iterator[_Piece]) -> None:
        memory = _Memory()
        for piece in pieces:
            score(piece, memory)

    in_threads(list(_pieces(gallery, itemsize)), work)


def _pieces(gallery: GalleryReader, itemsize: int) -> Iterator[_Piece]:
    start = 0
    size = max(1, _PIECE_BYTES // (_rows_of(gallery) * gallery.manifest.hidden * itemsize))
    for batch in gallery.batches:
        for first in range(0, len(batch), size):
            count = min(size, len(batch) - first)
            yield _Piece(slice(start, start + count), batch, slice(first, first + count))
            start += count


class _Memory:
    """Buffers that every piece of a scan uses again: new memory costs more than the work on it."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        size = int(np.prod(shape))
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = torch.empty(size, dtype=dtype)
        return self._buffers[name][:size].view(shape)


def _by_bytes(
    gallery: GalleryReader,
    unit_queries: Float[Tensor, "queries hidden"],
    places: Int[np.ndarray, "videos"] | None = None,
) -> tuple[Float[Tensor, "queries videos"], Float[Tensor, "queries videos"]]:
    """The middle between the bounds, and half of what lies between them; of some videos or all."""
    queries, steps, lost = _rounded(unit_queries, dims=(1,))
    clips = gallery.manifest.num_clips
    count = gallery.num_videos if places is None else len(places)
    middle = unit_queries.new_empty((len(queries), count))

    def score(codes: Int8[Tensor, "videos rows hidden"], columns: slice, memory: _Memory) -> None:
        flat = codes.flatten(0, 1)
        products = memory.take("products", (len(queries), len(flat)), torch.int32)
        torch._int_mm(queries, flat.T, out=products)
        of_videos = products.unflatten(1, codes.shape[:2])
        branches = of_videos[..., :clips], of_videos[..., clips:]
        clip, frame = (branch.amax(dim=2).float() for branch in branches)
        middle[:, columns] = fused(clip, frame, gallery)

    def score_piece(piece: _Piece, memory: _Memory) -> None:
        score(_screen(piece.batch).codes[piece.rows], piece.columns, memory)

    # As if a value took four bytes: the products of many queries take more memory than the codes.
    if places is None:
        _scan(gallery, 4, score_piece)
    else:
        _scan_some(gallery, places, 4, score)
    row_steps, errors = gallery.screen_errors
    if places is not None:
        row_steps, errors = row_steps[places], errors[places]
    middle.mul_(row_steps).mul_(steps)
    # Query q = r + f, row x = y + e: <q, x> is <r, y> + <f, y> + <q, e>, and |q| is 1.
    both = fused(torch.ones(()), torch.ones(()), gallery)
    error = torch.addcmul(
        both * (errors + _SUM_ERROR), both * lost[:, None], _LARGEST_NORM + errors
    )
    return middle, error


def _scan_some(
    gallery: GalleryReader,
    places: Int[np.ndarray, "videos"],
    itemsize: int,
    score: Callable[[Int8[Tensor, "videos rows hidden"], slice, "_Memory"], None],
) -> None:
    """Call `score` with the codes of some videos, copied together piece by piece."""
    rows, hidden = _rows_of(gallery), gallery.manifest.hidden
    size = max(1, _PIECE_BYTES // (rows * hidden * itemsize))
    positions = gallery.positions[places]

    def work(starts: Iterator[int]) -> None:
        memory = _Memory()
        for start in starts:
            some = positions[start : start + size].tolist()
            codes = memory.take("codes", (len(some), rows, hidden), torch.int8)
            for k, position in enumerate(some):
                codes[k] = gallery.coded(position)
            score(codes, slice(start, start + len(some)), memory)

    in_threads(list(range(0, len(places), size)), work)


def _rows_of(gallery: GalleryReader) -> int:
    """Rows of a video."""
    return gallery.manifest.num_clips + gallery.manifest.num_frames


def _screen(batch: GalleryBatch) -> ScreenRows:
    assert batch.screen is not None  # the manifest says so
    return batch.screen


def _by_vectors(
    gallery: GalleryReader, unit_queries: Float[Tensor, "queries hidden"]
) -> tuple[Float[Tensor, "queries videos"], Float[Tensor, "queries videos"]]:
    """The same as `_by_bytes`."""
    dtype = _product_type(gallery, len(unit_queries))
    rounding = _ROUNDING if dtype == torch.bfloat16 else 0.0
    rounded = unit_queries.to(dtype)
    # |<q - r, x>| is at most |q - r| for any x of norm 1; the same of rows that are rounded.
    error = torch.linalg.vector_norm(unit_queries - rounded.float(), dim=1)[:, None] + _SUM_ERROR
    if gallery.manifest.dtype == "float32":
        error += rounding * (1 + rounding)
    middle, half = unit_queries.new_empty((2, len(unit_queries), gallery.num_videos))

    def score(piece: _Piece, memory: _Memory) -> None:
        branches = piece.batch.clips[piece.rows], piece.batch.frames[piece.rows]
        clip, frame = (_largest(rounded, rows, memory) for rows in branches)
        middle[:, piece.columns] = fused(clip, frame, gallery)
        clip, frame = (error + rounding * best.abs() for best in (clip, frame))
        half[:, piece.columns] = fused(clip, frame, gallery)

    vectors = getattr(torch, gallery.manifest.dtype)
    _scan(gallery, max(vectors.itemsize, dtype.itemsize), score)
    return middle, half


def _product_type(gallery: GalleryReader, num_queries: int) -> torch.dtype:
    """The type in which queries and rows are multiplied fastest."""
    # To convert float32 rows costs what it costs to multiply them with one query.
    is_worth_it = gallery.manifest.dtype == "bfloat16" or num_queries > 1
    return torch.bfloat16 if is_worth_it and multiplies_bfloat16() else torch.float32


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
