"""Windows against a search over all spans, and outcomes against one caption at a time."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prvr_model.files.folder import Folder
from prvr_model.inputs.prepared_split import prepare_split
from prvr_model.inputs.resampling import resample
from prvr_model.network.encoding import Encoders
from prvr_model.network.model_file import load_best
from prvr_model.retrieval import evaluation
from prvr_model.retrieval.evaluation import evaluate_saved
from prvr_model.retrieval.moment_evaluation import window_overlaps
from prvr_model.retrieval.moments import (
    FrameTimes,
    PairScores,
    Refinement,
    Window,
    WindowArrays,
    frame_times,
    plain_clips,
    windows,
)
from prvr_model.settings import SpeedSettings
from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.reader import FeatureStore
from prvr_model.store.writer import StoreWriter
from prvr_model.training.checkpoint import save_best
from tests.prvr_model.tiny import TEXT_DIM, VIDEO_DIM, tiny_model, tiny_settings

REFINEMENT = Refinement(level=0.2, clip_share=0.4)


def pairs_of(frames: np.ndarray, clip_size: int = 1, clips: np.ndarray | None = None) -> PairScores:
    """Frames of one second each; clips of equal size that score as their best frame does."""
    num_pairs, num_frames = frames.shape
    own = frames.reshape(num_pairs, -1, clip_size).max(axis=2) if clips is None else clips
    frame_to_clip = np.tile(np.arange(num_frames) // clip_size, (num_pairs, 1))
    starts = np.tile(np.arange(num_frames, dtype=float), (num_pairs, 1))
    return PairScores(own, frames, frame_to_clip, FrameTimes(starts, starts + 1))


def slow_windows(scores: PairScores, pair: int, num_windows: int) -> list[tuple[int, int, float]]:
    """First and last frame of each window and its share of the evidence, by trying every span."""
    share = REFINEMENT.clip_share
    clips = scores.clips[pair][scores.frame_to_clip[pair]]
    fused = share * clips + (1 - share) * scores.frames[pair]
    level = fused.mean() + REFINEMENT.level * (fused.max() - fused.mean())
    excess = [float(value) for value in fused - level]
    evidence = sum(value for value in excess if value > 0)
    found: list[tuple[int, int, float]] = []
    for _ in range(num_windows):
        free = [
            (sum(excess[first : last + 1]), first, last)
            for first in range(len(excess))
            for last in range(first, len(excess))
            if all(last < a or first > b for a, b, _ in found)
        ]
        gain, first, last = max(free, default=(0.0, 0, 0))
        if gain <= 0:
            break
        found.append((first, last, gain / evidence))
    return found


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_windows_are_the_spans_of_the_largest_sums(seed: int, clip_size: int) -> None:
    rng = np.random.default_rng(seed)
    scores = pairs_of(rng.uniform(-1, 1, (3, 4 * clip_size)), clip_size)
    for pair, found in enumerate(windows(scores, 4, REFINEMENT)):
        wanted = slow_windows(scores, pair, 4)
        assert [(w.start_s, w.end_s - 1) for w in found] == [w[:2] for w in wanted]
        assert [w.score for w in found] == pytest.approx([w[2] for w in wanted])


def test_a_short_dip_is_bridged_and_a_long_one_parts_two_windows() -> None:
    high, low = [1.0, 1, 1], [0.0]
    frames = np.array([low * 6 + high + low + high + low * 7, low * 6 + high + low * 8 + high])
    short, long = windows(pairs_of(frames), 3)
    assert [(w.start_s, w.end_s) for w in short] == [(6, 13)]
    assert {(w.start_s, w.end_s) for w in long} == {(6, 9), (17, 20)}
    assert [w.score for w in long] == pytest.approx([0.5, 0.5])


def test_where_nothing_stands_out_the_window_is_the_whole_video() -> None:
    frames = np.array([[0.3] * 6, [math.nan] * 6, [0.1, math.nan, 0.9, 0.9, math.inf, -math.inf]])
    flat, broken, partly = windows(pairs_of(frames.astype(np.float32)), 2)
    assert flat == broken == (Window(0, 6, 0),)
    assert [(w.start_s, w.end_s, w.score) for w in partly] == [(2, 5, 1)]


def test_the_plain_clip_is_the_span_of_the_best_clip() -> None:
    found = plain_clips(pairs_of(np.zeros((2, 6)), 2, np.array([[0, 2, 1], [1, 0, 1]])))
    assert found.starts_s.tolist() == [[2], [0]]
    assert found.ends_s.tolist() == [[4], [2]]


@pytest.mark.parametrize("num_rows", [1, 2, 5, 8, 11, 12, 29])
def test_a_frame_shows_the_time_of_the_rows_that_it_is_made_of(num_rows: int) -> None:
    times = frame_times(np.array([num_rows]), 8, np.array([float(num_rows)]))
    # Each row is a unit vector, so a frame shows which rows it averages.
    frames = resample([np.eye(num_rows, dtype=np.float32)], 8)[0]
    for number, frame in enumerate(frames):
        rows = np.flatnonzero(frame)
        end = num_rows if number == 7 else rows[-1] + 1
        assert (times.starts_s[0, number], times.ends_s[0, number]) == (rows[0], end)


def test_overlaps_take_the_moment_that_is_met_best() -> None:
    found = WindowArrays(
        np.array([[2.0, 0], [5, 6]]), np.array([[6.0, 1], [6, np.nan]]), np.ones(0)
    )
    overlaps = window_overlaps(found, [[[8, 9], [4, 8]], [[5, 6]]])
    np.testing.assert_allclose(overlaps, [[2 / 6, 0], [1, 0]])


def annotated(path: Path, source: FeatureStore, *, seconds_per_row: float | None) -> FeatureStore:
    """The val split of a store: a moment for all captions but the first; lengths unless told."""
    split = source.split("val")
    with StoreWriter(
        path,
        name="known",
        video_dim=VIDEO_DIM,
        text_dim=TEXT_DIM,
        seconds_per_row=seconds_per_row,
    ) as writer:
        for row, video in enumerate(split.video_ids):
            length = math.nan if seconds_per_row else 10.0 + row
            writer.add_video("val", video, split.frames(row), length)
        for row, caption in enumerate(split.caption_ids):
            known = CaptionAnnotation([(1.5, 4)] if row else [])
            video = split.video_ids[split.caption_video[row]]
            text, tokens = split.caption_texts[row], split.tokens(row)
            writer.add_caption("val", caption, video, text, tokens, known)
    return FeatureStore.open(path)


@pytest.mark.parametrize("seconds_per_row", [None, 0.5])
@torch.no_grad()
def test_a_checkpoint_is_scored_on_known_moments(
    tmp_path: Path, tiny_store: FeatureStore, seconds_per_row: float | None
) -> None:
    settings = tiny_settings()
    model, folder = tiny_model(settings).eval(), Folder.open(tmp_path)
    save_best(folder, model, settings, 1)
    store = annotated(tmp_path / "s", tiny_store, seconds_per_row=seconds_per_row)
    found = evaluate_saved(load_best(folder), store, "val", SpeedSettings())
    assert (
        found.metrics
        == evaluate_saved(load_best(folder), tiny_store, "val", SpeedSettings()).metrics
    )
    moments = found.moments
    split, prepared = store.split("val"), prepare_split(store, "val", settings)
    assert moments.captions.tolist() == list(range(1, prepared.num_captions))
    assert (moments.ranks == found.ranks[1:]).all()
    part = evaluation._Part.of(prepared, evaluation.ALONE)
    queries, gallery = evaluation._encode(
        Encoders(model, SpeedSettings()), prepared, part, block=64
    )
    for place, caption in enumerate(moments.captions):
        video = split.caption_video[caption]
        rows = len(split.frames(video))
        length = np.array([rows * seconds_per_row if seconds_per_row else 10.0 + video])
        own = PairScores(
            (gallery.clips[video] @ queries[caption]).numpy()[None],
            (gallery.frames[video] @ queries[caption]).numpy()[None],
            np.asarray(prepared.frame_to_clip[video])[None],
            frame_times(np.array([rows]), settings.model.num_frames, length),
        )
        best = windows(own, 5)[0]
        met = [overlap(w.start_s, w.end_s) for w in best]
        assert moments.best_window["window"][place] == pytest.approx(met[0], abs=1e-6)
        assert moments.any_window[place] == pytest.approx(max(met), abs=1e-6)
        assert moments.best_window["whole"][place] == pytest.approx(overlap(0, length[0]))
        assert moments.best_window["middle"][place] == pytest.approx(
            overlap(length[0] / 3, 2 * length[0] / 3)
        )
    metrics, window = moments.metrics(), moments.best_window["window"]
    assert metrics["window/R1_iou_0.3"] == pytest.approx(100 * (window >= 0.3).mean())
    assert metrics["window/R5_iou_0.3"] == pytest.approx(100 * (moments.any_window >= 0.3).mean())
    assert metrics["window/mIoU"] == pytest.approx(100 * window.mean())
    top = (moments.ranks <= 5) & (window >= 0.3)
    assert metrics["corpus/R5_iou_0.3"] == pytest.approx(100 * top.mean())


def overlap(start: float, end: float) -> float:
    """Intersection over union with the moment from 1.5 to 4 seconds."""
    shared = max(0.0, min(end, 4) - max(start, 1.5))
    return shared / (end - start + 2.5 - shared)


def test_without_known_moments_or_lengths_nothing_is_scored(
    tmp_path: Path, tiny_store: FeatureStore
) -> None:
    settings = tiny_settings()
    folder = Folder.open(tmp_path)
    save_best(folder, tiny_model(settings), settings, 1)
    assert evaluate_saved(load_best(folder), tiny_store, "val", SpeedSettings()).moments is None
