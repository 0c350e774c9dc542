"""The rough time of an epoch before anything was timed."""

from orchestrator.data_source import DataSize
from orchestrator.estimate import seconds_per_epoch
from prvr_model.settings import SpeedSettings, build_settings


def test_it_grows_with_the_data_and_the_model() -> None:
    small = build_settings("tvr", {"model.hidden_size": 64})
    size, larger = DataSize(200, 50, 64, 48), DataSize(400, 100, 64, 48)
    seconds = seconds_per_epoch(small, size, SpeedSettings())
    assert seconds_per_epoch(small, larger, SpeedSettings()) > 1.9 * seconds
    assert seconds_per_epoch(build_settings("tvr", {}), size, SpeedSettings()) > 3 * seconds


def test_steps_take_time_however_small_they_are() -> None:
    tiny = {"model.hidden_size": 4, "model.num_heads": 1, "model.num_scales": 1}
    size = DataSize(100, 1, 2, 2)
    one, many = (
        seconds_per_epoch(
            build_settings("tvr", {**tiny, "training.batch_videos": batch}), size, SpeedSettings()
        )
        for batch in (100, 2)
    )
    assert many > 10 * one
