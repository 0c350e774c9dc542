"""Times the real training loop on made-up data of the right sizes, for some seconds.

An epoch of the probe is one step and a small evaluation. The first sizes are small, so that a
machine on which a full batch takes minutes is noticed in seconds; a plan extrapolates from small
sizes. `python -m prvr_model.training.probe` takes a request on stdin and answers on stdout.
"""

import platform
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from prvr_model.files.folder import Folder
from prvr_model.inputs.processor import multiplies_bfloat16
from prvr_model.reporting import Decision, EpochReport
from prvr_model.settings import Settings, SpeedSettings
from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.label_needs import needed_labels
from prvr_model.store.reader import FeatureStore
from prvr_model.store.writer import StoreWriter
from prvr_model.training.probe_messages import ProbeRequest, ProbeResult, ProbeStage
from prvr_model.training.train_loop import train

# Videos of the first steps; together with a larger size they give a step's fixed cost.
_PILOT_VIDEOS = 4
# More steps than these hardly improve the estimate of the spread.
_MOST_STEPS = 12
# The next size is tried if the time left is expected to suffice for this many steps, one of them
# to warm up.
_STEPS_OF_A_SIZE = 3
# A size that is hardly larger tells nothing new.
_GROWTH = 1.5
# Epochs that no probe reaches.
_ENDLESS = 1_000_000
# Evaluating one video per this many trained ones keeps most of the time for steps.
_TRAINED_PER_EVALUATED = 2


def probe(request: ProbeRequest) -> ProbeResult:
    """Time steps of growing size on this machine's worker.

    Raises:
        NonFiniteError: A loss is not finite.
        RuntimeError: The device is missing or has too little memory.
    """
    clock = _Clock(request.limit_s)
    stages = []
    videos: int | None = min(_PILOT_VIDEOS, request.batch_videos)
    with tempfile.TemporaryDirectory(prefix="prvr-probe-") as scratch:
        while videos is not None:
            stage = _Stage(request, videos, clock)
            stages.append(stage.run(Path(scratch) / str(videos)))
            videos = stage.next_videos
    return _result(tuple(stages), torch.device(request.speed.device))


def probe_json(request: str) -> str:
    """`probe` from JSON to JSON, called by name in another process."""
    return probe(ProbeRequest.model_validate_json(request)).model_dump_json()


class _Clock:
    """The time that is left, counted from the first step, since starting CUDA takes its own."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._end: float | None = None

    def left_s(self) -> float:
        if self._end is None:
            self._end = time.monotonic() + self._limit_s
        return self._end - time.monotonic()


@dataclass
class _Stage:
    """Steps of one size, and whether a larger one is to follow."""

    request: ProbeRequest
    videos: int
    clock: _Clock
    next_videos: int | None = None
    _rows: list[EpochReport] = field(default_factory=list)
    _times: list[float] = field(default_factory=list)

    def run(self, folder: Path) -> ProbeStage:
        request = self.request
        val_videos = min(request.val_videos, max(2, self.videos // _TRAINED_PER_EVALUATED))
        val_captions = _write_store(folder / "store", request, self.videos, val_videos)
        store = FeatureStore.open(folder / "store")
        train(
            _endless(request.settings, self.videos),
            store,
            Folder.open(folder / "trial"),
            self._report,
            self._speed(),
        )
        return self._stage(val_videos, val_captions)

    def _speed(self) -> SpeedSettings:
        # The first size measures checkpoints, which take the same time for all sizes.
        if self.videos <= _PILOT_VIDEOS:
            return self.request.speed
        return self.request.speed.model_copy(update={"checkpoint_every_epochs": _ENDLESS})

    def _report(self, row: EpochReport) -> Decision:
        self._rows.append(row)
        self._times.append(time.monotonic())
        left_s, step_s = self.clock.left_s(), row.metrics["time/epoch_s"]
        if len(self._rows) > 1:
            self.next_videos = self._larger(left_s, step_s)
        timed = len(self._rows) - 1
        if self.next_videos is not None or timed >= _MOST_STEPS or step_s > left_s:
            return Decision.STOP
        return Decision.CONTINUE

    def _larger(self, left_s: float, step_s: float) -> int | None:
        """Videos of the next size; None if this is the full size, or no larger one has the time."""
        if step_s <= 0:
            return self.request.batch_videos
        promised = int(self.videos * left_s / step_s / _STEPS_OF_A_SIZE)
        videos = min(self.request.batch_videos, promised)
        whole = videos == self.request.batch_videos
        is_larger = videos > self.videos and (whole or videos >= _GROWTH * self.videos)
        return videos if is_larger else None

    def _stage(self, val_videos: int, val_captions: int) -> ProbeStage:
        # If a second step did not fit into the time, the first is used.
        rows = self._rows[1:] or self._rows
        gaps = np.diff(self._times) if len(self._rows) > 1 else np.zeros(1)
        epochs = [row.metrics["time/epoch_s"] for row in rows]
        evaluations = [row.metrics["time/evaluation_s"] for row in rows]
        return ProbeStage(
            videos=self.videos,
            val_videos=val_videos,
            val_captions=val_captions,
            steps_s=tuple(a - b for a, b in zip(epochs, evaluations, strict=True)),
            evaluations_s=tuple(evaluations),
            others_s=tuple(max(0.0, float(a - b)) for a, b in zip(gaps, epochs, strict=True)),
        )


def _endless(settings: Settings, videos: int) -> Settings:
    """The settings of a trial whose epoch is one step, and that only its host ends."""
    training = settings.training.model_copy(
        update={"epochs": _ENDLESS, "batch_videos": videos, "patience_epochs": None}
    )
    optimizer = settings.optimizer.model_copy(update={"schedule_epochs": _ENDLESS})
    return settings.model_copy(update={"training": training, "optimizer": optimizer})


def _write_store(path: Path, request: ProbeRequest, videos: int, val_videos: int) -> int:
    """Random features of the request's sizes; returns the number of validation captions."""
    generator = np.random.default_rng(0)
    video_dim, text_dim = request.video_dim, request.text_dim
    captions = 0
    with StoreWriter(path, name="probe", video_dim=video_dim, text_dim=text_dim) as writer:
        for split, count in (("train", videos), ("val", val_videos)):
            captions = _write_split(writer, split, count, request, generator)
    return captions


def _write_split(
    writer: StoreWriter,
    split: str,
    videos: int,
    request: ProbeRequest,
    generator: np.random.Generator,
) -> int:
    shape = (request.settings.model.num_frames, request.video_dim)
    # A caption for each video at least; the rest spread evenly.
    has_labels = any(needed_labels(request.settings))
    bounds = np.round(np.arange(videos + 1) * max(1.0, request.captions_per_video)).astype(int)
    for video in range(videos):
        name = f"{split}-{video}"
        known = CaptionAnnotation(relevant=[name] if has_labels else [])
        writer.add_video(split, name, generator.standard_normal(shape, np.float32))
        for caption in range(bounds[video], bounds[video + 1]):
            tokens = generator.standard_normal((_length(request, generator), request.text_dim))
            writer.add_caption(
                split, f"{name}#{caption}", name, "", tokens.astype(np.float32), known
            )
    return int(bounds[-1])


def _length(request: ProbeRequest, generator: np.random.Generator) -> int:
    """Tokens of a caption: half to one and a half times the mean, as captions commonly are."""
    length = round(request.tokens_per_caption * generator.uniform(0.5, 1.5))
    return min(max(1, length), request.settings.model.max_caption_tokens)


def _result(stages: tuple[ProbeStage, ...], device: torch.device) -> ProbeResult:
    # Linux counts in KiB.
    memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device.type != "cuda":
        return ProbeResult(
            stages=stages,
            hardware=platform.machine(),
            memory_bytes=memory_bytes,
            multiplies_bfloat16=multiplies_bfloat16(),
        )
    return ProbeResult(
        stages=stages,
        hardware=torch.cuda.get_device_name(device),
        memory_bytes=memory_bytes,
        gpu_memory_bytes=torch.cuda.max_memory_reserved(device),
        gpu_total_bytes=torch.cuda.get_device_properties(device).total_memory,
    )


if __name__ == "__main__":
    sys.stdout.write(probe_json(sys.stdin.read()))
