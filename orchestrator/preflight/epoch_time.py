"""Seconds of an epoch over a search space, from the sizes alone or from a probe, with a band."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Literal

from orchestrator.preflight.estimate import evaluation_operations, seconds_per_epoch
from orchestrator.spec.data import DataSize
from prvr_model.settings import Settings, SpeedSettings
from prvr_model.training.probe_messages import ProbeRequest, ProbeResult, ProbeStage

# Two runs of the same steps on one machine differ by this share at least.
_LEAST_SPREAD = 0.05
# A full batch that had no time is extrapolated from smaller ones, which was right within this.
_EXTRAPOLATION = 0.2
# Several workers reach this share of their number in speed at least; the rest is exchange.
_LEAST_PARALLEL = 0.8


@dataclass(frozen=True)
class EpochTime:
    """Seconds of one epoch of one trial, evaluation and checkpoint included.

    Args:
        mean_s: Mean over the search space.
        band_s: Mean over the cheaper and over the dearer half of the space, at the fastest and
            the slowest that was measured: a sweep may settle in either half.
        range_s: The cheapest and the dearest point of the space, likewise.
        source: Whether it comes from the sizes alone or from a probe.
    """

    mean_s: float
    band_s: tuple[float, float]
    range_s: tuple[float, float]
    source: Literal["sizes", "probe"]

    @classmethod
    def over_space(
        cls,
        costs: Sequence[float],
        spread: "TimeRange",
        source: Literal["sizes", "probe"],
    ) -> "EpochTime":
        """Time of a space whose points cost `costs` times what was measured.

        Args:
            costs: Relative cost of points drawn from the space.
            spread: Seconds at relative cost 1.
            source: Where they come from.
        """
        ordered = sorted(costs)
        half = (len(ordered) + 1) // 2
        return cls(
            mean_s=spread.mean_s * fmean(ordered),
            band_s=(spread.low_s * fmean(ordered[:half]), spread.high_s * fmean(ordered[-half:])),
            range_s=(spread.low_s * ordered[0], spread.high_s * ordered[-1]),
            source=source,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, in seconds."""
        return {
            "mean": self.mean_s,
            "band": list(self.band_s),
            "range": list(self.range_s),
            "source": self.source,
        }


@dataclass(frozen=True)
class TimeRange:
    """A time and the fastest and slowest that it was."""

    mean_s: float
    low_s: float
    high_s: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "TimeRange":
        """Median and extremes of measured times."""
        return cls(median(values), min(values), max(values))

    def __add__(self, other: "TimeRange") -> "TimeRange":
        return TimeRange(
            self.mean_s + other.mean_s, self.low_s + other.low_s, self.high_s + other.high_s
        )

    def __mul__(self, factor: float) -> "TimeRange":
        return TimeRange(factor * self.mean_s, factor * self.low_s, factor * self.high_s)

    def widened(self, share: float) -> "TimeRange":
        """The same with a band of this share of the mean on both sides at least."""
        return TimeRange(
            self.mean_s,
            min(self.low_s, self.mean_s * (1 - share)),
            max(self.high_s, self.mean_s * (1 + share)),
        )


def rough_time(
    drawn: Sequence[Settings], size: DataSize, speed: SpeedSettings, workers: int
) -> EpochTime:
    """Time estimated from the sizes alone, for workers that lose nothing to each other."""
    costs = [seconds_per_epoch(settings, size, speed) / workers for settings in drawn]
    return EpochTime.over_space(costs, TimeRange(1.0, 1.0, 1.0), "sizes")


def probed_time(
    drawn: Sequence[Settings],
    size: DataSize,
    request: ProbeRequest,
    result: ProbeResult,
    workers: int,
) -> EpochTime:
    """Time from a probe of one point of the space; other points cost more or less by the sizes."""
    measured = measured_epoch(size, request, result, workers)

    def cost(settings: Settings) -> float:
        return seconds_per_epoch(settings, size, request.speed)

    probed = cost(request.settings)
    return EpochTime.over_space([cost(settings) / probed for settings in drawn], measured, "probe")


def measured_epoch(
    size: DataSize, request: ProbeRequest, result: ProbeResult, workers: int
) -> TimeRange:
    """Seconds of an epoch at the probed point: its steps, its evaluation and its checkpoint."""
    last = result.stages[-1]
    steps = -(-size.train_videos // (request.batch_videos * workers))
    whole = _step(request, result) * steps + _evaluation(size, request, last) * (1 / workers)
    # Two workers are slower than half of one; the exchange was not measured.
    slowest = whole.high_s if workers == 1 else whole.high_s / _LEAST_PARALLEL
    return TimeRange(whole.mean_s, whole.low_s, slowest) + _other(result)


def _step(request: ProbeRequest, result: ProbeResult) -> TimeRange:
    """A step of a full batch: as measured, or on a line through the smallest and largest size."""
    first, last = result.stages[0], result.stages[-1]
    steps = TimeRange.of(last.steps_s)
    if last.videos == request.batch_videos:
        return steps.widened(_LEAST_SPREAD)
    missing = request.batch_videos - last.videos
    pilot_s = median(first.steps_s)

    def extended(step_s: float) -> float:
        grown = last.videos - first.videos
        slope = (step_s - pilot_s) / grown if grown else 0.0
        # Noise may hide the growth; a step never grows faster than its videos.
        return step_s + missing * (slope if 0 < slope < step_s / last.videos else per_video(step_s))

    def per_video(step_s: float) -> float:
        return step_s / last.videos

    return _each(extended, steps).widened(_EXTRAPOLATION)


def _each(change: Callable[[float], float], spread: TimeRange) -> TimeRange:
    return TimeRange(change(spread.mean_s), change(spread.low_s), change(spread.high_s))


def _evaluation(size: DataSize, request: ProbeRequest, stage: ProbeStage) -> TimeRange:
    """The whole validation split, by the operations of what was evaluated."""
    model = request.settings.model
    captions = round(size.val_videos * size.captions_per_video)
    whole = evaluation_operations(model, size, size.val_videos, captions)
    part = evaluation_operations(model, size, stage.val_videos, stage.val_captions)
    return TimeRange.of(stage.evaluations_s).widened(_LEAST_SPREAD) * (whole / part)


def _other(result: ProbeResult) -> TimeRange:
    """What the first size spent on checkpoints and the like; their size is the same for all."""
    return TimeRange.of(result.stages[0].others_s)
