"""A video's rows do not depend on the videos beside it, and no thread outlives a run."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from prvr_model.extraction.decoding import Sampling, VideoFrames
from prvr_model.extraction.encoder import FeatureEncoder
from prvr_model.extraction.pipeline import BrokenVideo, EncodedVideo, VideoJob, encode_videos
from tests.small_videos import direct_frames, real_videos, write_video
from tests.tiny_encoder import direct_features

RATE = Sampling(5.0)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[VideoJob]:
    folder = tmp_path_factory.mktemp("videos")
    lengths = {"a": 40, "b": 1, "c": 90, "d": 13}
    return [
        VideoJob(name, write_video(folder / name, [n / 25 for n in range(length)]), name)
        for name, length in lengths.items()
    ]


def encoded(
    encoder: FeatureEncoder, jobs: Sequence[VideoJob], workers: int
) -> dict[str, EncodedVideo]:
    found = list(encode_videos(encoder, jobs, RATE, workers))
    assert all(isinstance(video, EncodedVideo) for video in found)
    return {video.job.video: video for video in found if isinstance(video, EncodedVideo)}


def test_rows_do_not_depend_on_the_videos_beside_them(
    clip: FeatureEncoder, jobs: list[VideoJob]
) -> None:
    together = encoded(clip, jobs, workers=3)
    backwards = encoded(clip, jobs[::-1], workers=1)
    for job in jobs:
        direct = clip.encode_frames(list(VideoFrames(job.path, RATE)))
        for found in (together[job.video], backwards[job.video]):
            np.testing.assert_array_equal(found.rows, direct)
            assert found.duration_s == pytest.approx(len(direct) / 5, abs=0.2)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_real_videos_rows_equal_a_direct_scripts(
    kind: str, request: pytest.FixtureRequest
) -> None:
    path = next(path for path in real_videos() if path.name == "carphone_pristine.mp4")
    folder: Path = request.getfixturevalue(f"{kind}_folder")
    expected = direct_features(folder, direct_frames(path, 3))
    (video,) = encode_videos(
        request.getfixturevalue(kind), [VideoJob("c", path, "c")], Sampling(3.0), 1
    )
    assert isinstance(video, EncodedVideo)
    np.testing.assert_allclose(video.rows, expected, rtol=1e-4, atol=1e-5)


class _PlaceSensitive(FeatureEncoder):
    """Adds its place in the batch to each row; stands for a device that sums in another order."""

    def __init__(self, encoder: FeatureEncoder) -> None:
        self.__dict__.update(vars(encoder))
        self.__dict__.pop("ignores_place", None)

    def launch(self, batch):  # noqa: ANN001, ANN202
        features = super().launch(batch)
        places = features.new_tensor(range(len(features)))
        return features + places[:, None]


def test_where_places_matter_no_batch_crosses_a_video(
    clip: FeatureEncoder, jobs: list[VideoJob]
) -> None:
    assert clip.ignores_place
    encoder = _PlaceSensitive(clip)
    assert not encoder.ignores_place
    together = encoded(encoder, jobs, workers=3)
    alone = {job.video: encoded(encoder, [job], workers=1)[job.video] for job in jobs}
    for name, video in alone.items():
        np.testing.assert_array_equal(together[name].rows, video.rows)


def test_a_broken_video_harms_no_other(
    clip: FeatureEncoder, jobs: list[VideoJob], tmp_path: Path
) -> None:
    content = write_video(tmp_path / "v", [n / 25 for n in range(300)]).read_bytes()
    half = len(content) // 2
    (tmp_path / "holes").write_bytes(content[:half] + bytes(5000) + content[half + 5000 :])
    (tmp_path / "text").write_text("nothing")
    broken = [VideoJob(name, tmp_path / name, name) for name in ("holes", "text")]
    found = list(encode_videos(clip, [*broken, *jobs], RATE, 2))
    causes = {video.video: video.cause for video in found if isinstance(video, BrokenVideo)}
    assert causes["holes"].startswith("damaged")
    assert causes["text"].startswith("cannot be opened")
    rows = {video.job.video: video.rows for video in found if isinstance(video, EncodedVideo)}
    expected = encoded(clip, jobs, workers=1)
    assert set(rows) == set(expected)
    for name, video in expected.items():
        np.testing.assert_array_equal(rows[name], video.rows)


def test_a_run_that_ends_early_leaves_no_thread(clip: FeatureEncoder, jobs: list[VideoJob]) -> None:
    running = encode_videos(clip, jobs * 20, RATE, 3)
    next(running)
    running.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decoder")]


def test_an_error_of_our_own_in_a_thread_is_raised(
    clip: FeatureEncoder, jobs: list[VideoJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room")

    assert clip.ignores_place
    monkeypatch.setattr(FeatureEncoder, "prepare", fail)
    with pytest.raises(MemoryError, match="no room"):
        list(encode_videos(clip, jobs, RATE, 2))
