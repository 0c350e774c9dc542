"""The probe: real steps on made-up data of the right sizes, within the time that it is given."""

from collections.abc import Callable

import pytest

from prvr_model.files.folder import Folder
from prvr_model.reporting import Decision, EpochReport, Report
from prvr_model.settings import Settings, SpeedSettings
from prvr_model.store.reader import FeatureStore
from prvr_model.training import probe as probe_module
from prvr_model.training.probe import probe, probe_json
from prvr_model.training.probe_messages import ProbeRequest, ProbeResult
from tests.prvr_model.tiny import tiny_settings

Train = Callable[[Settings, FeatureStore, Folder, Report, SpeedSettings], None]


def request(batch_videos: int = 9, limit_s: float = 60.0, **changes: float) -> ProbeRequest:
    values = {"captions_per_video": 3.5, "tokens_per_caption": 8.0, **changes}
    return ProbeRequest(
        settings=tiny_settings(model__max_caption_tokens=9),
        speed=SpeedSettings(),
        batch_videos=batch_videos,
        val_videos=7,
        video_dim=12,
        text_dim=10,
        limit_s=limit_s,
        **values,
    )


def test_it_measures_a_small_size_and_the_whole() -> None:
    result = probe(request())
    small, whole = result.stages
    assert (small.videos, whole.videos) == (4, 9)
    assert (small.val_videos, whole.val_videos) == (2, 4)
    assert (small.val_captions, whole.val_captions) == (7, 14)
    assert len(small.steps_s) == 1
    assert len(whole.steps_s) == probe_module._MOST_STEPS
    for stage in result.stages:
        assert len(stage.steps_s) == len(stage.evaluations_s) == len(stage.others_s)
        assert min(stage.steps_s) > 0
        assert min(stage.evaluations_s) > 0
        assert min(stage.others_s) >= 0
    assert result.memory_bytes > 2**20
    assert result.hardware
    assert result.gpu_memory_bytes is None


def test_a_batch_of_few_videos_is_one_size() -> None:
    (stage,) = probe(request(batch_videos=3)).stages
    assert stage.videos == 3
    assert len(stage.steps_s) == probe_module._MOST_STEPS


def test_it_is_json_in_and_out() -> None:
    answer = probe_json(request().model_dump_json())
    assert ProbeResult.model_validate_json(answer).stages[-1].videos == 9


def slow_training(seconds_per_video: float, clock: list[float]) -> Train:
    """Training whose steps take their time on a clock of the test's."""

    def train(
        settings: Settings,
        store: FeatureStore,
        folder: Folder,
        report: Report,
        speed: SpeedSettings,
    ) -> None:
        videos = store.manifest.splits["train"].videos
        assert settings.training.batch_videos == videos
        for epoch in range(1, 1000):
            step_s = seconds_per_video * videos
            clock[0] += step_s
            row = EpochReport(epoch, {"time/epoch_s": step_s, "time/evaluation_s": 0.0}, 0)
            if report(row) is Decision.STOP:
                return

    return train


@pytest.mark.parametrize(
    ("seconds_per_video", "sizes"),
    [
        (0.001, [4, 128]),
        (0.05, [4, 98]),  # a full batch would not leave time for a second step
        (0.5, [4, 8]),
        (2.0, [4]),
        (50.0, [4]),
    ],
)
def test_sizes_and_steps_keep_to_the_time(
    seconds_per_video: float, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(probe_module, "train", slow_training(seconds_per_video, clock))
    monkeypatch.setattr(probe_module.time, "monotonic", lambda: clock[0])
    limit_s = 15.0
    result = probe(request(batch_videos=128, limit_s=limit_s))
    assert [stage.videos for stage in result.stages] == sizes
    assert all(stage.steps_s for stage in result.stages)
    # The time counts from the end of the first step.
    first_s = seconds_per_video * 4
    assert clock[0] <= first_s + limit_s


def test_steps_are_those_of_the_size() -> None:
    """What a stage trains on has the sizes that were asked for."""
    seen: list[FeatureStore] = []
    real = probe_module.train

    def train(settings: Settings, store: FeatureStore, *rest: object) -> object:
        seen.append(store)
        split = store.split("train")
        assert split.num_tokens.max() <= settings.model.max_caption_tokens
        assert split.num_tokens.min() >= 4
        return real(settings, store, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe_module, "train", train)
        probe(request())
    assert [len(store.split("train").video_ids) for store in seen] == [4, 9]
    assert [len(store.split("train").caption_ids) for store in seen] == [14, 32]
    assert {(store.manifest.video_dim, store.manifest.text_dim) for store in seen} == {(12, 10)}
