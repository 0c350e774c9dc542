"""The inverted file: exact scores of few videos, with the recall that it was asked for."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from prvr_model.errors import GalleryError
from prvr_model.retrieval import ivf
from prvr_model.retrieval.gallery import GalleryReader
from prvr_model.retrieval.gallery_format import read_gallery_manifest
from prvr_model.retrieval.gallery_writer import add_videos, remove_videos
from prvr_model.retrieval.ivf import InvertedFile, SampleQueries, build_index, sample_rows
from prvr_model.retrieval.search import search
from tests.benchmarks.made_gallery import blocks, made_settings, make_gallery, queries

VIDEOS, HIDDEN, EVENTS = 400, 16, 60
QUERIES = queries(HIDDEN, EVENTS, 50)
SETTINGS = made_settings(HIDDEN, 4, 8)


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # At the usual number of rows nothing of a small gallery is left out.
    monkeypatch.setattr(ivf, "_FIRST_ROWS", 128)
    make_gallery(tmp_path / "gallery", VIDEOS, SETTINGS, "float32", EVENTS)
    return tmp_path / "gallery"


@pytest.fixture
def samples() -> SampleQueries:
    return SampleQueries(QUERIES.numpy(), "made up")


def test_the_recall_that_is_stored_is_the_one_that_queries_have(
    gallery: Path, samples: SampleQueries
) -> None:
    build_index(gallery, samples, 0.97)
    reader = GalleryReader.open(gallery)
    about = reader.manifest.index
    assert about is not None
    exact, found = (
        tool(QUERIES) for tool in (lambda q: search(reader, q, 10),
                                           lambda q: InvertedFile(reader).search(q, 10))
    )  # fmt: skip
    shared = [np.isin(*pair).mean() for pair in zip(exact.positions, found.positions, strict=True)]
    assert about.recall == pytest.approx(np.mean(shared))
    assert about.recall >= about.wanted_recall == 0.97
    assert about.probes < about.lists
    assert 0 < about.scored_share < 0.6
    assert (about.queries, about.query_source) == (50, "made up")
    # What is found has the exact scan's score.
    for positions, scores in zip(found.positions, found.scores, strict=True):
        assert (np.diff(scores) <= 0).all()
        assert len(set(positions)) == 10
    np.testing.assert_allclose(found.scores[:, 0], exact.scores[:, 0], atol=1e-6)


def test_a_recall_of_one_is_reached_with_more_rows(gallery: Path, samples: SampleQueries) -> None:
    about = build_index(gallery, samples, 1.0).index
    assert about is not None
    assert about.recall == 1.0
    assert about.rows > 128 or about.probes > 1


def test_removed_videos_are_gone_and_added_ones_are_found(
    gallery: Path, samples: SampleQueries
) -> None:
    build_index(gallery, samples, 0.97)
    before = InvertedFile(GalleryReader.open(gallery)).search(QUERIES[:1], 3)
    best = list(GalleryReader.open(gallery).names())[before.positions[0, 0]]
    remove_videos(gallery, [best])
    # The same vectors once more, under other names and new ids.
    add_videos(gallery, blocks(VIDEOS, SETTINGS, EVENTS, "again"))
    reader = GalleryReader.open(gallery)
    assert reader.manifest.index is not None
    found = InvertedFile(reader).search(QUERIES[:1], 3)
    names = [list(reader.names())[row] for row in found.positions[0]]
    assert best not in names
    assert names[0] == best.replace("video", "again")
    np.testing.assert_allclose(found.scores[0, 0], before.scores[0, 0], atol=1e-6)


def test_more_videos_than_the_index_names_come_from_a_scan(
    gallery: Path, samples: SampleQueries
) -> None:
    build_index(gallery, samples, 0.5)
    reader = GalleryReader.open(gallery)
    remove_videos(gallery, list(reader.names())[:-5])
    left = InvertedFile(GalleryReader.open(gallery)).search(QUERIES[:4], 10)
    assert sorted(left.positions[0]) == [0, 1, 2, 3, 4]


def test_an_index_is_replaced_and_its_file_goes(gallery: Path, samples: SampleQueries) -> None:
    first = build_index(gallery, samples, 0.9).index
    second = build_index(gallery, sample_rows(GalleryReader.open(gallery), 20), 0.9).index
    assert first is not None
    assert second is not None
    assert [path.name for path in gallery.glob("*.faiss")] == [second.file]
    assert second.query_source == "rows of the gallery, noisy"


def test_what_an_index_needs_is_told(
    gallery: Path, samples: SampleQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GalleryError, match="has no index; make one with `gallery index`"):
        InvertedFile(GalleryReader.open(gallery))
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "faiss", None)
        with pytest.raises(GalleryError, match=r"pip install 'prvr-sweep\[index\]'"):
            build_index(gallery, samples, 0.9)
    file = gallery / (build_index(gallery, samples, 0.9).index or pytest.fail("none")).file
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(GalleryError, match=r"index-\w+.faiss is damaged .it has \d+ bytes"):
        InvertedFile(GalleryReader.open(gallery))
    file.write_bytes(b"x" * len(content))
    with pytest.raises(GalleryError, match=r"index-\w+.faiss is damaged .*make it again"):
        InvertedFile(GalleryReader.open(gallery))
    remove_videos(gallery, list(GalleryReader.open(gallery).names()))
    with pytest.raises(GalleryError, match="has no videos, so there is nothing to index"):
        build_index(gallery, samples, 0.9)
    assert read_gallery_manifest(gallery).num_videos == 0


def test_sample_rows_are_near_rows_of_the_gallery(gallery: Path) -> None:
    reader = GalleryReader.open(gallery)
    vectors = torch.from_numpy(sample_rows(reader, 30).vectors)
    torch.testing.assert_close(torch.linalg.vector_norm(vectors, dim=1), torch.ones(30))
    best = search(reader, vectors, 1).scores
    assert 0.5 < best.mean() < 0.99
