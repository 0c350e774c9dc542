"""What a training run tells its host after each epoch, and what the host answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

RECALL_DEPTHS = (1, 5, 10, 100)
"""Depths of the reported recalls, whose sum is SumR."""
NDCG_DEPTH = 10
NDCG, MAP = f"nDCG{NDCG_DEPTH}", "mAP"
"""Names of two metrics where several videos are correct."""
OWN, VERIFIED = "own", "verified"
"""What is correct: the caption's own video, or any video that verified labels name."""
RANKS, CLIP, FRAME = "ranks", "clip", "frame"
"""Names of what is kept of each caption: its fused rank, and those by each branch alone.

With verified labels there are `VERIFIED`, the fused rank of the best video that they name, and
below it nDCG and average precision in percent, see `beside_name`.
"""

PARAMETERS, BYTES_PER_VIDEO = "cost/parameters", "cost/bytes_per_video"
"""Costs of using a model that follow from its settings, see `prvr_model.retrieval.costs`."""
MS_PER_QUERY, TRAIN_S = "cost/ms_per_query", "cost/train_s"
"""Costs that are measured: milliseconds of a query, seconds of all epochs so far."""
MEASURED = ("time/", "memory/", MS_PER_QUERY, TRAIN_S)
"""How names of metrics begin that differ from run to run of the same trial."""


def beside_name(metric: str) -> str:
    """What a caption's own share of nDCG or mAP by verified labels is kept as."""
    return f"{VERIFIED}_{metric}"


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
