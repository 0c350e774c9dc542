"""Stores: what is written is read, nothing is copied, damage is told."""

import json
import struct
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prvr_model.errors import StoreError
from prvr_model.store import arrow_file
from prvr_model.store.format import DTypeName
from prvr_model.store.reader import FeatureStore
from prvr_model.store.writer import StoreWriter

DIM = 3


def write(path: Path, frames: list[np.ndarray], *, overwrite: bool = False) -> FeatureStore:
    with StoreWriter(path, name="t", video_dim=DIM, text_dim=DIM, overwrite=overwrite) as writer:
        for number, rows in enumerate(frames):
            writer.add_video("train", f"v{number}", rows)
            writer.add_caption("train", f"v{number}#0", f"v{number}", f"text {number}", rows[:1])
    return FeatureStore.open(path)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    rows = np.arange(4 * DIM, dtype=np.float16).reshape(4, DIM)
    return write(tmp_path / "s", [rows, rows[:2] + 1])


def matrices(dtype: str) -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(st.integers(1, 5), st.just(DIM))
    width = 16 if dtype == "float16" else 32
    finite = st.floats(allow_nan=False, allow_infinity=False, width=width)
    return hnp.arrays(dtype, shapes, elements=finite)


Video: TypeAlias = tuple[np.ndarray, list[tuple[str, np.ndarray]]]
Content: TypeAlias = tuple[DTypeName, list[Video]]


@st.composite
def contents(draw: st.DrawFn) -> Content:
    dtype = draw(st.sampled_from(["float16", "float32"]))
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    captions = st.lists(st.tuples(text, matrices(dtype)), min_size=1, max_size=3)
    return dtype, draw(st.lists(st.tuples(matrices(dtype), captions), min_size=1, max_size=6))


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(content=contents(), batch_bytes=st.sampled_from([1, 100, 2**20]))
def test_what_is_written_is_read_back_bit_for_bit(
    tmp_path: Path, content: Content, batch_bytes: int
) -> None:
    dtype, videos = content
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow_file, "_BATCH_BYTES", batch_bytes)
        with StoreWriter(
            tmp_path / "s", name="t", video_dim=DIM, text_dim=DIM,
            video_dtype=dtype, text_dtype=dtype, overwrite=True,
        ) as writer:  # fmt: skip
            for number, (frames, captions) in enumerate(videos):
                writer.add_video("val", f"v{number}", frames)
                for index, (text, tokens) in enumerate(captions):
                    writer.add_caption("val", f"{number}#{index}", f"v{number}", text, tokens)
    opened = FeatureStore.open(tmp_path / "s")
    opened.verify()
    split = opened.split("val")
    caption = 0
    for number, (frames, captions) in enumerate(videos):
        np.testing.assert_array_equal(bits(split.frames(number)), bits(frames))
        assert split.num_frames[number] == len(frames)
        for text, tokens in captions:
            np.testing.assert_array_equal(bits(split.tokens(caption)), bits(tokens))
            assert split.caption_texts[caption] == text
            assert split.caption_video[caption] == number
            assert split.num_tokens[caption] == len(tokens)
            caption += 1
    assert len(split.caption_ids) == caption
    assert split.frames(0).dtype == dtype


def bits(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(array.tobytes(), dtype=np.uint8)


def test_reading_a_video_copies_nothing(store: FeatureStore) -> None:
    split = store.split("train")
    first, again = split.frames(1), split.frames(1)
    assert first.ctypes.data == again.ctypes.data
    assert np.shares_memory(first, again)
    assert mapped_from(store.path / "train.videos.arrow", first.ctypes.data)
    assert mapped_from(store.path / "train.captions.arrow", split.tokens(0).ctypes.data)


def mapped_from(file: Path, address: int) -> bool:
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            return line.endswith(str(file))
    return False


def test_views_are_read_only(store: FeatureStore) -> None:
    split = store.split("train")
    for array in (split.frames(0), split.tokens(0), split.caption_video, split.num_frames):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_manifest_counts(store: FeatureStore) -> None:
    counts = store.manifest.splits["train"]
    assert (counts.videos, counts.captions, counts.frames, counts.tokens) == (2, 2, 6, 2)
    assert store.has_split("train")
    assert not store.has_split("test")


def test_an_absent_split_is_named_with_those_there_are(store: FeatureStore) -> None:
    with pytest.raises(StoreError, match="has no split 'test'; it has train"):
        store.split("test")


def test_fingerprint_ignores_batches_and_name_but_no_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.ones((4, DIM), np.float16)
    first = write(tmp_path / "a", [rows, rows * 2]).manifest.fingerprint
    monkeypatch.setattr(arrow_file, "_BATCH_BYTES", 1)
    assert write(tmp_path / "b", [rows, rows * 2]).manifest.fingerprint == first
    assert write(tmp_path / "c", [rows, rows * 3]).manifest.fingerprint != first
    # The same numbers, divided among videos in another way.
    assert write(tmp_path / "d", [rows[:3], rows[:3]]).manifest.fingerprint != first


def test_no_store_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no feature store at"):
        FeatureStore.open(tmp_path / "none")


def test_a_folder_that_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"it has no manifest\.json"):
        FeatureStore.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"manifest_version": 3}')
    with pytest.raises(StoreError, match=r"manifest\.json is of another kind"):
        FeatureStore.open(tmp_path)


def test_stores_near_one_that_is_not_there_are_listed(store: FeatureStore) -> None:
    folder, name = store.path.parent, store.path.name
    with pytest.raises(StoreError, match=f"; stores beside it: {name}; did you mean {name}"):
        FeatureStore.open(folder / f"{name}x")
    with pytest.raises(StoreError, match=f"it has no manifest.json; it holds the stores {name}"):
        FeatureStore.open(folder)


def test_a_store_whose_name_no_folder_can_have(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot read .*manifest\.json: File name too long"):
        FeatureStore.open(tmp_path / ("x" * 300))


def test_unknown_format_version(store: FeatureStore) -> None:
    change_manifest(store, format_version=4)
    with pytest.raises(StoreError, match="version 4, this prvr-sweep reads versions 1, 2, 3"):
        FeatureStore.open(store.path)


def test_damaged_manifest(store: FeatureStore) -> None:
    change_manifest(store, video_dim="six")
    with pytest.raises(StoreError, match=r"manifest.json is damaged \(at video_dim\)"):
        FeatureStore.open(store.path)
    (store.path / "manifest.json").write_text('{"format": ')
    with pytest.raises(StoreError, match="is damaged"):
        FeatureStore.open(store.path)


def change_manifest(store: FeatureStore, **values: object) -> None:
    file = store.path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_missing_and_truncated_files_are_told_at_once(store: FeatureStore) -> None:
    videos = store.path / "train.videos.arrow"
    videos.write_bytes(videos.read_bytes()[:-10])
    (store.path / "train.captions.arrow").unlink()
    with pytest.raises(StoreError) as caught:
        FeatureStore.open(store.path)
    assert "train.captions.arrow is missing" in str(caught.value)
    assert "train.videos.arrow has" in str(caught.value)
    assert caught.value.exit_code == 3


def test_an_unreadable_arrow_file(store: FeatureStore) -> None:
    videos = store.path / "train.videos.arrow"
    videos.write_bytes(bytes(videos.stat().st_size))
    with pytest.raises(StoreError, match=r"cannot read .*train\.videos\.arrow"):
        FeatureStore.open(store.path).split("train")


def test_verify_finds_a_changed_number(store: FeatureStore) -> None:
    store.verify()
    videos = store.path / "train.videos.arrow"
    content = videos.read_bytes()
    number = np.float16(11).tobytes()
    assert content.count(number) == 1
    videos.write_bytes(content.replace(number, np.float16(12).tobytes()))
    with pytest.raises(StoreError, match=r"the content of train\.videos\.arrow is not what was"):
        FeatureStore.open(store.path).verify()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"text 0", b"\xffext 0", id="not UTF-8"),
        pytest.param(struct.pack("<3i", 0, 6, 12), struct.pack("<3i", 0, 9, 5), id="text offsets"),
        pytest.param(struct.pack("<2q", 0, 1), struct.pack("<2q", 0, 99), id="no such video"),
    ],
)
def test_verify_finds_damage_that_reading_would_trip_over(
    store: FeatureStore, before: bytes, after: bytes
) -> None:
    captions = store.path / "train.captions.arrow"
    content = captions.read_bytes()
    assert before in content
    captions.write_bytes(content.replace(before, after, 1))
    with pytest.raises(StoreError, match=r"train\.captions\.arrow"):
        FeatureStore.open(store.path).verify()
