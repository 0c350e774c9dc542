"""What a training run tells its host after each epoch, and what the host answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

RECALL_DEPTHS = (1, 5, 10, 100)
"""Depths of the reported recalls, whose sum is SumR."""


class Decision(Enum):
    """Answer of a host to an epoch's report."""

    CONTINUE = "continue"
    STOP = "stop"


@dataclass(frozen=True)
class EpochReport:
    """One row of metrics.

    Args:
        epoch: Number of epochs completed, from 1.
        metrics: Metric name to value, e.g. `val/SumR`; always finite.
        timestamp_ms: Milliseconds since 1970 when the epoch ended; reported again unchanged
            after an interruption, so that no store of metrics counts a row twice.
    """

    epoch: int
    metrics: Mapping[str, float]
    timestamp_ms: int


Report: TypeAlias = Callable[[EpochReport], Decision]

Leave: TypeAlias = Callable[[], bool]
"""Whether the host wants training to save itself and end now; cheap, since asked at every step."""


def stay() -> bool:
    """The answer of a host that lets training run to its end."""
    return False
