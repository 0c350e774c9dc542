"""Carries rows and decisions between a trial's first worker and the process that watches the trial.

They may be on different machines, and neither can call the other: one is busy training, the other
waiting. One mailbox serves all trials of a sweep. Losing its content does no harm: rows are in
checkpoints, and a restarted trial reports them again.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from orchestrator.executors.wire import WorkerPlace
from prvr_model.reporting import Decision

_Answer: TypeAlias = "asyncio.Future[str]"


@dataclass
class _Box:
    """Rows and answers of one trial that are not delivered yet."""

    rows: "asyncio.Queue[tuple[str, _Answer] | None]" = field(default_factory=asyncio.Queue)
    unanswered: list[_Answer] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    places: dict[int, WorkerPlace] = field(default_factory=dict)
    placed: asyncio.Event = field(default_factory=asyncio.Event)
    had_slot: bool = False
    stopped: bool = False
    controller: Any = None

    def begin(self) -> None:
        self.had_slot = True
        self.begun.set()

    def answer(self, decision: Decision) -> None:
        for report in self.unanswered:
            # The worker that asked may be lost by now, and its call cancelled.
            if not report.done():
                report.set_result(decision.value)
        self.unanswered.clear()


class Mailbox:
    """Takes rows from workers and gives decisions back, by the trial's key; an asyncio actor."""

    def __init__(self) -> None:
        self._boxes: defaultdict[str, _Box] = defaultdict(_Box)

    async def begin(self, key: str, place: WorkerPlace, rank: int, workers: int) -> None:
        """Note that all workers have started, and where one of them runs; each worker calls it."""
        box = self._boxes[key]
        box.places[rank] = place
        box.begin()
        if len(box.places) == workers:
            box.placed.set()

    async def places(self, key: str) -> list[WorkerPlace]:
        """Wait until all workers have said where they run; empty if they never will."""
        box = self._boxes[key]
        await box.placed.wait()
        return [place for _, place in sorted(box.places.items())]

    async def has_begun(self, key: str) -> bool:
        """Wait until the workers have started; False: they never will."""
        await self._boxes[key].begun.wait()
        return self._boxes[key].had_slot

    async def report(self, key: str, row: str) -> str:
        """Hand in a row and wait for the decision; the first worker calls it."""
        box = self._boxes[key]
        box.begin()
        if box.stopped:
            return str(Decision.STOP.value)
        answer: _Answer = asyncio.get_running_loop().create_future()
        box.rows.put_nowait((row, answer))
        return await answer

    async def next_row(self, key: str) -> str | None:
        """Let the worker continue and wait for its next row; None: there are no more rows."""
        box = self._boxes[key]
        box.answer(Decision.CONTINUE)
        item = await box.rows.get()
        if item is None:
            return None
        row, answer = item
        box.unanswered.append(answer)
        if box.stopped:
            box.answer(Decision.STOP)
        return row

    async def close(self, key: str) -> None:
        """Note that no more rows will come: the workers returned or failed."""
        self._boxes[key].begun.set()
        self._boxes[key].placed.set()
        self._boxes[key].rows.put_nowait(None)

    async def stop(self, key: str) -> None:
        """Tell the worker to stop, now or at its next row."""
        box = self._boxes[key]
        box.stopped = True
        while not box.rows.empty():
            item = box.rows.get_nowait()
            box.unanswered.extend([item[1]] if item else [])
        box.answer(Decision.STOP)

    async def introduce(self, key: str, controller: Any) -> None:  # noqa: ANN401
        """Keep the handle of the actor that starts and ends the workers."""
        self._boxes[key].controller = controller

    async def controller(self, key: str) -> Any:  # noqa: ANN401
        """The handle of the actor that starts and ends the workers; None: not known yet."""
        return self._boxes[key].controller

    async def forget(self, key: str) -> None:
        """Drop what is kept of a trial that has ended."""
        self._boxes.pop(key, None)
