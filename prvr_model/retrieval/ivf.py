"""An inverted file over a gallery's clips and frames: few videos are scored instead of all.

faiss groups the rows around centroids and keeps a short code of each (a byte for four values). A
query looks into the lists of the nearest centroids; the videos of the rows that seem best are then
scored exactly, so scores are those of the exact scan, and the index can only miss videos. How many
lists and rows a query looks at is chosen when the index is made: the fewest with which sample
queries find the wanted share of their exact top 10, in the worst case all.

The index knows ids, not positions: removed videos drop out, and videos that were added after it
was made are always scored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil, isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from prvr_model.errors import GalleryError
from prvr_model.network.similarity import unit_rows
from prvr_model.retrieval.gallery import GalleryReader
from prvr_model.retrieval.gallery_format import GalleryIndex, GalleryManifest
from prvr_model.retrieval.gallery_writer import change_gallery, new_file
from prvr_model.retrieval.search import Hits, search, search_among, stacked

TOP = 10
"""Depth of the recall that is measured."""
DEFAULT_RECALL = 0.99
NUM_SAMPLES = 200
"""Sample queries: the standard error of a recall of 0.99 is below 0.004."""
# Values of a vector that share a byte of its code.
_VALUES_PER_BYTE = 4
# K-means on more rows than this per centroid, or for longer, gains nothing that a query notices.
_TRAINED_ROWS = 32
_ITERATIONS = 5
# Lists by the root of the number of rows. More: fewer codes are read until the best rows are found.
_LISTS_BY_ROOT = 4
# Rows whose videos are scored; a video has dozens of rows that show the same.
_FIRST_ROWS = 1024
# Videos whose rows are taken at a time while the index is made.
_BLOCK = 256
# Length of the noise that is added to a row of norm 1 to make a query of it: about what lies
# between a caption and its best clip in a trained model (a cosine of 0.8).
_NOISE = 0.7


@dataclass(frozen=True)
class SampleQueries:
    """Queries that an index is measured with.

    Args:
        vectors: Of norm 1.
        source: What they are, in words.
    """

    vectors: Float[np.ndarray, "queries hidden"]
    source: str


class InvertedFile:
    """The index of an open gallery.

    Args:
        gallery: The gallery.

    Raises:
        GalleryError: It has none, the index is damaged, or faiss is missing.
    """

    def __init__(self, gallery: GalleryReader) -> None:
        about = gallery.manifest.index
        if about is None:
            raise GalleryError(f"{gallery.path} has no index; make one with `gallery index`")
        self._gallery = gallery
        self._rows = about.rows
        self._index = _read(gallery.path / about.file, about)
        self._index.nprobe = about.probes
        self._tail = np.flatnonzero(gallery.ids >= about.covers_below)

    def search(self, unit_queries: Float[Tensor, "queries hidden"], top: int) -> Hits:
        """The best videos among those that the index names; see `search.search`."""
        top = min(top, self._gallery.num_videos)
        # A wish for more videos than usual takes more rows.
        rows = self._rows * max(1, ceil(top / TOP))
        named = _named(self._index, unit_queries, rows, self._gallery)
        pairs = zip(unit_queries, named, strict=True)
        found = [self._searched(query, ids, top) for query, ids in pairs]
        return stacked([(hits.positions[0], hits.scores[0]) for hits in found], top)

    def _searched(
        self, query: Float[Tensor, "hidden"], ids: Int[np.ndarray, "videos"], top: int
    ) -> Hits:
        rows = np.searchsorted(self._gallery.ids, ids)
        rows = rows[rows < len(self._gallery.ids)]
        there = rows[np.isin(self._gallery.ids[rows], ids, assume_unique=True)]
        places = np.union1d(there, self._tail)
        if len(places) < top:  # most of what the index named was removed
            return search(self._gallery, query[None], top)
        return search_among(self._gallery, query, places, top)


def sample_rows(gallery: GalleryReader, count: int = NUM_SAMPLES) -> SampleQueries:
    """Queries for a gallery of which no captions are known: rows of it, with noise."""
    rng = np.random.default_rng(0)
    places = np.sort(rng.choice(gallery.num_videos, min(count, gallery.num_videos), replace=False))
    clips, _ = gallery.vectors(gallery.positions[places])
    chosen = torch.from_numpy(rng.integers(clips.shape[1], size=len(clips)))
    rows = clips[torch.arange(len(clips)), chosen]
    noise = rng.standard_normal(rows.shape).astype(np.float32) * (_NOISE / rows.shape[1] ** 0.5)
    return SampleQueries(
        unit_rows(rows + torch.from_numpy(noise)).numpy(), "rows of the gallery, noisy"
    )


def build_index(path: Path, samples: SampleQueries, recall: float) -> GalleryManifest:
    """Make a gallery's index, or make it anew.

    Args:
        path: Folder of the gallery.
        samples: Queries that it is measured with.
        recall: Share of a sample query's exact top 10 that must be found, on average.

    Raises:
        GalleryError: faiss is missing, or the gallery is empty or cannot be written.
    """
    faiss()
    return change_gallery(path, partial(_indexed, path, samples, recall))


def _indexed(
    path: Path, samples: SampleQueries, recall: float, manifest: GalleryManifest
) -> GalleryManifest:
    gallery = GalleryReader.open(path)
    if not gallery.num_videos:
        raise GalleryError(f"{path} has no videos, so there is nothing to index")
    index = _made(gallery)
    effort = _least_effort(index, gallery, torch.from_numpy(samples.vectors), recall)
    file = new_file("index", "faiss")
    faiss().write_index(index, str(path / file))
    about = GalleryIndex(
        file=file,
        size_bytes=(path / file).stat().st_size,
        covers_below=manifest.next_id,
        lists=index.nlist,
        probes=effort.probes,
        rows=effort.rows,
        recall=effort.recall,
        wanted_recall=recall,
        queries=len(samples.vectors),
        query_source=samples.source,
        scored_share=effort.scored_share,
    )
    return manifest.model_copy(update={"index": about})


def faiss() -> Any:  # noqa: ANN401  (it has no types)
    """The library, of the extra `index`.

    Raises:
        GalleryError: It cannot be imported.
    """
    try:
        import faiss as library
    except ImportError as error:
        raise GalleryError(
            f"an index needs faiss, which cannot be imported here ({error}); install it with `pip "
            "install 'prvr-sweep[index]'`"
        ) from error
    return library


def _read(file: Path, about: GalleryIndex) -> Any:  # noqa: ANN401
    library = faiss()
    try:
        if (size := file.stat().st_size) != about.size_bytes:
            raise OSError(f"it has {size} bytes instead of {about.size_bytes}")
        flags = library.IO_FLAG_MMAP | library.IO_FLAG_READ_ONLY
        return library.read_index(str(file), flags)
    except (OSError, RuntimeError) as error:
        raise GalleryError(f"{file} is damaged ({error}); make it again") from error


def _made(gallery: GalleryReader) -> Any:  # noqa: ANN401
    """The index of all rows; a row's id is its video's id and its place in the video."""
    library, hidden = faiss(), gallery.manifest.hidden
    num_rows = gallery.num_videos * _rows_per_video(gallery)
    num_lists = max(1, _LISTS_BY_ROOT * isqrt(num_rows))
    sample = _sampled_rows(gallery, num_lists * _TRAINED_ROWS)
    tree = _Tree(sample, num_lists)
    num_bytes = hidden // _VALUES_PER_BYTE if hidden % _VALUES_PER_BYTE == 0 else 1
    # A code of 8 bits wants 256 different rows to learn from.
    bits = min(8, num_rows.bit_length() - 1)
    centroids = _exact(tree.centroids)
    index = library.IndexIVFPQ(
        centroids, hidden, centroids.ntotal, num_bytes, bits, library.METRIC_INNER_PRODUCT
    )
    codes = index.pq.cp
    codes.niter, codes.min_points_per_centroid = _ITERATIONS, 1
    codes.max_points_per_centroid = _TRAINED_ROWS
    index.train(sample)
    for ids, videos in _all_rows(gallery):
        rows = videos.flatten(0, 1).numpy()
        names = ids[:, None] * videos.shape[1] + np.arange(videos.shape[1])
        arrays = (rows, names, tree.lists_of(rows))  # they must live longer than pointers to them
        index.add_core(len(rows), *map(library.swig_ptr, arrays))
    return index


class _Tree:
    """Centroids in two levels: a row is compared with those of the cell that is nearest to it.

    With L centroids this takes about 2 sqrt(L) comparisons a row instead of L, in k-means and in
    assigning rows. Where another cell has a centroid that is a little nearer, the row is found by
    the queries that look there, which the measured recall counts.
    """

    def __init__(self, rows: Float[np.ndarray, "rows hidden"], num_lists: int) -> None:
        self._cells = _means(rows, isqrt(num_lists))
        shares = _by_nearest(self._cells, rows)
        # A cell that no row is nearest to has no centroids of its own.
        self._cells = _exact(_vectors(self._cells)[list(shares)])
        shares = dict(enumerate(shares.values()))
        self._parts = {
            cell: _means(rows[share], round(num_lists * len(share) / len(rows)))
            for cell, share in shares.items()
        }
        counts = [part.ntotal for part in self._parts.values()]
        self._starts = dict(zip(self._parts, np.cumsum([0, *counts[:-1]]), strict=True))
        self.centroids = np.concatenate([_vectors(part) for part in self._parts.values()])

    def lists_of(self, rows: Float[np.ndarray, "rows hidden"]) -> Int[np.ndarray, "rows"]:
        """The list that each row belongs to."""
        found = np.empty(len(rows), np.int64)
        for cell, share in _by_nearest(self._cells, rows).items():
            found[share] = self._starts[cell] + self._parts[cell].search(rows[share], 1)[1][:, 0]
        return found


def _means(rows: Float[np.ndarray, "rows hidden"], count: int) -> Any:  # noqa: ANN401
    """An exact index of centroids of some rows, by k-means of cosines."""
    count = min(max(1, count), len(rows))
    kmeans = faiss().Kmeans(
        rows.shape[1],
        count,
        niter=_ITERATIONS,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=_TRAINED_ROWS,
    )
    kmeans.train(rows)
    return kmeans.index


def _exact(vectors: Float[np.ndarray, "rows hidden"]) -> Any:  # noqa: ANN401
    index = faiss().IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def _vectors(index: Any) -> Float[np.ndarray, "rows hidden"]:  # noqa: ANN401
    found: np.ndarray = index.reconstruct_n(0, index.ntotal)
    return found


def _by_nearest(
    index: Any,  # noqa: ANN401
    rows: Float[np.ndarray, "rows hidden"],
) -> dict[int, Int[np.ndarray, "share"]]:
    """Numbers of the rows that are nearest to each vector of an index; those with none left out."""
    nearest = index.search(rows, 1)[1][:, 0]
    order = np.argsort(nearest, kind="stable")
    names, starts = np.unique(nearest[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True))


def _rows_per_video(gallery: GalleryReader) -> int:
    return gallery.manifest.num_clips + gallery.manifest.num_frames


def _sampled_rows(gallery: GalleryReader, count: int) -> Float[np.ndarray, "rows hidden"]:
    """Some rows of some videos; all rows of a small gallery."""
    per_video = _rows_per_video(gallery)
    rng = np.random.default_rng(0)
    # Neighbouring rows of a video are alike: many videos, some rows of each.
    videos = min(gallery.num_videos, max(1, count // 8))
    kept = min(per_video, -(-count // videos))
    places = np.sort(rng.choice(gallery.num_videos, videos, replace=False))
    parts = []
    for start in range(0, videos, _BLOCK):
        rows = torch.cat(gallery.vectors(gallery.positions[places[start : start + _BLOCK]]), dim=1)
        chosen = rng.permuted(np.tile(np.arange(per_video), (len(rows), 1)), axis=1)[:, :kept]
        parts.append(rows[torch.arange(len(rows))[:, None], torch.from_numpy(chosen)].flatten(0, 1))
    return torch.cat(parts).numpy()


def _all_rows(
    gallery: GalleryReader,
) -> Iterator[tuple[Int[np.ndarray, "videos"], Float[Tensor, "videos rows hidden"]]]:
    for start in range(0, gallery.num_videos, _BLOCK):
        places = slice(start, start + _BLOCK)
        yield gallery.ids[places], torch.cat(gallery.vectors(gallery.positions[places]), dim=1)


def _named(
    index: Any,  # noqa: ANN401
    unit_queries: Float[Tensor, "queries hidden"],
    rows: int,
    gallery: GalleryReader,
) -> list[Int[np.ndarray, "videos"]]:
    """Ids of the videos of the best rows of each query, ascending."""
    _, found = index.search(unit_queries.numpy(), min(rows, index.ntotal))
    # Where the lists have fewer rows, the rest is -1.
    return [np.unique(row[row >= 0] // _rows_per_video(gallery)) for row in found]


@dataclass(frozen=True)
class _Effort:
    """How many lists and rows a query looks at, and what came of it over the sample queries."""

    probes: int
    rows: int
    recall: float
    scored_share: float


def _least_effort(
    index: Any,  # noqa: ANN401
    gallery: GalleryReader,
    unit_queries: Float[Tensor, "queries hidden"],
    recall: float,
) -> _Effort:
    """The least effort with which the wanted share of each exact top 10 is named, on average."""
    exact = search(gallery, unit_queries, TOP).positions
    wanted = gallery.ids[np.searchsorted(gallery.positions, exact)]
    rows = _FIRST_ROWS
    while True:
        for probes in _doubling(index.nlist):
            index.nprobe = probes
            named = _named(index, unit_queries, rows, gallery)
            pairs = zip(wanted, named, strict=True)
            found = float(np.mean([np.isin(videos, ids).mean() for videos, ids in pairs]))
            # All rows of all lists name all videos.
            if found >= recall or (rows >= index.ntotal and probes == index.nlist):
                share = float(np.mean([len(ids) for ids in named]) / gallery.num_videos)
                return _Effort(probes, rows, found, share)
        rows *= 4


def _doubling(last: int) -> Iterator[int]:
    """1, 2, 4 and so on, and the last."""
    number = 1
    while number < last:
        yield number
        number *= 2
    yield last
