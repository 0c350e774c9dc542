"""Makes batches while the steps before them run.

One thread gathers the next batches in reused memory. For a GPU that memory is pinned and copied on
a stream of its own: the step waits for the copy on the device, the host does not.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TypeAlias

import numpy as np
import torch

from prvr_model.inputs.batching import Batch, make_batch
from prvr_model.inputs.buffers import ReusedMemory
from prvr_model.inputs.prepared_split import PreparedSplit
from prvr_model.process_group import ALONE, Workers

# Besides the batches made ahead: the one in use, and the one before it, which a caller may still
# hold when it asks for the next.
_HELD = 2

# Makes the batch of some videos in some memory.
_Make: TypeAlias = Callable[[np.ndarray, ReusedMemory], Batch]


class _Slot:
    """Memory of one batch on the host, and the batch in it."""

    def __init__(self, *, pinned: bool = False) -> None:
        self.memory = ReusedMemory(pinned=pinned)
        self._batch: Batch | None = None

    def fill(self, make: _Make, videos: np.ndarray) -> None:
        """Make a batch, overwriting the last one."""
        self._batch = make(videos, self.memory)

    def take(self) -> Batch:
        """The batch, once."""
        batch, self._batch = self._batch, None
        assert batch is not None
        return batch


class _CopiedSlot(_Slot):
    """A slot whose batches are copied to a GPU."""

    def __init__(self, device: torch.device, stream: torch.cuda.Stream) -> None:
        super().__init__(pinned=True)
        self._device = device
        self._stream = stream
        self._copied = torch.cuda.Event()

    def fill(self, make: _Make, videos: np.ndarray) -> None:
        # The last batch may still be copied from this memory.
        self._copied.synchronize()
        host = make(videos, self.memory)
        with torch.cuda.stream(self._stream):
            self._batch = host.to(self._device)
            self._copied.record(self._stream)

    def take(self) -> Batch:
        batch = super().take()
        step_stream = torch.cuda.current_stream(self._device)
        step_stream.wait_event(self._copied)
        for tensor in batch.tensors().values():
            # Otherwise its memory could be given to the next copy while the step reads it.
            tensor.record_stream(step_stream)
        return batch


class BatchMemory:
    """Memory of the batches of one reader, to be kept from epoch to epoch.

    Args:
        device: Device of the batches; for a GPU the memory is pinned.
        depth: Batches made ahead.
    """

    def __init__(self, device: torch.device, depth: int) -> None:
        self.slots: list[_Slot] = [_Slot() for _ in range(depth + _HELD)]
        if device.type == "cuda":
            stream = torch.cuda.Stream(device)
            self.slots = [_CopiedSlot(device, stream) for _ in self.slots]


def prefetched(
    split: PreparedSplit,
    order: Sequence[np.ndarray],
    device: torch.device,
    depth: int,
    memory: BatchMemory | None = None,
    workers: Workers = ALONE,
) -> Generator[Batch, None, None]:
    """Batches of an epoch, each the same as `make_batch` makes.

    A loop that may end early closes the generator (`contextlib.closing`): that ends the thread.

    Args:
        split: The prepared split.
        order: Videos of each batch.
        device: Device of the tensors.
        depth: Batches made ahead by a thread; 0: each is made when it is asked for, by as many
            threads as torch has.
        memory: Memory of the epoch before, for the same device and depth; without it, new memory.
        workers: The processes that share each batch.

    Yields:
        Batches on the device. On the CPU a batch is valid until the second one after it is asked
        for, or the memory is used for another epoch. On a GPU it is the caller's own.

    Raises:
        Exception: Any error of making a batch, also in the thread.
    """
    slots = (memory or BatchMemory(device, depth)).slots
    # A slot copies to a GPU by itself.
    made_on = torch.device("cpu") if device.type == "cuda" else device
    threads = 1 if depth else torch.get_num_threads()

    def make(videos: np.ndarray, reused: ReusedMemory) -> Batch:
        return make_batch(split, videos, made_on, reused, threads, workers)

    filled = (_filled_ahead if depth else _filled_here)(make, order, slots)
    with closing(filled):
        for slot in filled:
            yield slot.take()


def _filled_here(
    make: _Make, order: Sequence[np.ndarray], slots: Sequence[_Slot]
) -> Generator[_Slot, None, None]:
    for number, videos in enumerate(order):
        slot = slots[number % len(slots)]
        slot.fill(make, videos)
        yield slot


def _filled_ahead(
    make: _Make, order: Sequence[np.ndarray], slots: Sequence[_Slot]
) -> Generator[_Slot, None, None]:
    worker = _Worker(make, order, slots)
    held: deque[_Slot] = deque()
    worker.start()
    try:
        for _ in order:
            if len(held) == _HELD:
                worker.release(held.popleft())
            held.append(worker.next_filled())
            yield held[-1]
    finally:
        worker.stop()


class _Worker:
    """A thread that fills slots in order, as many as are free."""

    def __init__(self, make: _Make, order: Sequence[np.ndarray], slots: Sequence[_Slot]) -> None:
        self._make = make
        self._order = order
        self._free: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        self._filled: queue.SimpleQueue[_Slot | Exception] = queue.SimpleQueue()
        self._stopped = threading.Event()
        for slot in slots:
            self.release(slot)
        # A daemon: a process whose main thread has gone must not wait for it.
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def release(self, slot: _Slot) -> None:
        """Let a slot be filled again."""
        self._free.put(slot)

    def next_filled(self) -> _Slot:
        """The next batch's slot; waits for it.

        Raises:
            Exception: Any error of filling it.
        """
        filled = self._filled.get()
        if isinstance(filled, Exception):
            raise filled
        return filled

    def stop(self) -> None:
        """End the thread after its current batch."""
        self._stopped.set()
        self._free.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            for videos in self._order:
                slot = self._free.get()
                if slot is None or self._stopped.is_set():
                    return
                slot.fill(self._make, videos)
                self._filled.put(slot)
        except Exception as error:  # noqa: BLE001  (raised by `next_filled`)
            self._filled.put(error)
