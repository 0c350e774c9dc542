"""Where a trial's first worker meets the process that watches over the trial.

Both may be on other machines, and neither can call the other: one is busy training, the other
waiting. One mailbox serves all trials of a sweep. It holds nothing that could not be said again:
rows are in checkpoints, and a restarted trial reports them again.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from prvr_model.reporting import Decision

_Answer: TypeAlias = "asyncio.Future[str]"


@dataclass
class _Box:
    """What is under way between the two sides of one trial."""

    rows: "asyncio.Queue[tuple[str, _Answer] | None]" = field(default_factory=asyncio.Queue)
    unanswered: list[_Answer] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    had_place: bool = False
    stopped: bool = False
    controller: Any = None

    def begin(self) -> None:
        self.had_place = True
        self.begun.set()

    def answer(self, decision: Decision) -> None:
        for report in self.unanswered:
            # The worker that asked may have been given up meanwhile, and its wait with it.
            if not report.done():
                report.set_result(decision.value)
        self.unanswered.clear()


class Mailbox:
    """Rows one way, decisions the other; trials by a key. Made for an actor of asyncio."""

    def __init__(self) -> None:
        self._boxes: defaultdict[str, _Box] = defaultdict(_Box)

    async def begin(self, key: str) -> None:
        """All workers have started; worker's side."""
        self._boxes[key].begin()

    async def has_begun(self, key: str) -> bool:
        """Wait until the workers have started; False: they never will."""
        await self._boxes[key].begun.wait()
        return self._boxes[key].had_place

    async def report(self, key: str, row: str) -> str:
        """Hand in a row and wait for the decision; worker's side."""
        box = self._boxes[key]
        box.begin()
        if box.stopped:
            return str(Decision.STOP.value)
        answer: _Answer = asyncio.get_running_loop().create_future()
        box.rows.put_nowait((row, answer))
        return await answer

    async def next_row(self, key: str) -> str | None:
        """Let the worker go on, and wait for its next row; None: there will be no more."""
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
        """There will be no more rows, whether the workers returned or failed."""
        self._boxes[key].begun.set()
        self._boxes[key].rows.put_nowait(None)

    async def stop(self, key: str) -> None:
        """Tell the worker to stop, now or when it asks."""
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
        """The trial has ended."""
        self._boxes.pop(key, None)
