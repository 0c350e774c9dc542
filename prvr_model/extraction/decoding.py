"""Samples a video's frames by presentation time, with PyAV.

Sample k is what a viewer sees k / rate seconds after the first frame: the last frame whose time has
come. So a row of features has a time, whatever the rate of the video and however it varies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from prvr_model.errors import DataError

# Declared lengths are rounded, and an audio track may outlast the pictures.
_SLACK_S = 1.0
_SLACK_SHARE = 0.05
# Containers that are lists of other files, which may lie anywhere.
_PLAYLISTS = {"hls", "concat", "dash", "imf", "webm_dash_manifest"}


class VideoError(DataError):
    """A video cannot be used; the message is the cause, without the video's name."""


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video become rows.

    Args:
        frames_per_second: Samples a second.
        max_seconds: Where a video is cut; None: nowhere.
    """

    frames_per_second: float
    max_seconds: float | None = None

    @property
    def interval_s(self) -> Fraction:
        """Time between samples, exactly what the decimal number says."""
        return 1 / Fraction(str(self.frames_per_second))


class VideoFrames:
    """The sampled frames of one video; iterate once, then read `duration_s`.

    Args:
        path: The video.
        sampling: Which frames are wanted.
        threads: Decoding threads; 0: as many as the decoder likes.
    """

    def __init__(self, path: Path, sampling: Sampling, threads: int = 1) -> None:
        self._path = path
        self._sampling = sampling
        self._threads = threads
        self.duration_s = 0.0

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames, each (H, W, 3) uint8 RGB, upright.

        Raises:
            VideoError: The video has no pictures, or cannot be decoded to its end.
        """
        import av

        try:
            if not self._path.stat().st_size:
                raise VideoError("the file is empty")
            # The prefix lets names with colons be names. Playlists must not reach the network.
            options = {"protocol_whitelist": "file"}
            with av.open(f"file:{self._path}", options=options) as container:
                yield from self._samples(container)
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(self._cause(error)) from error

    def _cause(self, error: OSError) -> str:
        reason = error.strerror or str(error)
        if self.duration_s:
            return f"damaged after {self.duration_s:.1f} s: {reason}"
        return f"cannot be opened: {reason}"

    def _samples(self, container: Any) -> Iterator[np.ndarray]:  # noqa: ANN401
        stream = _video_stream(container)
        stream.codec_context.thread_count = self._threads
        stream.thread_type = "AUTO"
        interval, sample = self._sampling.interval_s, 0
        start: Fraction | None = None
        for frame, shown_from, shown_to in _shown(container, stream):
            start = shown_from if start is None else start
            end = self._cut(shown_to - start)
            picture = None
            while sample * interval < end:
                # One conversion, however often a slow video's frame is sampled.
                picture = _upright(frame) if picture is None else picture
                yield picture
                sample += 1
            self.duration_s = float(end)
            if end < shown_to - start:
                return
        if start is None:
            raise VideoError("it has no frames")
        _refuse_cut_short(container, stream, self.duration_s)

    def _cut(self, end: Fraction) -> Fraction:
        limit = self._sampling.max_seconds
        return end if limit is None else min(end, Fraction(str(limit)))


def _video_stream(container: Any) -> Any:  # noqa: ANN401
    from av.stream import Disposition

    if _PLAYLISTS & set(container.format.name.split(",")):
        raise VideoError(f"it is a list of other files ({container.format.name})")
    streams = [
        stream
        for stream in container.streams.video
        # The cover of a song is a picture, not a video.
        if not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        raise VideoError(f"it has no video stream, only {', '.join(kinds) or 'nothing'}")
    return streams[0]


def _shown(container: Any, stream: Any) -> Iterator[tuple[Any, Fraction, Fraction]]:  # noqa: ANN401
    """Frames with the times from and to which each is shown; none that is shown for no time."""
    last: Any = None
    last_time, length = Fraction(0), _usual_length(stream)
    for frame in container.decode(stream):
        if frame.is_corrupt:
            raise VideoError(f"damaged at {float(frame.time or last_time):.1f} s")
        if frame.pts is None:
            raise VideoError("its frames have no times")
        time = frame.pts * frame.time_base
        if last is not None and time > last_time:
            yield last, last_time, time
            length = time - last_time
        if last is None or time > last_time:
            last, last_time = frame, time
    if last is not None:
        own = (last.duration or 0) * last.time_base
        yield last, last_time, last_time + (own or length)


def _usual_length(stream: Any) -> Fraction:  # noqa: ANN401
    return 1 / Fraction(stream.average_rate) if stream.average_rate else Fraction(1, 25)


def _upright(frame: Any) -> np.ndarray:  # noqa: ANN401
    """The frame as (H, W, 3) RGB, turned as players turn it."""
    picture: np.ndarray = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90)
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _refuse_cut_short(container: Any, stream: Any, duration_s: float) -> None:  # noqa: ANN401
    """Refuse a video that ends well before the length that its header says."""
    import av

    if stream.duration is not None:
        declared = float(stream.duration * stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        declared = container.duration / av.time_base
    else:
        # Of several streams, any may be the long one.
        return
    if duration_s < declared * (1 - _SLACK_SHARE) - _SLACK_S:
        raise VideoError(f"cut short: {duration_s:.1f} s of {declared:.1f} s are there")
