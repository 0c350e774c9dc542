"""A device whose answers take some steps, for machines that have none."""

from collections import deque
from collections.abc import Iterable

from torch import Tensor


class SlowReader:
    """Gives a row to the host once `delay` later ones were sent, or when it waits for them."""

    def __init__(self, delay: int) -> None:
        self._delay = delay
        self._sent: deque[list[float]] = deque()

    def send(self, row: Tensor) -> None:
        self._sent.append(row.tolist())

    def arrived(self, wait: bool) -> Iterable[list[float]]:
        while self._sent and (wait or len(self._sent) > self._delay):
            yield self._sent.popleft()


class DeafReader:
    """Gives the host nothing: for tensors without content."""

    def send(self, row: Tensor) -> None:
        assert row.dim() == 1

    def arrived(self, wait: bool) -> Iterable[list[float]]:
        assert not wait
        return []
