"""Trials that run again: after an eviction, with fewer workers, or with smaller micro-batches.

A trial whose process or node dies restarts from its checkpoint under its number; that is no
failure. Only a trial that takes its processes down every time fails at some point (`LostTrials`).

A trial asks for all of its workers. Where they find no slot within the start limit, because a node
is gone, the next try asks for as many as there is room for (`GroupSizes`). Batch, learning rate and
draws are those of the settings whatever the number, so nothing but dropout and summation differs.

Out of memory is one cause, whether Python, numpy, the CPU or the GPU could not allocate. Where the
settings allow it, such a trial continues with smaller micro-batches (`with_smaller_batches`).
"""

import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace

from orchestrator.study.trial import FailureCause, TrialRequest

MAX_LOSSES = 5
"""Losses of a trial between two epochs that it completes; one more and it has failed."""

LEFT = "NodeLeavingError"
"""What a trial raises that saved itself since its node is being drained."""
STORAGE = "StorageError"
"""What a trial raises that cannot use its folder: the storage may be away for a moment only."""
_NO_PLACE = "NoSlotError"
# What Ray says of processes and nodes that are gone, what workers come to that found no others, and
# a storage that was away; none of them is a trial's own fault.
_LOST = frozenset(
    {
        "RayActorError",
        "ActorDiedError",
        "ActorUnavailableError",
        "LocalRayletDiedError",
        "NodeDiedError",
        "OwnerDiedError",
        "SlotLostError",
        STORAGE,
        "WorkerCrashedError",
    }
)


class LostTrials:
    """Counts losses and keeps requests that wait for a new place.

    Args:
        max_losses: Losses of a trial between two epochs that it completes.
    """

    def __init__(self, max_losses: int = MAX_LOSSES) -> None:
        self._max_losses = max_losses
        self._losses: Counter[int] = Counter()
        self._epochs: dict[int, int] = {}
        self._placed: set[int] = set()
        self._waiting: deque[TrialRequest] = deque()

    def reported(self, number: int, epoch: int) -> None:
        """A trial reported an epoch, perhaps one that it had reported before it was lost."""
        self._placed.add(number)
        if epoch > self._epochs.get(number, 0):
            self._epochs[number] = epoch
            self._losses[number] = 0

    def take_back(self, request: TrialRequest, cause: FailureCause) -> bool:
        """Keep a trial that was lost; False where it has failed."""
        number = request.number
        if cause.kind != LEFT:
            # A trial that had a slot before looks for another; one that never had a slot has
            # failed.
            looks_again = cause.kind == _NO_PLACE and number in self._placed
            self._losses[number] += 1
            is_lost = looks_again or cause.kind in _LOST
            if not is_lost or self._losses[number] > self._max_losses:
                return False
        self.put_back(request, cause)
        return True

    def put_back(self, request: TrialRequest, cause: FailureCause) -> None:
        """Keep a trial that is to run again whatever it has lost."""
        if cause.kind != _NO_PLACE:
            self._placed.add(request.number)
        self._waiting.append(request)

    def next(self) -> TrialRequest | None:
        """The trial that waits longest; None: no trial waits."""
        return self._waiting.popleft() if self._waiting else None


_NO_ROOM = frozenset({"NoSlotError", "SlotLostError"})


class GroupSizes:
    """Sizes by trial.

    Args:
        workers: Workers of a trial that has its place.
        least: The fewest with which one goes on; as many as `workers`: none ever shrinks.
        free_slots: How many workers would find a place now.
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
        """Take note of a loss; True: it found no place, and is to be tried with fewer workers.

        Any other loss says nothing about room: the next try asks for all workers again.
        """
        size = self.of(number)
        if cause.kind not in _NO_ROOM:
            self._smaller.pop(number, None)
            return False
        if size <= self._least:
            return False
        # One less at least: what is free now may be what its last try was too late for.
        self._smaller[number] = max(self._least, min(self._free_slots(), size - 1))
        return True


OUT_OF_MEMORY = "OutOfMemoryError"
# torch raises a class of this name for a GPU, and plain RuntimeErrors for the CPU and in cuBLAS.
_TEXT = re.compile(r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED", re.I)
_REMEDY = (
    "the trial needs more memory than was left. Fewer trials at once help (concurrency, or more "
    "resources.cpus or resources.gpus for each), and so do micro-batches "
    "(speed.micro_batch_videos, or speed.on_out_of_memory: micro_batches, which keep the loss of "
    "the whole batch) and smaller batches (training.batch_videos, which changes results)"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had."""
    if isinstance(error, MemoryError) or type(error).__name__ == OUT_OF_MEMORY:
        return True
    return isinstance(error, RuntimeError) and bool(_TEXT.search(str(error)))


def memory_message(error: BaseException) -> str:
    """What happened and what to do, the error's own first line at the end."""
    lines = str(error).strip().splitlines()
    return f"{_REMEDY}: {lines[0] if lines else type(error).__name__}"


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
