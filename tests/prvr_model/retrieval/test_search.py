"""Search ranks as evaluation does, and no block, type or share of the files changes that."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from prvr_model.inputs.prepared_split import prepare_split
from prvr_model.network.model import EncodedVideos
from prvr_model.network.model_file import load_exported
from prvr_model.network.similarity import unit_rows
from prvr_model.retrieval import gallery_writer
from prvr_model.retrieval import screen as screen_module
from prvr_model.retrieval import search as search_module
from prvr_model.retrieval.caption_embedder import CaptionEmbedder
from prvr_model.retrieval.evaluation import build_relevance, evaluate
from prvr_model.retrieval.gallery import GalleryReader
from prvr_model.retrieval.gallery_encoding import encoded_blocks
from prvr_model.retrieval.gallery_writer import create_gallery
from prvr_model.retrieval.search import cosines, search, search_among
from prvr_model.settings import SpeedSettings
from prvr_model.store.reader import FeatureStore
from prvr_model.store.synthetic import SyntheticSettings, write_synthetic
from tests.prvr_model.retrieval.galleries import export_tiny, tiny_gallery, tiny_manifest, videos_of
from tests.prvr_model.tiny import TINY_DATA, tiny_settings


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """More videos than are encoded at once."""
    path = tmp_path_factory.mktemp("stores") / "store"
    sizes = {**TINY_DATA.model_dump(), "val_videos": 90}
    write_synthetic(path, SyntheticSettings.model_validate(sizes))
    return FeatureStore.open(path)


def tokens(store: FeatureStore) -> list[np.ndarray]:
    split = store.split("val")
    return [split.tokens(row) for row in range(len(split.caption_ids))]


def test_each_caption_of_a_split_has_the_rank_that_evaluation_gives(
    tmp_path: Path, store: FeatureStore
) -> None:
    settings = tiny_settings(model__clip_score_weight=0.3, model__frame_score_weight=0.5)
    export = export_tiny(tmp_path / "model", settings)
    model = load_exported(export).build(torch.device("cpu"))
    path = tmp_path / "gallery"
    blocks = encoded_blocks(model, videos_of(store, "val"))
    create_gallery(path, tiny_manifest(export), export, blocks)
    split = store.split("val")
    prepared = prepare_split(store, "val", settings)
    relevance = build_relevance(split, settings.evaluation)
    wanted = evaluate(model, prepared, relevance, SpeedSettings()).ranks
    gallery, embedder = GalleryReader.open(path), CaptionEmbedder.load(path / "model")
    # One sentence at a time, as they are typed, and all at once.
    alone = [embedder.embed_each([rows]) for rows in tokens(store)]
    for queries in (alone, [embedder.embed_each(tokens(store))]):
        hits = [search(gallery, torch.from_numpy(vectors), 90).positions for vectors in queries]
        found = np.concatenate(hits) == np.array(split.caption_video)[:, None]
        np.testing.assert_array_equal(found.argmax(axis=1) + 1, wanted)
    assert len(set(wanted.tolist())) > 20


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Made":
    monkeypatch.setattr(gallery_writer, "_BATCH_BYTES", 7_000)
    monkeypatch.setattr(screen_module, "_PIECE_BYTES", 3_000)
    monkeypatch.setattr(search_module, "_QUERIES", 4)
    return Made(tmp_path)


class Made:
    """Galleries of random vectors, with what a slow, obvious search finds in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.export = export_tiny(folder / "model")
        self.queries = unit_rows(torch.randn(9, 16))

    def gallery(
        self, dtype: str, clips: torch.Tensor, frames: torch.Tensor, screen: bool = True
    ) -> GalleryReader:
        block = next(
            encoded_blocks(
                load_exported(self.export).build(torch.device("cpu")),
                [_video(number) for number in range(len(clips))],
            )
        )
        blocks = [
            replace(
                block,
                names=block.names[start : start + 4],
                durations_s=block.durations_s[start : start + 4],
                times=block.times.of(np.arange(start, min(start + 4, len(clips)))),
                clip_of_frame=block.clip_of_frame[start : start + 4],
                thumbnails=block.thumbnails[start : start + 4],
                vectors=EncodedVideos(clips[start : start + 4], frames[start : start + 4]),
            )
            for start in range(0, len(clips), 4)
        ]
        manifest = tiny_manifest(self.export, dtype, screen)
        create_gallery(self.folder / dtype, manifest, self.export, blocks)
        return GalleryReader.open(self.folder / dtype)

    def expected(self, gallery: GalleryReader) -> torch.Tensor:
        parts = [torch.cat([getattr(batch, name) for batch in gallery.batches]).double()
                 for name in ("clips", "frames")]  # fmt: skip
        clip, frame = (
            torch.einsum("qh,vrh->qvr", self.queries.double(), rows).amax(dim=2) for rows in parts
        )
        return 0.4 * clip + 0.6 * frame


def _video(number: int) -> "object":
    from prvr_model.retrieval.gallery_encoding import SourceVideo

    rng = np.random.default_rng(number)
    return SourceVideo(f"v{number}", rng.standard_normal((5, 12)).astype(np.float32))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("multiplies", ["bytes", "bfloat16", "float32"])
@pytest.mark.parametrize(("closeness", "threads"), [(1.0, 1), (1.0, 3), (1e-3, 3)])
def test_search_equals_the_obvious_search(
    made: Made,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    multiplies: str,
    closeness: float,
    threads: int,
) -> None:
    # Processors without instructions for bytes have no part in that: torch may saturate there.
    if multiplies != "bytes":
        monkeypatch.setattr(screen_module, "multiplies_bytes", lambda: False)
    monkeypatch.setattr(screen_module, "multiplies_bfloat16", lambda: multiplies == "bfloat16")
    # Close videos differ by less than a screen's rounding: it must let them all pass.
    centre = torch.randn(1, 1, 16)
    clips, frames = (unit_rows(centre + closeness * torch.randn(30, rows, 16)) for rows in (8, 16))
    gallery = made.gallery(dtype, clips, frames)
    expected = made.expected(gallery)
    torch.set_num_threads(threads)
    together = search(gallery, made.queries, 5)
    for number, query in enumerate(made.queries):
        [alone], [scores] = vars(search(gallery, query[None], 5)).values()
        # What else is asked changes nothing.
        np.testing.assert_array_equal(together.positions[number], alone)
        np.testing.assert_array_equal(together.scores[number], scores)
        found = expected[number][torch.from_numpy(alone)]
        best = expected[number].sort(descending=True).values[:5]
        torch.testing.assert_close(found, best, atol=1e-6, rtol=0)
        np.testing.assert_allclose(scores, found, atol=1e-6)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("count", "screen"), [(1, False), (9, False), (1, True), (9, True)])
def test_every_score_lies_between_narrow_bounds(
    made: Made, dtype: str, count: int, screen: bool
) -> None:
    # A row of a single 1 makes the steps of its video wide, one of zeros makes no step.
    sharp, nothing = torch.eye(16)[:8].expand(1, 8, 16), torch.zeros(1, 8, 16)
    clips = torch.cat([unit_rows(torch.randn(58, 8, 16)), sharp, nothing])
    frames = torch.cat([unit_rows(torch.randn(59, 16, 16)), torch.zeros(1, 16, 16)])
    gallery = made.gallery(dtype, clips, frames, screen)
    lowest, highest = screen_module.bounds(gallery, made.queries[:count])
    expected = made.expected(gallery)[:count]
    assert (lowest <= expected).all()
    assert (expected <= highest).all()
    # bfloat16 has about three digits, a byte has two.
    assert (highest - lowest).max() < (0.06 if screen else 0.03)


def test_of_equal_scores_the_first_comes_first(made: Made) -> None:
    # Rows of one 1 and zeros: no order of a sum rounds differently.
    same = torch.eye(16)[torch.arange(24) % 16].expand(30, 24, 16)
    for dtype in ("float32", "bfloat16"):
        gallery = made.gallery(dtype, same[:, :8], same[:, 8:])
        for queries in (made.queries, made.queries[:1]):
            assert (search(gallery, queries, 7).positions == np.arange(7)).all()


def test_some_videos_are_searched_and_compared_alone(made: Made) -> None:
    clips, frames = (unit_rows(torch.randn(30, rows, 16)) for rows in (8, 16))
    gallery = made.gallery("float32", clips, frames)
    places = np.array([2, 7, 8, 21, 29])
    expected = made.expected(gallery)[0]
    found = search_among(gallery, made.queries[0], places, 3)
    wanted = places[np.argsort(-expected[places].numpy())[:3]]
    np.testing.assert_array_equal(found.positions[0], wanted)
    some = np.array([[21, 2, 8], [7, 2, 0]])
    pairs = cosines(gallery, made.queries[:2], some)
    queries = made.queries[:2].repeat_interleave(3, dim=0)
    for found, rows in ((pairs.frames, frames), (pairs.clips, clips)):
        wanted = torch.einsum("prh,ph->pr", rows[some.reshape(-1)], queries)
        torch.testing.assert_close(found, wanted)


def test_more_videos_than_there_are_and_none(tmp_path: Path, store: FeatureStore) -> None:
    gallery = GalleryReader.open(tiny_gallery(tmp_path / "gallery", store))
    queries = unit_rows(torch.randn(2, 16))
    assert search(gallery, queries, 1000).positions.shape == (2, 90)
    gallery_writer.remove_videos(gallery.path, list(gallery.names()))
    empty = GalleryReader.open(gallery.path)
    assert search(empty, queries, 3).positions.shape == (2, 0)
    assert search(empty, queries[:0], 3).positions.shape == (0, 0)
