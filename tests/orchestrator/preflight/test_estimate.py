"""Rough time and memory before anything was measured."""

from pathlib import Path

import pytest

from orchestrator.preflight.estimate import (
    evaluation_operations,
    seconds_per_epoch,
    sweep_memory,
    worker_memory,
)
from orchestrator.spec.data import DataSize, data_size
from orchestrator.spec.sections import DataSource, TrialResources
from prvr_model.settings import SpeedSettings, build_settings
from prvr_model.store.synthetic import SyntheticSettings, write_synthetic
from tests.benchmarks.memory_estimate import CASES, Case, Precision, expected_memory
from tests.orchestrator.spec.spec_texts import spec_of

MB = 1e6


def size_of(train_videos: int, val_videos: int, dim: int = 64) -> DataSize:
    return DataSize(train_videos, val_videos, dim, dim, 5.0, 16.0)


def test_it_grows_with_the_data_and_the_model() -> None:
    small = build_settings("tvr", {"model.hidden_size": 64})
    size, larger = size_of(200, 50), size_of(400, 100)
    seconds = seconds_per_epoch(small, size, SpeedSettings())
    assert seconds_per_epoch(small, larger, SpeedSettings()) > 1.9 * seconds
    assert seconds_per_epoch(build_settings("tvr", {}), size, SpeedSettings()) > 3 * seconds


def test_steps_take_time_however_small_they_are() -> None:
    tiny = {"model.hidden_size": 4, "model.num_heads": 1, "model.num_scales": 1}
    one, many = (
        seconds_per_epoch(
            build_settings("tvr", {**tiny, "training.batch_videos": batch}),
            size_of(100, 1, 2),
            SpeedSettings(),
        )
        for batch in (100, 2)
    )
    assert many > 10 * one


def test_evaluation_is_bilinear_in_its_scores() -> None:
    model = build_settings("tvr", {}).model
    size = size_of(1, 1)
    scores = [
        evaluation_operations(model, size, videos, captions)
        - evaluation_operations(model, size, videos, 0)
        - evaluation_operations(model, size, 0, captions)
        for videos, captions in ((10, 100), (20, 200))
    ]
    assert scores == pytest.approx([2 * 10 * 100 * 160 * 384, 2 * 20 * 200 * 160 * 384])


# Peaks of the trials of `tests.benchmarks.memory_estimate`, in MB, in their order.
PEAKS_MB: dict[Precision, tuple[int, ...]] = {
    "float32": (670, 840, 1520, 1857, 1338, 3314, 2159, 2105, 1082, 1875),
    "bfloat16": (666, 768, 1111, 1495, 1225, 2471, 1699, 1932, 994, 1598),
}


@pytest.mark.parametrize(
    ("precision", "case", "peak_mb"),
    [
        (precision, case, peak_mb)
        for precision, peaks in PEAKS_MB.items()
        for case, peak_mb in zip(CASES, peaks, strict=True)
    ],
)
def test_memory_is_near_what_was_measured(precision: Precision, case: Case, peak_mb: float) -> None:
    memory = expected_memory(case, precision)
    assert 0.95 <= memory.peak_bytes / MB / peak_mb <= 1.30
    assert memory.is_estimate


def test_times_know_precision_and_compiling() -> None:
    settings, size = build_settings("tvr", {}), size_of(1000, 100, 768)
    plain, rounded, compiled = (
        seconds_per_epoch(settings, size, speed)
        for speed in (
            SpeedSettings(),
            SpeedSettings(precision="bfloat16"),
            SpeedSettings(compile=True),
        )
    )
    assert 1.2 < plain / rounded < 2
    assert 1.8 < compiled / plain < 2.1


def test_a_checkpoint_takes_memory_however_small_the_batch_is() -> None:
    # The peak of a probe of 9 videos of 768 numbers a frame was 1,920 MB.
    settings = build_settings("tvr", {"training.batch_videos": 9})
    memory = worker_memory([settings], size_of(18, 1, 768), SpeedSettings(), TrialResources())
    assert 0.95 <= memory.peak_bytes / MB / 1920 <= 1.30


def test_features_are_shared_by_the_workers_of_a_machine() -> None:
    settings = [build_settings("tvr", {})]
    few, many = (
        worker_memory(settings, size_of(videos, 1, 768), SpeedSettings(), TrialResources())
        for videos in (1000, 2000)
    )
    frames = 1000 * 160 * 768 * 4
    assert many.shared_bytes - few.shared_bytes >= frames


def test_memory_of_a_worker_is_that_of_its_share_of_the_largest_trial() -> None:
    drawn = [build_settings("tvr", {"model.num_scales": scales}) for scales in (2, 8, 4)]
    one, two = (
        worker_memory(drawn, size_of(1000, 10), SpeedSettings(), TrialResources(workers=workers))
        for workers in (1, 2)
    )
    alone = worker_memory(drawn[1:2], size_of(1000, 10), SpeedSettings(), TrialResources())
    assert one == alone
    assert (one.videos, two.videos) == (128, 64)
    few = worker_memory(drawn, size_of(30, 10), SpeedSettings(), TrialResources())
    assert few.videos == 30


def test_a_gallery_takes_memory_and_a_gpu_takes_most_of_it_away() -> None:
    drawn = [build_settings("tvr", {})]
    small, large = (
        worker_memory(drawn, size_of(1000, videos), SpeedSettings(), TrialResources())
        for videos in (10, 2010)
    )
    gallery = 2000 * 160 * 384 * 4
    assert large.fixed_bytes - small.fixed_bytes >= gallery
    speed = SpeedSettings(device="cuda")
    on_gpu = worker_memory(drawn, size_of(1000, 2010), speed, TrialResources(gpus=1.0))
    assert on_gpu.total_bytes < small.total_bytes


def test_memory_that_is_stated_is_taken() -> None:
    memory = sweep_memory(spec_of("resources.memory_gib=1.5"))
    assert memory.total_bytes == 1.5 * 2**30
    assert not memory.is_estimate


def test_sizes_of_made_up_data_are_those_of_the_store(tmp_path: Path) -> None:
    settings = SyntheticSettings(train_videos=200, val_videos=60)
    before = data_size(DataSource(synthetic=settings))
    write_synthetic(tmp_path / "a.store", settings)
    after = data_size(DataSource(store=str(tmp_path / "a.store")))
    assert (after.train_videos, after.val_videos) == (200, 60)
    assert (after.video_dim, after.text_dim) == (before.video_dim, before.text_dim)
    assert after.captions_per_video == pytest.approx(before.captions_per_video, rel=0.1)
    assert after.tokens_per_caption == pytest.approx(before.tokens_per_caption, rel=0.1)
