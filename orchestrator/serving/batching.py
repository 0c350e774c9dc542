"""Answers questions that come at the same time together: a gallery's bytes are read once for all.

`ray.serve.batch` closes a batch when its waiting time is over, also while the batch before is still
being searched: under load it makes many small ones. Here a batch takes all that came meanwhile.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

_Question = TypeVar("_Question")
_Answer = TypeVar("_Answer")

# The search multiplies some dozens of queries at once; more would only wait for each other.
LARGEST_BATCH = 64
# Clients that have their answer ask again within milliseconds. Waiting for them costs at most this
# share of the time that the last batch took, and this long.
_WAITED_SHARE, _WAITED_S = 0.1, 0.1


class BusyError(Exception):
    """As many questions wait as may; nothing was begun for this one."""


@dataclass(frozen=True)
class _Waiting(Generic[_Question, _Answer]):
    question: _Question
    answered: "asyncio.Future[_Answer]"


class Batches(Generic[_Question, _Answer]):
    """Collects questions while others are being answered.

    Args:
        answer: Answers some questions together, in their order.
        max_waiting: Questions that may wait or be under way.
        on_batch: Called after each batch with its size and seconds.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[_Question]], Awaitable[Sequence[_Answer]]],
        max_waiting: int,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self._answer, self._max_waiting, self._on_batch = answer, max_waiting, on_batch
        self._queue: deque[_Waiting[_Question, _Answer]] = deque()
        self._num_open = 0
        self._worker: asyncio.Task[None] | None = None
        self._came = asyncio.Event()
        self._expected, self._last_s = 1, 0.0

    @property
    def num_open(self) -> int:
        """Questions that wait or are under way."""
        return self._num_open

    async def ask(self, question: _Question) -> _Answer:
        """The answer to a question.

        Raises:
            BusyError: Too many wait already.
        """
        if self._num_open >= self._max_waiting:
            raise BusyError
        waiting: _Waiting[_Question, _Answer] = _Waiting(
            question, asyncio.get_running_loop().create_future()
        )
        self._queue.append(waiting)
        self._num_open += 1
        self._came.set()
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            return await waiting.answered
        finally:
            self._num_open -= 1

    async def _work(self) -> None:
        while self._queue:
            await self._gather()
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), LARGEST_BATCH))]
            # A client may have gone, e.g. by its time limit.
            batch = [waiting for waiting in batch if not waiting.answered.done()]
            if batch:
                await self._answer_all(batch)

    async def _gather(self) -> None:
        """Wait a moment for the clients that were answered last: they often ask again at once."""
        wanted = min(self._expected, LARGEST_BATCH)
        until = time.monotonic() + min(_WAITED_SHARE * self._last_s, _WAITED_S)
        while len(self._queue) < wanted and (left := until - time.monotonic()) > 0:
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), left)
            except TimeoutError:
                return

    async def _answer_all(self, batch: Sequence[_Waiting[_Question, _Answer]]) -> None:
        start = time.monotonic()
        try:
            answers = await self._answer([waiting.question for waiting in batch])
        except Exception as error:  # noqa: BLE001  (every client that waits is told)
            for waiting in batch:
                if not waiting.answered.done():
                    waiting.answered.set_exception(error)
            return
        self._last_s = time.monotonic() - start
        self._expected = len(batch) + len(self._queue)
        self._on_batch(len(batch), self._last_s)
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answered.done():
                waiting.answered.set_result(answer)
