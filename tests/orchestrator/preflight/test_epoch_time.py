"""From what a probe measured to the seconds of an epoch over the space."""

import pytest

from orchestrator.preflight.epoch_time import (
    EpochTime,
    TimeRange,
    measured_epoch,
    probed_time,
    rough_time,
)
from orchestrator.preflight.estimate import evaluation_operations, seconds_per_epoch
from orchestrator.preflight.probing import probe_request
from orchestrator.spec.data import DataSize
from prvr_model.settings import Settings, SpeedSettings, build_settings
from prvr_model.training.probe_messages import ProbeResult, ProbeStage

SIZE = DataSize(100, 40, 64, 48, 5.0, 10.0)
SPEED = SpeedSettings()


def settings_of(num_scales: int) -> Settings:
    return build_settings(
        None,
        {
            "model.hidden_size": 64,
            "model.num_scales": num_scales,
            "training.batch_videos": 20,
        },
    )


def stage(videos: int, *steps_s: float, saving_s: float = 0.0) -> ProbeStage:
    return ProbeStage(
        videos=videos,
        val_videos=10,
        val_captions=50,
        steps_s=steps_s,
        evaluations_s=(0.1,) * len(steps_s),
        others_s=(saving_s,) * len(steps_s),
    )


def measured(*stages: ProbeStage, workers: int = 1) -> TimeRange:
    request = probe_request([settings_of(4)], SIZE, SPEED, workers)
    result = ProbeResult(stages=stages, hardware="x", memory_bytes=1)
    return measured_epoch(SIZE, request, result, workers)


def evaluation_s() -> float:
    model = settings_of(4).model
    whole, part = (
        evaluation_operations(model, SIZE, videos, captions)
        for videos, captions in ((40, 200), (10, 50))
    )
    return 0.1 * whole / part


def test_a_full_batch_is_taken_as_it_was_measured() -> None:
    found = measured(stage(4, 9.0, saving_s=0.5), stage(20, 2.0, 1.0, 4.0))
    # Five steps an epoch.
    assert found.mean_s == pytest.approx(5 * 2.0 + evaluation_s() + 0.5)
    assert found.low_s == pytest.approx(5 * 1.0 + 0.95 * evaluation_s() + 0.5)
    assert found.high_s == pytest.approx(5 * 4.0 + 1.05 * evaluation_s() + 0.5)


def test_a_smaller_batch_is_extended_on_a_line() -> None:
    # 0.6 s in any case and 0.1 s a video: a full batch takes 2.6 s.
    found = measured(stage(4, 1.0), stage(10, 1.6))
    assert found.mean_s == pytest.approx(5 * 2.6 + evaluation_s())
    assert found.low_s == pytest.approx(5 * 2.6 * 0.8 + 0.95 * evaluation_s())
    assert found.high_s == pytest.approx(5 * 2.6 * 1.2 + 1.05 * evaluation_s())


@pytest.mark.parametrize("stages", [(stage(4, 2.0), stage(10, 1.5)), (stage(10, 1.5),)])
def test_a_line_that_noise_bent_is_left_for_the_videos(stages: tuple[ProbeStage, ...]) -> None:
    assert measured(*stages).mean_s == pytest.approx(5 * 3.0 + evaluation_s())


def test_workers_share_steps_and_evaluation_and_lose_some_of_it() -> None:
    found = measured(stage(10, 1.0), workers=2)
    assert found.mean_s == pytest.approx(5 * 1.0 + evaluation_s() / 2)
    assert found.high_s == pytest.approx((5 * 1.05 + 1.05 * evaluation_s() / 2) / 0.8)


def test_a_space_has_its_cheap_and_its_dear_half() -> None:
    time = EpochTime.over_space([4.0, 1.0, 2.0, 3.0], TimeRange(10, 9, 12), "probe")
    assert time.mean_s == 25
    assert time.band_s == (9 * 1.5, 12 * 3.5)
    assert time.range_s == (9 * 1, 12 * 4)


def test_other_points_cost_more_or_less_by_the_sizes() -> None:
    drawn = [settings_of(scales) for scales in (1, 4, 8)]
    request = probe_request([drawn[1]], SIZE, SPEED, 1)
    result = ProbeResult(stages=(stage(20, 1.0),), hardware="x", memory_bytes=1)
    time = probed_time(drawn, SIZE, request, result, 1)
    single = measured_epoch(SIZE, request, result, 1)
    cheap, middle, dear = (seconds_per_epoch(settings, SIZE, SPEED) for settings in drawn)
    assert time.range_s[0] == pytest.approx(single.low_s * cheap / middle)
    assert time.range_s[1] == pytest.approx(single.high_s * dear / middle)
    assert time.mean_s == pytest.approx(single.mean_s * (cheap + middle + dear) / 3 / middle)
    rough, shared = (rough_time(drawn, SIZE, SPEED, workers) for workers in (1, 2))
    assert rough.mean_s == pytest.approx((cheap + middle + dear) / 3)
    assert shared.mean_s == pytest.approx(rough.mean_s / 2)


def test_the_trial_nearest_to_the_mean_is_probed_with_a_workers_share() -> None:
    drawn = [settings_of(scales) for scales in (1, 5, 8)]
    request = probe_request(drawn, SIZE, SPEED, 3)
    assert request.settings.model.num_scales == 5
    assert request.batch_videos == 7
    assert (request.val_videos, request.video_dim, request.text_dim) == (40, 64, 48)
    assert (request.captions_per_video, request.tokens_per_caption) == (5.0, 10.0)
