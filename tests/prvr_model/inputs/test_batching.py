"""Order of videos, draws, and what a batch holds, against the store's own rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from prvr_model.inputs.batching import (
    draws_for_step,
    dropout_seed,
    epoch_order,
    make_batch,
    pad_tokens,
    steps_per_epoch,
    weights_seed,
)
from prvr_model.inputs.buffers import ReusedMemory
from prvr_model.inputs.prepared_split import PreparedSplit, RelevantVideos, prepare_split
from prvr_model.inputs.resampling import normalise_rows
from prvr_model.store.reader import FeatureStore
from prvr_model.store.writer import StoreWriter
from tests.prvr_model.inputs.test_resampling import slow_resample
from tests.prvr_model.inputs.test_token_merging import slow_op_tome, slow_plan, token_map
from tests.prvr_model.tiny import tiny_settings, write_labelled

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("videos", "batch"), [(12, 5), (11, 5), (10, 5), (5, 5), (4, 5), (2, 2), (3, 2)]
)
def test_an_epoch_holds_every_video_once_and_no_batch_of_one(videos: int, batch: int) -> None:
    order = epoch_order(videos, batch, seed=1, epoch=0)
    assert sorted(np.concatenate(order).tolist()) == list(range(videos))
    assert all(2 <= len(videos) <= batch + 1 for videos in order)
    assert len(order) == steps_per_epoch(videos, batch)
    if videos % batch != 1:
        assert max(map(len, order)) <= batch


def test_order_and_draws_change_with_seed_and_epoch_alone() -> None:
    orders = {
        tuple(np.concatenate(epoch_order(50, 8, seed, epoch)).tolist())
        for seed in (1, 2)
        for epoch in (0, 1)
        for _ in range(2)
    }
    assert len(orders) == 4
    draws = {
        tuple(draws_for_step(seed, epoch, step, (3, 4), CPU)[1].tolist())
        for seed in (1, 2)
        for epoch in (0, 1)
        for step in (0, 1)
        for _ in range(2)
    }
    assert len(draws) == 8
    assert len({dropout_seed(1, 0), dropout_seed(1, 1), dropout_seed(2, 0), weights_seed(1)}) == 4


def test_draws_are_uniform() -> None:
    (draws,) = draws_for_step(1, 0, 0, (100_000,), CPU)
    assert 0 <= draws.min() < draws.max() < 1
    counts = torch.histc(draws, 10, 0, 1)
    # Standard deviation of a count is 95: five of them.
    assert (counts - 10_000).abs().max() < 475


@pytest.fixture
def split(tiny_store: FeatureStore) -> PreparedSplit:
    return prepare_split(tiny_store, "train", tiny_settings())


def test_relevant_videos_of_a_batch_are_ignored_pairs(
    tiny_store: FeatureStore, tmp_path: Path
) -> None:
    store = FeatureStore.open(write_labelled(tiny_store, tmp_path / "labelled"))
    raw = store.split("train")
    split = prepare_split(store, "train", tiny_settings())
    assert make_batch(split, np.array([1, 0]), CPU).ignored is None
    split = replace(split, relevant=RelevantVideos.of(raw))
    for videos in ([7, 3, 8], [11, 0], [5, 2]):
        batch = make_batch(split, np.array(videos), CPU)
        captions = split.captions_of(np.array(videos)).tolist()
        wanted = [
            [video in raw.relevant[row] and raw.caption_video[row] != video for video in videos]
            for row in captions
        ]
        assert batch.ignored is not None
        assert batch.ignored.tolist() == wanted
        # Of 7 and 8, and of 11 and 0, the second follows the first in the split.
        assert batch.ignored.sum() == (videos != [5, 2])


def test_a_batch_is_what_the_store_holds(tiny_store: FeatureStore, split: PreparedSplit) -> None:
    settings = tiny_settings()
    raw = tiny_store.split("train")
    videos = np.array([7, 0, 3])
    batch = make_batch(split, videos, CPU)
    rows = []
    for row, video in enumerate(videos):
        frames = slow_resample(np.asarray(raw.frames(video), np.float32), 16).astype(np.float32)
        clips = slow_op_tome(frames, settings.model.merge_targets)
        features = np.array([[float(x) for x in clip.vector] for clip in clips], np.float32)
        np.testing.assert_allclose(batch.frames[row], normalise_rows(frames), atol=1e-6)
        np.testing.assert_allclose(batch.clips[row], normalise_rows(features), atol=1e-6)
        assert batch.clip_sizes[row].tolist() == [float(clip.size) for clip in clips]
        assert batch.frame_to_clip[row].tolist() == token_map(clips)
        plans = slow_plan(np.asarray(batch.clips[row]), split.clip_sizes[video], (8, 4, 2))
        assert batch.segment_of_clip[row].tolist() in [token_map(plan) for plan in plans]
        rows += [(row, caption) for caption in np.flatnonzero(raw.caption_video == video)]
    assert batch.video_of_caption.tolist() == [row for row, _ in rows]
    for place, (_, caption) in enumerate(rows):
        tokens = normalise_rows(np.asarray(raw.tokens(caption), np.float32))
        assert batch.tokens_valid[place].sum() == len(tokens)
        np.testing.assert_allclose(batch.tokens[place, : len(tokens)], tokens, atol=1e-6)
        assert (batch.tokens[place, len(tokens) :] == 0).all()
        np.testing.assert_allclose(batch.teacher[place], tokens[-1], atol=1e-6)


def test_captions_in_any_order_stand_beside_their_videos(tmp_path: Path) -> None:
    owners, rng = [1, 0, 2, 1, 0, 2, 1], np.random.default_rng(0)
    tokens = [rng.standard_normal((3, 10)) for _ in owners]
    dims = {"video_dim": 12, "text_dim": 10}
    with StoreWriter(tmp_path / "mixed.store", name="mixed", **dims) as writer:
        for video in range(3):
            writer.add_video("train", f"v{video}", rng.standard_normal((20, 12)))
        for caption, video in enumerate(owners):
            writer.add_caption("train", f"c{caption}", f"v{video}", "text", tokens[caption])
    store = FeatureStore.open(tmp_path / "mixed.store")
    split = prepare_split(store, "train", tiny_settings())
    batch = make_batch(split, np.array([2, 1]), CPU)
    assert batch.video_of_caption.tolist() == [0, 0, 1, 1, 1]
    for row, caption in enumerate([2, 5, 0, 3, 6]):
        wanted = normalise_rows(tokens[caption].astype(np.float16).astype(np.float32))
        np.testing.assert_allclose(batch.tokens[row], wanted, atol=1e-6)


def test_long_captions_are_cut_and_the_cut_moves_the_teacher(tiny_store: FeatureStore) -> None:
    split = prepare_split(tiny_store, "train", tiny_settings(model__max_caption_tokens=4))
    batch = make_batch(split, np.array([2]), CPU)
    raw = tiny_store.split("train")
    for row, caption in enumerate(np.flatnonzero(raw.caption_video == 2)):
        first = normalise_rows(np.asarray(raw.tokens(caption)[:4], np.float32))
        np.testing.assert_allclose(batch.tokens[row], first, atol=1e-6)
    torch.testing.assert_close(batch.teacher, batch.tokens[:, 3])


def test_padding_reaches_the_longest_caption_only(split: PreparedSplit) -> None:
    lengths = np.diff(split.token_offsets)
    shortest = np.flatnonzero(lengths == lengths.min())
    tokens = pad_tokens(split, shortest, CPU)
    assert tokens.features.shape[1] == lengths.min()
    assert tokens.valid.all()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_memory_and_threads_do_not_change_a_batch(split: PreparedSplit, threads: int) -> None:
    memory = ReusedMemory()
    for videos in (np.array([7, 0, 3]), np.array([2]), np.arange(12), np.array([5, 5])):
        found = make_batch(split, videos, CPU, memory, threads)
        wanted = make_batch(split, videos, CPU)
        assert found.spread == wanted.spread
        for name, tensor in wanted.tensors().items():
            assert torch.equal(found.tensors()[name], tensor), name


def test_a_batch_without_memory_is_its_own(split: PreparedSplit) -> None:
    batch = make_batch(split, np.array([1, 2]), CPU)
    before = batch.frames.clone()
    make_batch(split, np.array([3, 4]), CPU)
    assert torch.equal(batch.frames, before)


def test_levels_follow_tau(tiny_store: FeatureStore) -> None:
    loose = prepare_split(tiny_store, "train", tiny_settings(losses__tau=-1.0))
    strict = prepare_split(tiny_store, "train", tiny_settings(losses__tau=1.0))
    assert (loose.segment_of_clip.max(axis=1) == 1).all()
    assert (strict.segment_of_clip == np.arange(8)).all()
    fixed = tiny_settings(losses__tau=-1.0, losses__cross_branch="fixed")
    assert (prepare_split(tiny_store, "train", fixed).segment_of_clip == np.arange(8)).all()
