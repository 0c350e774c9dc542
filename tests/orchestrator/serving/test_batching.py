"""Questions that come together are answered together; each gets its own answer or error."""

import asyncio
from collections.abc import Sequence

import pytest

from orchestrator.serving.batching import LARGEST_BATCH, Batches, BusyError


class Doubling:
    """Doubles numbers when it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()

    async def __call__(self, asked: Sequence[int]) -> list[int]:
        self.batches.append(list(asked))
        await self.go.wait()
        if -13 in asked:
            raise ValueError("-13 is unlucky")
        return [2 * number for number in asked]


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_comes_during_a_batch_makes_the_next_one() -> None:
    async def scenario() -> None:
        doubling, sizes = Doubling(), []
        batches = Batches(doubling, 1000, lambda size, seconds: sizes.append(size))
        tasks = [asyncio.create_task(batches.ask(0))]
        await settle()
        tasks += [asyncio.create_task(batches.ask(number)) for number in range(1, 81)]
        await settle()
        assert batches.num_open == 81
        doubling.go.set()
        assert await asyncio.gather(*tasks) == [2 * number for number in range(81)]
        assert [len(batch) for batch in doubling.batches] == [1, LARGEST_BATCH, 16]
        assert sizes == [1, LARGEST_BATCH, 16]
        assert batches.num_open == 0

    asyncio.run(scenario())


def test_it_waits_a_moment_for_those_who_were_answered_last() -> None:
    async def scenario() -> None:
        doubling = Doubling()
        doubling.go.set()
        batches = Batches(doubling, 1000)
        await asyncio.gather(*(batches.ask(number) for number in range(4)))
        # As if the last batch had taken this long; a wait to its end would hang the test.
        batches._last_s = 1e6
        first = asyncio.create_task(batches.ask(1))
        await settle()
        others = [asyncio.create_task(batches.ask(number)) for number in (2, 3, 4)]
        assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
        assert doubling.batches[-1] == [1, 2, 3, 4]
        # Nobody else comes: the wait ends by itself.
        assert await batches.ask(5) == 10

    asyncio.run(scenario())


def test_more_than_may_wait_are_refused() -> None:
    async def scenario() -> None:
        doubling = Doubling()
        batches = Batches(doubling, 2)
        tasks = [asyncio.create_task(batches.ask(number)) for number in (1, 2)]
        await settle()
        with pytest.raises(BusyError):
            await batches.ask(3)
        doubling.go.set()
        assert await asyncio.gather(*tasks) == [2, 4]
        assert await batches.ask(3) == 6

    asyncio.run(scenario())


def test_an_error_reaches_all_of_its_batch_and_none_of_the_next() -> None:
    async def scenario() -> None:
        doubling = Doubling()
        doubling.go.set()
        batches = Batches(doubling, 10)
        found = await asyncio.gather(batches.ask(-13), batches.ask(1), return_exceptions=True)
        assert [str(error) for error in found] == ["-13 is unlucky"] * 2
        assert await batches.ask(2) == 4

    asyncio.run(scenario())


def test_one_who_has_gone_is_not_searched_for() -> None:
    async def scenario() -> None:
        doubling = Doubling()
        batches = Batches(doubling, 10)
        tasks = [asyncio.create_task(batches.ask(number)) for number in (1,)]
        await settle()
        tasks += [asyncio.create_task(batches.ask(number)) for number in (2, 3)]
        await settle()
        tasks[1].cancel()
        await settle()
        doubling.go.set()
        assert await tasks[2] == 6
        assert doubling.batches == [[1], [3]]

    asyncio.run(scenario())
