"""Trials that lost their place: which of them run again, and in what order.

Whoever loses a process or a node has not failed: it goes on from its checkpoint under its number.
Only what takes its processes down every time must end at some point.
"""

from collections import Counter, deque

from orchestrator.study.trial import FailureCause, TrialRequest

MAX_LOSSES = 5
"""Losses of a trial between two epochs that it completes; one more and it has failed."""

LEFT = "NodeLeavingError"
"""What a trial raises that saved itself since its node is being drained."""
STORAGE = "StorageError"
"""What a trial raises that cannot use its folder: the storage may be away for a moment only."""
_NO_PLACE = "NoPlaceError"
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
        "PlaceLostError",
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
            # Who had a place before looks for another; who never had one has failed.
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
        """The one that waits longest; None: nobody waits."""
        return self._waiting.popleft() if self._waiting else None
