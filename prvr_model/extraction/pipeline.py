"""Decodes, prepares and encodes many videos at once.

Threads decode and prepare, a video each; this thread encodes. Batches cross the boundaries of
videos, or an encoder would idle at each short one.
"""

import queue
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np
import torch

from prvr_model.extraction.decoding import Sampling, VideoError, VideoFrames
from prvr_model.extraction.encoder import FeatureEncoder, Prepared

# Frames that a thread prepares at a time: few, since each is a whole picture until then.
_CHUNK = 8
# Chunks that wait for the encoder, per thread: the next one is there when it has finished one.
_WAITING_CHUNKS = 4


@dataclass(frozen=True)
class VideoJob:
    """A video to encode.

    Args:
        video: Its id.
        path: Its file.
        key: Another one for each id and each content of the file; names the video's part.
    """

    video: str
    path: Path
    key: str


@dataclass(frozen=True)
class EncodedVideo:
    """A video's features: (T, D) float32 rows, and how much of it they cover."""

    job: VideoJob
    rows: np.ndarray
    duration_s: float

    @property
    def video(self) -> str:
        """Its id."""
        return self.job.video


@dataclass(frozen=True)
class BrokenVideo:
    """A video that cannot be used, and why."""

    video: str
    cause: str


@dataclass(frozen=True)
class _Chunk:
    """Some prepared frames of a video."""

    number: int
    frames: Prepared

    def __len__(self) -> int:
        return len(next(iter(self.frames.values())))


@dataclass(frozen=True)
class _End:
    """All of a video's frames were sent, or it is broken."""

    number: int
    duration_s: float = 0.0
    cause: str | None = None


@dataclass(frozen=True)
class _Gone:
    """A thread has ended."""

    error: BaseException | None = None


_Sent = _Chunk | _End | _Gone


def encode_videos(
    encoder: FeatureEncoder, jobs: Sequence[VideoJob], sampling: Sampling, workers: int
) -> Iterator[EncodedVideo | BrokenVideo]:
    """Encode videos, each of which is given when it is finished, in any order.

    Args:
        encoder: The encoder.
        jobs: The videos.
        sampling: Which frames become rows.
        workers: Threads that decode and prepare.
    """
    workers = max(1, min(workers, len(jobs)))
    sent: queue.Queue[_Sent] = queue.Queue(workers * _WAITING_CHUNKS)
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(jobs)):
        todo.put(number)
    stop = Event()
    feeder = _Feeder(encoder, jobs, sampling, todo, sent, stop)
    with ThreadPoolExecutor(workers, "decoder") as threads:
        for _ in range(workers):
            threads.submit(feeder.run)
        inbox = _Inbox(sent, workers)
        try:
            yield from _Encoding(encoder, jobs).run(inbox)
        finally:
            stop.set()
            inbox.drain()


class _Inbox:
    """What threads send, until all of them have ended; an interrupt leaves it usable."""

    def __init__(self, sent: "queue.Queue[_Sent]", threads: int) -> None:
        self._sent = sent
        self._threads = threads
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[_Chunk | _End]:
        while self._threads:
            item = self._sent.get()
            if not isinstance(item, _Gone):
                yield item
                continue
            self._threads -= 1
            self._error = self._error or item.error
        if self._error:
            raise self._error

    def drain(self) -> None:
        """Throw away what is there and comes, so that no thread waits for room any more."""
        while self._threads:
            self._threads -= isinstance(self._sent.get(), _Gone)


@dataclass(frozen=True)
class _Feeder:
    """Decodes and prepares one video after the other; runs in several threads."""

    encoder: FeatureEncoder
    jobs: Sequence[VideoJob]
    sampling: Sampling
    todo: "queue.SimpleQueue[int]"
    sent: "queue.Queue[_Sent]"
    stop: Event

    def run(self) -> None:
        error: BaseException | None = None
        try:
            while not self.stop.is_set():
                self._feed(self.todo.get_nowait())
        except queue.Empty:
            pass
        except BaseException as raised:  # noqa: BLE001 - raised again by the thread that encodes
            error = raised
            self.stop.set()
        self.sent.put(_Gone(error))

    def _feed(self, number: int) -> None:
        frames = VideoFrames(self.jobs[number].path, self.sampling)
        try:
            for pictures in _chunks(frames):
                if self.stop.is_set():
                    return
                self.sent.put(_Chunk(number, self.encoder.prepare(pictures)))
        except VideoError as error:
            self.sent.put(_End(number, cause=str(error)))
        else:
            self.sent.put(_End(number, frames.duration_s))


def _chunks(frames: VideoFrames) -> Iterator[list[np.ndarray]]:
    chunk: list[np.ndarray] = []
    for picture in frames:
        chunk.append(picture)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


@dataclass
class _Video:
    """A video on its way through the encoder."""

    rows: list[np.ndarray] = field(default_factory=list)
    sent: int = 0
    encoded: int = 0
    end: _End | None = None

    @property
    def is_finished(self) -> bool:
        return self.end is not None and (self.end.cause is not None or self.encoded == self.sent)


class _Encoding:
    """Collects prepared frames into batches, and their rows into videos."""

    def __init__(self, encoder: FeatureEncoder, jobs: Sequence[VideoJob]) -> None:
        self._encoder = encoder
        self._jobs = jobs
        self._videos: dict[int, _Video] = {}
        # Where a row depended on its place, a batch across videos would depend on which came first.
        self._crosses = encoder.ignores_place
        self._waiting: dict[int, list[_Chunk]] = {}
        self._launched: tuple[list[_Chunk], torch.Tensor] | None = None

    def run(self, inbox: _Inbox) -> Iterator[EncodedVideo | BrokenVideo]:
        for item in inbox:
            video = self._videos.setdefault(item.number, _Video())
            if isinstance(item, _Chunk):
                video.sent += len(item)
                self._waiting.setdefault(self._line(item.number), []).append(item)
                yield from self._encode(self._line(item.number), is_last=False)
            else:
                video.end = item
                if not self._crosses:
                    yield from self._encode(item.number, is_last=True)
                yield from self._finished([item.number])
        for line in list(self._waiting):
            yield from self._encode(line, is_last=True)
        yield from self._collect()

    def _line(self, number: int) -> int:
        """In which line frames of a video wait for a batch."""
        return 0 if self._crosses else number

    def _encode(self, line: int, *, is_last: bool) -> Iterator[EncodedVideo | BrokenVideo]:
        """Launch the batches that are full, and what is left if nothing more will come."""
        size = self._encoder.frames_per_batch
        waiting = self._waiting.pop(line, [])
        while sum(map(len, waiting)) >= size or (is_last and waiting):
            batch, waiting = _split(waiting, size)
            frames = {
                name: torch.cat([chunk.frames[name] for chunk in batch]) for name in batch[0].frames
            }
            features = self._encoder.launch(frames)
            # The rows of the batch before: a GPU has the next one to do while they are fetched.
            yield from self._collect()
            self._launched = (batch, features)
        if waiting:
            self._waiting[line] = waiting

    def _collect(self) -> Iterator[EncodedVideo | BrokenVideo]:
        """Give the rows of the launched batch to their videos."""
        if self._launched is None:
            return
        (batch, features), self._launched = self._launched, None
        rows, begin = self._encoder.fetched(features), 0
        for chunk in batch:
            video = self._videos.get(chunk.number)
            if video is not None:
                video.rows.append(rows[begin : begin + len(chunk)])
                video.encoded += len(chunk)
            begin += len(chunk)
        yield from self._finished(dict.fromkeys(chunk.number for chunk in batch))

    def _finished(self, numbers: Iterable[int]) -> Iterator[EncodedVideo | BrokenVideo]:
        for number in numbers:
            video = self._videos.get(number)
            if video is None or video.end is None or not video.is_finished:
                continue
            del self._videos[number]
            job = self._jobs[number]
            if video.end.cause is not None:
                yield BrokenVideo(job.video, video.end.cause)
            else:
                yield EncodedVideo(job, np.concatenate(video.rows), video.end.duration_s)


def _split(chunks: list[_Chunk], size: int) -> tuple[list[_Chunk], list[_Chunk]]:
    """The first `size` frames, and the rest."""
    first: list[_Chunk] = []
    rest = list(chunks)
    while size and rest:
        chunk = rest.pop(0)
        if len(chunk) > size:
            rest.insert(0, _cut(chunk, slice(size, None)))
            chunk = _cut(chunk, slice(0, size))
        first.append(chunk)
        size -= len(chunk)
    return first, rest


def _cut(chunk: _Chunk, part: slice) -> _Chunk:
    return _Chunk(chunk.number, {name: rows[part] for name, rows in chunk.frames.items()})
