"""Numbers of an epoch's steps, read without waiting for the device; training stops at a bad one.

On a CPU a step's numbers are known at once, so one that is not finite ends training before the
optimizer step. On a GPU reading them would hold up the host, and with it the device, in every step.
So they are copied while later steps are queued, and a flag on the device keeps the weights as they
were before the first bad step until the host learns of it.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from prvr_model.errors import NonFiniteError

Row = list[float]


@runtime_checkable
class Reader(Protocol):
    """Copies rows of numbers to the host, in order."""

    def send(self, row: Float[Tensor, "numbers"]) -> None:
        """Start to copy a row."""

    def arrived(self, wait: bool) -> Iterable[Row]:
        """Rows that have arrived since the last call; with `wait` all that were sent."""


class ReadAtOnce:
    """For the CPU, where a row is on the host as soon as it is known."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def send(self, row: Float[Tensor, "numbers"]) -> None:
        """Read a row."""
        self._rows.append(row.tolist())

    def arrived(self, wait: bool) -> Iterable[Row]:
        """Rows since the last call."""
        rows, self._rows = self._rows, []
        return rows


class ReadLater:
    """For CUDA: copies into pinned memory, each with an event that tells when it is done.

    Args:
        device: Device of the rows.
        num_rows: Rows that will be sent at most.
        num_numbers: Length of a row.
    """

    def __init__(self, device: torch.device, num_rows: int, num_numbers: int) -> None:
        self._device = device
        self._host = torch.empty((num_rows, num_numbers), pin_memory=True)
        self._events: deque[torch.cuda.Event] = deque()
        self._num_sent = 0

    def send(self, row: Float[Tensor, "numbers"]) -> None:
        """Queue the copy of a row behind the work that makes it."""
        self._host[self._num_sent].copy_(row, non_blocking=True)
        self._num_sent += 1
        self._events.append(torch.cuda.current_stream(self._device).record_event())

    def arrived(self, wait: bool) -> Iterable[Row]:
        """Rows whose copies are done."""
        while self._events and (wait or self._events[0].query()):
            first = self._num_sent - len(self._events)
            self._events.popleft().synchronize()
            yield self._host[first].tolist()


def reader_for(device: torch.device, num_rows: int, num_numbers: int) -> Reader:
    """The reader of a device; accelerators other than CUDA are read at once, which is slower."""
    if device.type == "cuda":
        return ReadLater(device, num_rows, num_numbers)
    return ReadAtOnce()


class StepNumbers:
    """The numbers of one epoch's steps.

    Args:
        names: Names of a step's numbers.
        epoch: Number of the epoch, from 1.
        reader: Copies them to the host.
        earlier: Rows of the epoch's steps before an interruption.
    """

    def __init__(
        self, names: Sequence[str], epoch: int, reader: Reader, earlier: Iterable[Row] = ()
    ) -> None:
        self._names = tuple(names)
        self._epoch = epoch
        self._reader = reader
        self._rows: list[Row] = list(earlier)
        self._num_added = len(self._rows)
        self._finite: Bool[Tensor, ""] | None = None

    def add(self, row: Float[Tensor, "numbers"]) -> Bool[Tensor, ""] | None:
        """Take a step's numbers, before its optimizer step.

        Returns:
            Flag on the device: whether all numbers up to this step are finite; if it is False the
            optimizer must change nothing. None if the host knows already that they are.

        Raises:
            NonFiniteError: A number of this step, or of an earlier one that has arrived, is not
                finite; names the first.
        """
        finite = row.isfinite().all()
        self._finite = finite if self._finite is None else self._finite & finite
        self._num_added += 1
        self._reader.send(row)
        self._read(wait=False)
        return None if len(self._rows) == self._num_added else self._finite

    def so_far(self) -> tuple[Row, ...]:
        """Rows of all steps up to now; waits for the device.

        Raises:
            NonFiniteError: A number is not finite.
        """
        self._read(wait=True)
        return tuple(self._rows)

    def means(self) -> dict[str, float]:
        """Mean of each number over the steps; waits for the device.

        Raises:
            NonFiniteError: A number is not finite.
        """
        rows = self.so_far()
        sums = dict.fromkeys(self._names, 0.0)
        for row in rows:
            for name, value in zip(self._names, row, strict=True):
                sums[name] += value
        return {name: value / len(rows) for name, value in sums.items()}

    def _read(self, wait: bool) -> None:
        for row in self._reader.arrived(wait):
            self._rows.append(row)
            for name, value in zip(self._names, row, strict=True):
                # The difference is 0 for finite numbers and NaN for all others.
                if value - value != 0:
                    raise NonFiniteError(name, self._epoch, len(self._rows))
