"""A gallery holds what evaluation ranks, and changes while readers go on."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from prvr_model.errors import GalleryError
from prvr_model.inputs.prepared_split import prepare_split
from prvr_model.network.model import MscModel
from prvr_model.network.model_file import load_exported
from prvr_model.network.similarity import unit_rows
from prvr_model.retrieval import gallery as gallery_module
from prvr_model.retrieval import gallery_writer
from prvr_model.retrieval.gallery import GalleryReader, Shard
from prvr_model.retrieval.gallery_encoding import EncodedBlock, SourceVideo, encoded_blocks
from prvr_model.retrieval.gallery_format import read_gallery_manifest
from prvr_model.retrieval.gallery_writer import add_videos, create_gallery, remove_videos
from prvr_model.retrieval.search import search
from prvr_model.store.reader import FeatureStore
from tests.prvr_model.retrieval.galleries import export_tiny, tiny_gallery, tiny_manifest, videos_of
from tests.prvr_model.tiny import VIDEO_DIM, tiny_settings


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return export_tiny(tmp_path / "gallery.model")


@pytest.fixture
def gallery(tmp_path: Path, export: Path, tiny_store: FeatureStore) -> Path:
    return tiny_gallery(tmp_path / "gallery", tiny_store)


def model_of_gallery(gallery: Path) -> MscModel:
    return load_exported(gallery / "model").build(torch.device("cpu"))


def blocks(gallery: Path, store: FeatureStore, split: str) -> Iterator[EncodedBlock]:
    return encoded_blocks(model_of_gallery(gallery), videos_of(store, split))


def names(gallery: Path) -> list[str]:
    return list(GalleryReader.open(gallery).names())


def files(gallery: Path) -> set[str]:
    return {path.name for path in gallery.iterdir()}


def test_times_clips_names_and_thumbnails_of_each_video(
    gallery: Path, tiny_store: FeatureStore
) -> None:
    reader, split = GalleryReader.open(gallery), tiny_store.split("val")
    wanted = np.array([5, 0, 5])
    about = reader.videos(wanted)
    assert list(about.names) == [split.video_ids[row] for row in wanted]
    assert list(about.ids) == [5, 0, 5]
    np.testing.assert_allclose(about.durations_s, split.num_frames[wanted] / 2)
    assert (about.times.starts_s[:, 0] == 0).all()
    np.testing.assert_allclose(about.times.ends_s[:, -1], about.durations_s)
    prepared = prepare_split(tiny_store, "val", tiny_settings())
    np.testing.assert_array_equal(about.clip_of_frame, prepared.frame_to_clip[wanted])
    assert reader.thumbnail(5) == f"jpeg of {split.video_ids[5]}".encode()


def test_bfloat16_rounds_each_value_once(
    tmp_path: Path, gallery: Path, tiny_store: FeatureStore
) -> None:
    short = tiny_gallery(tmp_path / "short", tiny_store, dtype="bfloat16")
    exact, rounded = (GalleryReader.open(path) for path in (gallery, short))
    # Another model made the second one; the same videos through the first one's weights:
    create_gallery(
        tmp_path / "third",
        tiny_manifest(gallery / "model", "bfloat16"),
        gallery / "model",
        blocks(gallery, tiny_store, "val"),
    )
    third = GalleryReader.open(tmp_path / "third")
    assert rounded.batches[0].clips.dtype == third.batches[0].clips.dtype == torch.bfloat16
    assert torch.equal(third.batches[0].frames, exact.batches[0].frames.bfloat16())


def test_bytes_of_the_screen_lie_beside_the_vectors_through_all_changes(
    tmp_path: Path, gallery: Path, tiny_store: FeatureStore
) -> None:
    # A gallery of before has no word of a screen, and gets none by a change.
    old = tmp_path / "old"
    create_gallery(
        old,
        tiny_manifest(gallery / "model", screen=False),
        gallery / "model",
        blocks(gallery, tiny_store, "val"),
    )
    described = json.loads((old / "gallery.json").read_bytes())
    del described["screen"]
    (old / "gallery.json").write_text(json.dumps(described))
    for path in (gallery, old):
        remove_videos(path, [tiny_store.split("val").video_ids[0]])
        add_videos(path, blocks(gallery, tiny_store, "train"))
    assert all(batch.screen is None for batch in GalleryReader.open(old).batches)
    for batch in GalleryReader.open(gallery).batches:
        assert batch.screen is not None
        exact = torch.cat([batch.clips, batch.frames], dim=1)
        rounded = batch.screen.codes * batch.screen.steps[:, None, None]
        lost = torch.linalg.vector_norm(exact - rounded, dim=2).amax(dim=1)
        torch.testing.assert_close(lost, batch.screen.errors)
        assert 0 < lost.max() < 0.02
    readers = [GalleryReader.open(path) for path in (gallery, old)]
    queries = unit_rows(torch.randn(3, readers[0].manifest.hidden))
    with_screen, without = (search(reader, queries, 7) for reader in readers)
    np.testing.assert_array_equal(with_screen.positions, without.positions)
    np.testing.assert_array_equal(with_screen.scores, without.scores)


def test_a_reader_goes_on_while_videos_come_and_go(gallery: Path, tiny_store: FeatureStore) -> None:
    before = GalleryReader.open(gallery)
    val, train = tiny_store.split("val").video_ids, tiny_store.split("train").video_ids
    frames = before.batches[0].frames.clone()
    remove_videos(gallery, [val[0], val[3]])
    add_videos(gallery, blocks(gallery, tiny_store, "train"))
    kept = [name for name in val if name not in (val[0], val[3])]
    assert names(gallery) == [*kept, *train]
    after = GalleryReader.open(gallery)
    # Ids name a video for ever.
    assert after.ids.tolist() == [1, 2, 4, 5, 6, 7, *range(8, 20)]
    assert torch.equal(after.batches[0].frames, frames[[1, 2, 4, 5, 6, 7]])
    assert list(before.names()) == list(val)
    assert torch.equal(before.batches[0].frames, frames)
    assert after.manifest.revision == 3
    assert len(list(gallery.glob("*.arrow"))) == 2


def test_a_part_without_videos_is_dropped(gallery: Path, tiny_store: FeatureStore) -> None:
    add_videos(gallery, blocks(gallery, tiny_store, "train"))
    remove_videos(gallery, tiny_store.split("val").video_ids)
    assert names(gallery) == list(tiny_store.split("train").video_ids)
    remove_videos(gallery, tiny_store.split("train").video_ids)
    assert names(gallery) == []
    assert not list(gallery.glob("*.arrow"))


def test_a_name_that_is_there_or_unknown_changes_nothing(
    gallery: Path, tiny_store: FeatureStore
) -> None:
    there, before = files(gallery), names(gallery)
    with pytest.raises(GalleryError, match=f"video '{before[0]}' comes twice, or is in"):
        add_videos(gallery, blocks(gallery, tiny_store, "val"))
    near = before[1][:-1]
    with pytest.raises(GalleryError, match=f"has no video '{near}'; did you mean .*removed"):
        remove_videos(gallery, [before[0], near])
    assert files(gallery) == there
    assert read_gallery_manifest(gallery).revision == 1


def test_a_change_that_dies_leaves_the_gallery_and_its_files_go_with_the_next(
    gallery: Path, tiny_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names(gallery)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(gallery_writer, "replace_file", full)
        with pytest.raises(GalleryError, match=r"cannot write .*No space left.*nothing was"):
            add_videos(gallery, blocks(gallery, tiny_store, "train"))
    (gallery / "part-00000000dead.arrow").write_bytes(b"left by a process that was killed")
    assert names(gallery) == before
    assert len(list(gallery.glob("*.arrow"))) == 2
    remove_videos(gallery, [before[0]])
    assert len(list(gallery.glob("*.arrow"))) == 1


def test_changes_of_two_processes_come_one_after_the_other(
    gallery: Path, tiny_store: FeatureStore
) -> None:
    before = names(gallery)
    work: list[Callable[[], object]] = [
        lambda: remove_videos(gallery, [before[0]]),
        lambda: add_videos(gallery, blocks(gallery, tiny_store, "train")),
        lambda: remove_videos(gallery, [before[1]]),
    ]
    threads = [threading.Thread(target=change) for change in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(gallery) == [*before[2:], *tiny_store.split("train").video_ids]
    assert read_gallery_manifest(gallery).revision == 4


def test_a_part_that_goes_while_a_reader_opens_is_no_damage(
    gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, first = gallery_module.read_gallery_manifest, names(gallery)[0]

    def slow(path: Path) -> object:
        manifest = real(path)
        if manifest.revision == 1:
            remove_videos(gallery, [first])
        return manifest

    monkeypatch.setattr(gallery_module, "read_gallery_manifest", slow)
    assert GalleryReader.open(gallery).manifest.revision == 2


def test_large_galleries_have_several_batches_and_parts_and_shards_share_them(
    tmp_path: Path, export: Path, tiny_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_writer, "_BATCH_BYTES", 1)
    monkeypatch.setattr(gallery_writer, "_PART_BYTES", 8_000)
    made = [next(encoded_blocks(load_exported(export).build(torch.device("cpu")), [video]))
            for video in videos_of(tiny_store, "train")]  # fmt: skip
    manifest = create_gallery(tmp_path / "large", tiny_manifest(export), export, made)
    assert len(manifest.parts) > 2
    whole = GalleryReader.open(tmp_path / "large")
    assert len(whole.batches) == 12
    shards = [GalleryReader.open(tmp_path / "large", Shard(index, 3)) for index in range(3)]
    assert sorted(int(row) for shard in shards for row in shard.positions) == list(range(12))
    assert list(shards[1].names()) == [*whole.names()][1::3]
    place = np.array([4])
    assert torch.equal(shards[1].vectors(place)[0], whole.vectors(place)[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.zeros((0, VIDEO_DIM))}, "video 'v': has no rows of features"),
        ({"features": np.zeros((3, 5))}, "video 'v': its rows have 5 values, the model takes 12"),
        ({"features": np.full((3, VIDEO_DIM), np.nan)}, "video 'v': its vectors are not finite"),
    ],
)
def test_a_video_that_cannot_be_encoded_is_named(
    gallery: Path, changes: dict[str, np.ndarray], message: str
) -> None:
    video = replace(SourceVideo("v", np.ones((3, VIDEO_DIM), np.float32)), **changes)
    before = names(gallery)
    with pytest.raises(GalleryError, match=message):
        add_videos(gallery, encoded_blocks(model_of_gallery(gallery), [video]))
    assert names(gallery) == before


def damaged(gallery: Path, **changes: object) -> None:
    file = gallery / "gallery.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_what_is_no_gallery_is_told(
    gallery: Path, tmp_path: Path, tiny_store: FeatureStore
) -> None:
    with pytest.raises(GalleryError, match=r"there is no gallery at .*nowhere"):
        GalleryReader.open(tmp_path / "nowhere")
    with pytest.raises(GalleryError, match="exists; `prvr-sweep gallery add"):
        tiny_gallery(gallery, tiny_store)
    part = next(gallery.glob("part-*"))
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    with pytest.raises(GalleryError, match=r"bytes instead of \d+; build"):
        GalleryReader.open(gallery)
    part.write_bytes(b"x" * len(content))
    with pytest.raises(GalleryError, match=r"damaged: part-\w+.arrow: Not an Arrow file"):
        GalleryReader.open(gallery)
    part.unlink()
    with pytest.raises(GalleryError, match=r"damaged: .*part-\w+.arrow is missing"):
        GalleryReader.open(gallery)
    damaged(gallery, parts=[{"file": "../part.arrow"}])
    with pytest.raises(GalleryError, match=r"damaged \(at parts.0.file"):
        GalleryReader.open(gallery)
    damaged(gallery, format="another")
    with pytest.raises(GalleryError, match=r"is not a gallery: gallery.json is of another kind"):
        GalleryReader.open(gallery)
    damaged(gallery, format="prvr-sweep gallery", format_version=9)
    with pytest.raises(GalleryError, match="has format version 9, this prvr-sweep reads version 1"):
        GalleryReader.open(gallery)
