"""Trials that run again: after an eviction, with fewer workers, or with smaller micro-batches.

A trial whose process or node dies restarts from its checkpoint under its number; that is no
failure. Only a trial that takes its processes down every time fails at some point
(`EvictedTrials`).

A trial asks for all of its workers. Where they find no slot within the start limit, because a node
is gone, the next try asks for as many as there is room for (`GroupSizes`). Batch, learning rate and
draws do not depend on the number of workers; only dropout and the order of summation do.

Out of memory is one cause, whether Python, numpy, the CPU or the GPU could not allocate. Where the
settings allow it, such a trial continues with smaller micro-batches (`with_smaller_batches`).
"""

import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace

from orchestrator.base.text import first_line
from orchestrator.study.trial import FailureCause, TrialRequest

MAX_EVICTIONS = 5
"""Evictions of a trial between two epochs that it completes; one more and it has failed."""

LEFT = "NodeLeavingError"
"""Raised by a trial that saved its state because its node is being drained."""
STORAGE = "StorageError"
"""Raised by a trial that cannot use its folder: the storage may be away for a moment only."""
_NO_SLOT = "NoSlotError"
PROCESS_LOST = frozenset(
    {
        "RayActorError",
        "ActorDiedError",
        "ActorUnavailableError",
        "LocalRayletDiedError",
        "NodeDiedError",
        "OwnerDiedError",
        "WorkerCrashedError",
    }
)
"""Errors that Ray raises for processes and nodes that are gone."""
# With the error of workers that found no others, and a storage that was away; none of them is a
# trial's own fault.
_EVICTED = PROCESS_LOST | {"SlotLostError", STORAGE}


class EvictedTrials:
    """Counts the evictions of each trial and queues trials that wait for a new slot.

    Args:
        max_evictions: Evictions that a trial may have between two epochs that it completes.
    """

    def __init__(self, max_evictions: int = MAX_EVICTIONS) -> None:
        self._max_evictions = max_evictions
        self._num_evictions: Counter[int] = Counter()
        self._epochs: dict[int, int] = {}
        self._had_slot: set[int] = set()
        self._waiting: deque[TrialRequest] = deque()

    def reported(self, number: int, epoch: int) -> None:
        """A trial reported an epoch, perhaps one that it had reported before it was evicted."""
        self._had_slot.add(number)
        if epoch > self._epochs.get(number, 0):
            self._epochs[number] = epoch
            self._num_evictions[number] = 0

    def requeue_evicted(self, request: TrialRequest, cause: FailureCause) -> bool:
        """Requeue a trial that was evicted; False: it has failed and is not requeued."""
        number = request.number
        if cause.kind != LEFT:
            # A trial that had a slot before looks for another; one that never had a slot has
            # failed.
            looks_again = cause.kind == _NO_SLOT and number in self._had_slot
            self._num_evictions[number] += 1
            is_evicted = looks_again or cause.kind in _EVICTED
            if not is_evicted or self._num_evictions[number] > self._max_evictions:
                return False
        self.requeue(request, cause)
        return True

    def requeue(self, request: TrialRequest, cause: FailureCause) -> None:
        """Queue a trial that runs again however often it was evicted."""
        if cause.kind != _NO_SLOT:
            self._had_slot.add(request.number)
        self._waiting.append(request)

    def next(self) -> TrialRequest | None:
        """The trial that waits longest; None: no trial waits."""
        return self._waiting.popleft() if self._waiting else None


_NO_ROOM = frozenset({"NoSlotError", "SlotLostError"})


class GroupSizes:
    """Decides with how many workers each trial starts.

    Args:
        workers: Workers of a trial that has all of its slots.
        least: The fewest with which a trial continues; equal to `workers`: no trial shrinks.
        free_slots: Counts the workers that would find a slot now.
    """

    def __init__(self, workers: int, least: int, free_slots: Callable[[], int]) -> None:
        self._workers = workers
        self._least = least
        self._free_slots = free_slots
        self._smaller: dict[int, int] = {}

    def of(self, number: int) -> int:
        """Workers of a trial's next try."""
        return self._smaller.get(number, self._workers)

    def shrink(self, number: int, cause: FailureCause) -> bool:
        """Note an eviction; True: the trial found no slots and starts again with fewer workers.

        Any other eviction says nothing about room: the next try asks for all workers again.
        """
        size = self.of(number)
        if cause.kind not in _NO_ROOM:
            self._smaller.pop(number, None)
            return False
        if size <= self._least:
            return False
        # At least one fewer: slots that are free now may have come too late for the last try.
        self._smaller[number] = max(self._least, min(self._free_slots(), size - 1))
        return True


OUT_OF_MEMORY = "OutOfMemoryError"
# Ray raises a class of this name for a process that it ended since the machine's memory was nearly
# full, and torch for a GPU; for the CPU and in cuBLAS torch raises plain RuntimeErrors.
_TEXT = re.compile(r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED", re.I)
_REMEDY = (
    "the trial needs more memory than was left. Fewer trials at once help (concurrency, or more "
    "resources.cpus or resources.gpus for each), and so do micro-batches "
    "(speed.micro_batch_videos, or speed.on_out_of_memory: micro_batches, which keep the loss of "
    "the whole batch) and smaller batches (training.batch_videos, which changes results)"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed."""
    if isinstance(error, MemoryError) or type(error).__name__ == OUT_OF_MEMORY:
        return True
    return isinstance(error, RuntimeError) and bool(_TEXT.search(str(error)))


def memory_message(error: BaseException) -> str:
    """What happened and what to do, the error's own first line at the end."""
    found = first_line(str(error)) or type(error).__name__
    by_ray = type(error).__module__.startswith("ray.")
    return f"{_REMEDY}: {f'killed by Ray for memory ({found})' if by_ray else found}"


def with_smaller_batches(
    request: TrialRequest, cause: FailureCause, workers: int = 1
) -> TrialRequest | None:
    """The request of the trial's next try, with smaller micro-batches; None: it has failed.

    Args:
        request: The request that failed.
        cause: Why it failed.
        workers: Number of workers that shared its batches.
    """
    speed = request.speed
    if cause.kind != OUT_OF_MEMORY or speed.on_out_of_memory == "fail":
        return None
    at_once = speed.micro_batch_videos or -(-request.settings.training.batch_videos // workers)
    if at_once == 1:
        return None
    smaller = speed.model_copy(update={"micro_batch_videos": -(-at_once // 2)})
    return replace(request, speed=smaller)
