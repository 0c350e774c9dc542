"""Trials that ran out of memory go on with smaller micro-batches, where settings allow it."""

from dataclasses import replace

from orchestrator.executors.memory_cause import OUT_OF_MEMORY
from orchestrator.study.trial import FailureCause, TrialRequest


def with_smaller_batches(
    request: TrialRequest, cause: FailureCause, workers: int = 1
) -> TrialRequest | None:
    """The request of its next try; None: it has failed.

    Args:
        request: The one that failed.
        cause: Why.
        workers: Among how many its batches were shared.
    """
    speed = request.speed
    if cause.kind != OUT_OF_MEMORY or speed.on_out_of_memory == "fail":
        return None
    at_once = speed.micro_batch_videos or -(-request.settings.training.batch_videos // workers)
    if at_once == 1:
        return None
    smaller = speed.model_copy(update={"micro_batch_videos": -(-at_once // 2)})
    return replace(request, speed=smaller)
