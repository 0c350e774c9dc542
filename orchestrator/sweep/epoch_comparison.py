"""Whether a trial that was run again came to the same, epoch by epoch and metric by metric."""

from dataclasses import dataclass
from math import isnan
from typing import Literal, TypeAlias

from prvr_model.reporting import MAP, MEASURED, NDCG, OWN, VERIFIED, EpochReport

Expectation: TypeAlias = Literal["equal", "close"]
"""Bit for bit, or within the tolerance."""

# Clocks and memory differ from run to run, and these three say how a trial was run; everything
# else is a function of the trial.
_UNREPEATABLE = (*MEASURED, "workers", "micro_batch_videos", "train/exchanged_mb_per_step")
_RECALLS = ("R1", "R5", "R10", "R100", "SumR", NDCG, MAP)
# Groups of metrics that older versions did not report.
_ADDED = (f"val/{VERIFIED}/", f"val/{OWN}/", "cost/")


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
        recall_points: Of a recall, nDCG or mAP, in points of 100; SumR, a sum of four, may move by
            twice that.
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
    """A metric that differs; None: that run did not report it."""

    metric: str
    then: float | None
    now: float | None


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


def compare_epoch(then: EpochReport, now: EpochReport, expectation: Expectation) -> EpochComparison:
    """Compare an epoch of two runs.

    Args:
        then: As it was recorded; where its metrics are lost, the objective alone.
        now: As it was run again.
        expectation: What is allowed.
    """
    is_whole = len(then.metrics) > 1
    names = dict.fromkeys([*then.metrics, *(now.metrics if is_whole else ())])
    left_out = [*_UNREPEATABLE, *_unknown_then(then)]
    pairs = [
        EpochDifference(name, then.metrics.get(name), now.metrics.get(name))
        for name in names
        if not name.startswith(tuple(left_out))
    ]
    unequal = tuple(pair for pair in pairs if not _is_same(pair.then, pair.now))
    too_far = tuple(
        pair for pair in unequal if expectation == "equal" or not _is_close(then.epoch, pair)
    )
    return EpochComparison(then.epoch, len(pairs), unequal, too_far)


def _unknown_then(then: EpochReport) -> list[str]:
    """Groups of metrics that the version which recorded an epoch did not report."""
    return [group for group in _ADDED if not any(name.startswith(group) for name in then.metrics)]


def _is_same(then: float | None, now: float | None) -> bool:
    """Whether both are the same number, or both NaN: a trial may end in NaN."""
    return then == now or (then is not None and now is not None and isnan(then) and isnan(now))


def _is_close(epoch: int, pair: EpochDifference) -> bool:
    if pair.then is None or pair.now is None:
        return False
    return TOLERANCE.allows(epoch, pair.metric, pair.then, pair.now)
