"""How many workers each trial gets, where a trial may go on with fewer.

A trial asks for all of its workers. Where they find no place within the start limit, because a
node is gone, the next try asks for as many as there is room for. Batch, learning rate and draws
are those of the settings whatever the number, so nothing but dropout and summation differs.
"""

from collections.abc import Callable

from orchestrator.study.trial import FailureCause

_NO_PLACE = frozenset({"NoPlaceError", "PlaceLostError"})


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
        if cause.kind not in _NO_PLACE:
            self._smaller.pop(number, None)
            return False
        if size <= self._least:
            return False
        # One less at least: what is free now may be what its last try was too late for.
        self._smaller[number] = max(self._least, min(self._free_slots(), size - 1))
        return True
