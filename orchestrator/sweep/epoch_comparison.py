"""Whether a trial that was run again came to the same, epoch by epoch and metric by metric."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from prvr_model.reporting import EpochReport

Expectation: TypeAlias = Literal["equal", "close"]
"""Bit for bit, or within the tolerance."""

# Clocks and memory differ from run to run, and these three say how a trial was run; everything
# else is a function of the trial.
_UNREPEATABLE = ("time/", "memory/", "workers", "micro_batch_videos", "train/exchanged_mb_per_step")
_RECALLS = ("R1", "R5", "R10", "R100", "SumR")


@dataclass(frozen=True)
class Tolerance:
    """How far two runs of a trial on machines of different kinds may be apart.

    Sums in another order differ in their last bit, and training magnifies that. Measured on the
    built-in data, with every weight moved to a neighbouring number at random at the start, three
    times: losses differ by less than 1e-6 of their size after epoch 1, 0.1 % after 3, 1.4 % after
    6 and 2.4 % after 9, a recall by 2.7 points and SumR by 3.6 after 9, collapse figures by 9 %.
    Another seed differs by 6 % and 11.6 points of SumR after epoch 1 already. So the first epoch is
    the sharper test, and what is allowed later lies between the two.

    Args:
        relative: Of losses and the like, as a share of the larger value; collapse figures, which
            are ratios of small differences, may move by three times that.
        recall_points: Of a recall, in points of 100; SumR, a sum of four, may move by twice that.
        first_epoch: Share of both that is allowed in the first epoch.
    """

    relative: float = 0.05
    recall_points: float = 4.0
    first_epoch: float = 0.2

    def allows(self, epoch: int, metric: str, then: float, now: float) -> bool:
        """Whether two values of a metric after an epoch, counted from 1, are close enough."""
        share = self.first_epoch if epoch == 1 else 1.0
        name = metric.rpartition("/")[2]
        if name in _RECALLS:
            points = share * self.recall_points * (2 if name == "SumR" else 1)
            return abs(then - now) <= points
        relative = share * self.relative * (3 if "collapse/" in metric else 1)
        return abs(then - now) <= relative * max(abs(then), abs(now))


TOLERANCE = Tolerance()


@dataclass(frozen=True)
class EpochDifference:
    """A metric with two values; None: that run did not report it."""

    metric: str
    then: float | None
    now: float | None

    @property
    def is_equal(self) -> bool:
        """Whether both are the same number, or the same lack of one: a trial may end in NaN."""
        if self.then is None or self.now is None:
            return self.then is self.now
        return self.then == self.now or (math.isnan(self.then) and math.isnan(self.now))


@dataclass(frozen=True)
class EpochComparison:
    """An epoch of both runs.

    Args:
        epoch: Epochs completed, from 1.
        num_compared: Metrics that were compared.
        unequal: Those that differ in any bit.
        too_far: Those of them that differ by more than is allowed.
    """

    epoch: int
    num_compared: int
    unequal: tuple[EpochDifference, ...]
    too_far: tuple[EpochDifference, ...]


def compare_epoch(
    then: EpochReport, now: EpochReport, expectation: Expectation, *, is_whole: bool = True
) -> EpochComparison:
    """Compare an epoch of two runs.

    Args:
        then: As it was recorded.
        now: As it was run again.
        expectation: What is allowed.
        is_whole: Whether all metrics were recorded; else only those that were are compared.
    """
    names = [*then.metrics, *(now.metrics if is_whole else ())]
    compared = [name for name in dict.fromkeys(names) if not name.startswith(_UNREPEATABLE)]
    unequal = [_difference(name, then.metrics, now.metrics) for name in compared]
    found = tuple(metric for metric in unequal if not metric.is_equal)
    too_far = tuple(
        metric for metric in found if expectation == "equal" or not _is_close(then.epoch, metric)
    )
    return EpochComparison(then.epoch, len(compared), found, too_far)


def _difference(name: str, then: Mapping[str, float], now: Mapping[str, float]) -> EpochDifference:
    return EpochDifference(name, then.get(name), now.get(name))


def _is_close(epoch: int, difference: EpochDifference) -> bool:
    if difference.then is None or difference.now is None:
        return False
    return TOLERANCE.allows(epoch, difference.metric, difference.then, difference.now)


def machine_differences(
    then: Mapping[str, Any], now: Mapping[str, Any], *, uses_gpu: bool
) -> tuple[str, ...]:
    """What makes this machine another kind than the recorded one, in words; empty: the same kind.

    Args:
        then: `machine.hardware` as recorded.
        now: The same, of this machine.
        uses_gpu: Whether the trial is trained on a GPU.
    """
    if not then:
        return ("the machine was not recorded",)
    kinds = {"cpu": "CPU"} | ({"gpus": "GPUs"} if uses_gpu else {})
    return tuple(
        f"{word} {_shown(now.get(key))}, then {_shown(then.get(key))}"
        for key, word in kinds.items()
        if _kind(now.get(key)) != _kind(then.get(key))
    )


def _kind(value: object) -> object:
    # More cards of one kind are still that kind.
    return sorted(set(value)) if isinstance(value, list) else value


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def package_differences(
    then: Mapping[str, str], now: Mapping[str, str], names: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Packages of other versions than recorded, in words.

    Args:
        then: Version by package.
        now: The same, installed now.
        names: The packages that are looked at; None: all that were recorded.
    """
    return tuple(
        f"{name} {now.get(name, 'missing')}, then {then.get(name, 'not recorded')}"
        for name in (then if names is None else names)
        if then.get(name) != now.get(name)
    )
