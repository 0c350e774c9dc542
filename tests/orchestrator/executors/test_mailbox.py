"""The mailbox between a trial's first worker and its watcher, without Ray."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from orchestrator.executors.mailbox import Mailbox
from orchestrator.executors.wire import WorkerPlace

_T = TypeVar("_T")
PLACE = WorkerPlace(1, {})


async def soon(answer: Awaitable[_T]) -> _T:
    """An answer that must come by itself; a hang fails instead of waiting for ever."""
    return await asyncio.wait_for(answer, 10)


async def begin(box: Mailbox, row: str) -> "asyncio.Task[str]":
    """Report a row as a worker does, until it waits."""
    task = asyncio.create_task(box.report("a", row))
    await asyncio.sleep(0)
    return task


def test_to_ask_for_the_next_row_lets_the_worker_go_on() -> None:
    async def run() -> None:
        box = Mailbox()
        first = await begin(box, "1")
        assert await soon(box.next_row("a")) == "1"
        assert not first.done()
        asking = asyncio.create_task(box.next_row("a"))
        assert await soon(first) == "continue"
        second = await begin(box, "2")
        assert await soon(asking) == "2"
        await box.stop("a")
        assert await soon(second) == "stop"

    asyncio.run(run())


def test_a_stop_reaches_rows_that_nobody_has_read_and_those_to_come() -> None:
    async def run() -> None:
        box = Mailbox()
        unread = await begin(box, "1")
        await box.stop("a")
        assert await soon(unread) == "stop"
        assert await soon(box.report("a", "2")) == "stop"

    asyncio.run(run())


def test_rows_before_the_end_are_read_first() -> None:
    async def run() -> None:
        box = Mailbox()
        await begin(box, "1")
        await box.close("a")
        assert await soon(box.next_row("a")) == "1"
        assert await soon(box.next_row("a")) is None

    asyncio.run(run())


def test_a_lost_worker_takes_no_answer_from_its_successor() -> None:
    async def run() -> None:
        box = Mailbox()
        lost = await begin(box, "1")
        assert await soon(box.next_row("a")) == "1"
        lost.cancel()
        await asyncio.sleep(0)
        successor = await begin(box, "1")
        assert await soon(box.next_row("a")) == "1"
        asking = asyncio.create_task(box.next_row("a"))
        assert await soon(successor) == "continue"
        asking.cancel()

    asyncio.run(run())


def test_trials_are_apart_and_forgotten() -> None:
    async def run() -> None:
        box = Mailbox()
        await box.stop("b")
        other = await begin(box, "1")
        assert await soon(box.next_row("a")) == "1"
        assert not other.done()
        other.cancel()
        await box.introduce("a", "handle")
        assert await box.controller("a") == "handle"
        await box.forget("a")
        assert await box.controller("a") is None

    asyncio.run(run())


def test_the_watcher_hears_when_the_workers_began_or_never_will() -> None:
    async def run() -> None:
        box = Mailbox()
        waiting = [asyncio.create_task(box.has_begun(key)) for key in "ab"]
        await asyncio.sleep(0)
        assert not any(answer.done() for answer in waiting)
        await box.begin("a", PLACE, 0, 2)
        await box.close("b")
        assert await soon(asyncio.gather(*waiting)) == [True, False]
        await box.close("a")
        assert await soon(box.has_begun("a"))

    asyncio.run(run())
