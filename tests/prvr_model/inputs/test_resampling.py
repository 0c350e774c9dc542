"""Resampling and uniform clips against loops over spans, rounded in exact fractions."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prvr_model.inputs.buffers import ReusedMemory
from prvr_model.inputs.resampling import (
    normalise_rows,
    resample,
    span_boundaries,
    uniform_clips,
    widen,
)


def slow_boundaries(length: int, num_spans: int) -> list[int]:
    # round() of a Fraction takes halves to even.
    return [min(round(Fraction(i * length, num_spans)), length - 1) for i in range(num_spans + 1)]


def slow_resample(video: np.ndarray, num_rows: int) -> np.ndarray:
    bounds = slow_boundaries(len(video), num_rows)
    rows = []
    for start, stop in pairwise(bounds):
        span = video[start:stop] if stop > start else video[start : start + 1]
        rows.append(span.astype(np.float64).mean(axis=0))
    return np.stack(rows)


@given(st.integers(1, 2000), st.integers(1, 300))
def test_boundaries_are_the_rounded_fractions(length: int, num_spans: int) -> None:
    assert span_boundaries(length, num_spans).tolist() == slow_boundaries(length, num_spans)


def test_halves_round_to_even() -> None:
    # Exact boundaries 0, 0.5, 1, 1.5, 2, 2.5, 3: the halves go to 0, 2 and 2.
    assert span_boundaries(3, 6).tolist() == [0, 0, 1, 2, 2, 2, 2]
    assert span_boundaries(5, 2).tolist() == [0, 2, 4]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("lengths", [[1], [2, 1, 3], [15, 16, 17], [23, 24, 25, 400]])
def test_resample_equals_the_loop(lengths: list[int], dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(0)
    videos = [rng.standard_normal((length, 3)).astype(dtype) for length in lengths]
    found = resample(videos, 16)
    assert found.dtype == np.float32
    wanted = np.stack([slow_resample(video, 16) for video in videos])
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_one_frame_fills_every_row() -> None:
    video = np.array([[1.5, -2.0]], np.float32)
    assert (resample([video], 7) == video).all()


def test_last_frame_counts_only_below_one_and_a_half_times_the_rows() -> None:
    for length in range(1, 60):
        video = np.zeros((length, 1), np.float32)
        video[-1] = 1
        assert bool(resample([video], 16).any()) is (length < 24), length


def test_a_videos_rows_do_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(1)
    videos = [rng.standard_normal((length, 4)).astype(np.float32) for length in (40, 3, 17)]
    together = resample(videos, 16)
    for row, video in enumerate(videos):
        assert (together[row] == resample([video], 16)[0]).all()


@pytest.mark.parametrize(("num_frames", "num_clips"), [(128, 32), (128, 24), (16, 16), (17, 5)])
def test_uniform_clips_are_spans_of_frames(num_frames: int, num_clips: int) -> None:
    frames = np.random.default_rng(2).standard_normal((3, num_frames, 4)).astype(np.float32)
    clips, sizes, frame_to_clip = uniform_clips(frames, num_clips)
    bounds = slow_boundaries(num_frames, num_clips)
    for video in range(3):
        wanted = slow_resample(frames[video], num_clips)
        np.testing.assert_allclose(clips[video], wanted, rtol=1e-5, atol=1e-6)
        for clip in range(num_clips):
            start, stop = bounds[clip], max(bounds[clip + 1], bounds[clip] + 1)
            assert sizes[video, clip] == stop - start
            assert (frame_to_clip[video, start:stop] == clip).all()
        assert frame_to_clip[video, -1] == num_clips - 1


def test_normalised_rows_keep_their_direction_and_zero_stays_zero() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [3e-5, 4e-5]], np.float32)
    wanted = rows / np.array([[5 + 1e-5], [1e-5], [5e-5 + 1e-5]])
    np.testing.assert_allclose(normalise_rows(rows), wanted, rtol=1e-6)


def test_normalising_blocks_and_in_place_changes_nothing() -> None:
    rows = np.random.default_rng(3).standard_normal((5, 77, 6)).astype(np.float32)
    norms = np.sqrt(np.add.reduce(rows * rows, axis=-1, keepdims=True)) + np.float32(1e-5)
    wanted = rows / norms
    assert (normalise_rows(rows) == wanted).all()
    assert normalise_rows(rows, rows) is rows
    assert (rows == wanted).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_widening_equals_numpys_conversion(dtype: type[np.floating]) -> None:
    # Every float16, finite or not, more of them than are converted at once.
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(dtype).reshape(256, 256)
    wide = np.empty(values.shape, np.float32)
    widen(values, wide)
    assert np.array_equal(wide, values.astype(np.float32), equal_nan=True)


def test_reused_memory_gives_the_same_rows() -> None:
    rng, memory = np.random.default_rng(4), ReusedMemory()
    for lengths in ((40, 3), (17,), (20, 33, 300)):
        videos = [rng.standard_normal((length, 4)).astype(np.float16) for length in lengths]
        assert (resample(videos, 16, memory) == resample(videos, 16)).all()
