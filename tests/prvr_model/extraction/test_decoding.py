"""Frames are sampled by presentation time, upright; what cannot be decoded says why."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from prvr_model.extraction.decoding import Sampling, VideoError, VideoFrames
from tests.small_videos import LEVELS, direct_frames, level, real_videos, write_audio, write_video

STEADY = [number / 25 for number in range(50)]


def levels(path: Path, sampling: Sampling) -> list[int]:
    return [level(picture) for picture in VideoFrames(path, sampling)]


@pytest.mark.parametrize("video", [path for path in real_videos() if "bunny" not in path.name])
def test_real_videos_equal_a_direct_scripts_frames(video: Path) -> None:
    expected = direct_frames(video, 3)
    found = list(VideoFrames(video, Sampling(3.0)))
    assert len(found) == len(expected)
    for picture, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(picture, other)


def test_samples_follow_the_times_not_the_count_of_frames(tmp_path: Path) -> None:
    # Frame 1 is shown for a second, frames 2 to 5 for a tenth each, frame 6 for 1/25 s.
    path = write_video(tmp_path / "uneven.mp4", [0.0, 0.5, 1.5, 1.6, 1.7, 1.8, 1.9])
    frames = VideoFrames(path, Sampling(4.0))
    assert [level(picture) for picture in frames] == [0, 0, 1, 1, 1, 1, 2, 4]
    assert frames.duration_s == pytest.approx(1.94)


def test_time_begins_with_the_first_frame(tmp_path: Path) -> None:
    late = write_video(tmp_path / "late.mp4", [3 + time for time in STEADY])
    assert levels(late, Sampling(5.0)) == levels(
        write_video(tmp_path / "early.mp4", STEADY), Sampling(5.0)
    )


@pytest.mark.parametrize("rate", [3.0, 29.97, 0.4, 25.0])
def test_a_row_stands_for_each_begun_interval(rate: float, tmp_path: Path) -> None:
    frames = VideoFrames(write_video(tmp_path / "v.mp4", STEADY), Sampling(rate))
    samples = [level(picture) for picture in frames]
    assert frames.duration_s == pytest.approx(2.0)
    times = [k / Fraction(str(rate)) for k in range(len(samples) + 1)]
    assert times[-2] < 2 <= times[-1]
    assert samples == [int(time * 25) % LEVELS for time in times[:-1]]


def test_a_long_video_is_cut(tmp_path: Path) -> None:
    frames = VideoFrames(write_video(tmp_path / "v.mp4", STEADY), Sampling(4.0, max_seconds=0.8))
    assert len(list(frames)) == 4
    assert frames.duration_s == pytest.approx(0.8)


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    assert levels(write_video(tmp_path / "one.mp4", [0.0]), Sampling(3.0)) == [0]


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    (plain,) = VideoFrames(write_video(tmp_path / "p.mp4", [0, 0.1, 0.2, 0.3]), Sampling(1.0))
    assert plain.shape == (48, 64, 3)
    path = write_video(tmp_path / "t.mp4", [0.0, 0.25, 0.5, 0.75], turned=True)
    bright = list(VideoFrames(path, Sampling(4.0)))[3]
    # What was left is above once the picture is turned clockwise.
    assert bright.shape == (64, 48, 3)
    assert bright[:24].mean() > 80
    assert bright[40:].mean() < 10


def test_names_may_have_any_letters(tmp_path: Path) -> None:
    path = write_video(tmp_path / "http:été 猫 100%d: a#b?.mp4", STEADY)
    assert len(levels(path, Sampling(3.0))) == 6


def cause(path: Path) -> str:
    with pytest.raises(VideoError) as caught:
        list(VideoFrames(path, Sampling(3.0)))
    return str(caught.value)


def test_a_file_without_pictures_says_so(tmp_path: Path) -> None:
    assert cause(write_audio(tmp_path / "a.mp4")) == "it has no video stream, only audio"
    (tmp_path / "empty.mp4").touch()
    assert cause(tmp_path / "empty.mp4") == "the file is empty"
    (tmp_path / "text.mp4").write_text("no video " * 99)
    assert cause(tmp_path / "text.mp4").startswith("cannot be opened: Invalid data")
    assert cause(tmp_path / "gone.mp4") == "cannot be opened: No such file or directory"


def test_a_list_of_other_files_is_not_followed(tmp_path: Path) -> None:
    write_video(tmp_path / "other.mp4", STEADY)
    (tmp_path / "v.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    assert cause(tmp_path / "v.mp4") == "it is a list of other files (concat)"


def test_a_video_that_is_cut_short_or_damaged_says_where(tmp_path: Path) -> None:
    bikes = next(path for path in real_videos() if path.name == "bikes.mp4").read_bytes()
    middle = len(bikes) // 2
    for name, content, message in (
        ("cut.mp4", bikes[:middle], "cannot be opened"),
        ("holes.mp4", bikes[:middle] + bytes(3000) + bikes[middle + 3000 :], "damaged after 4.8 s"),
        ("bits.mp4", bikes[:middle] + bytes(range(40)) + bikes[middle + 40 :], "damaged at 5.0 s"),
    ):
        (tmp_path / name).write_bytes(content)
        assert cause(tmp_path / name).startswith(message)


def test_a_video_that_ends_before_its_header_says_so(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "w.mp4", [number / 5 for number in range(50)]).read_bytes()
    # The header moves to the front, as in files made for the network, and its video is cut.
    with av.open(str(tmp_path / "w.mp4")) as source:
        options = {"movflags": "faststart"}
        with av.open(str(tmp_path / "f.mp4"), "w", options=options) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
    content = (tmp_path / "f.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(whole) * 6 // 10])
    assert cause(tmp_path / "cut.mp4").startswith(("cut short: ", "damaged at "))
