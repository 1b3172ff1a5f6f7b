"""Questions that come up at the same time are answered together."""

import asyncio
from collections.abc import Sequence

import pytest

from portal_import.batches import Batches


class Oracle:
    """Doubles numbers, a batch at a time, each when it is let; fails on a 13."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.may_answer = asyncio.Semaphore(0)

    async def double_all(self, numbers: list[int]) -> Sequence[int]:
        self.asked.append(numbers)
        await self.may_answer.acquire()
        if 13 in numbers:
            raise LookupError("bad luck")
        return [2 * number for number in numbers]


async def let_others_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_is_asked_while_a_batch_is_answered_makes_the_next_one() -> None:
    async def scenario() -> None:
        oracle = Oracle()
        batches = Batches(oracle.double_all)
        asked = [asyncio.create_task(batches.ask(1))]
        await let_others_run()
        asked += [asyncio.create_task(batches.ask(number)) for number in (2, 3, 4)]
        await let_others_run()
        assert oracle.asked == [[1]]
        oracle.may_answer.release()
        oracle.may_answer.release()
        assert await asyncio.gather(*asked) == [2, 4, 6, 8]
        assert oracle.asked == [[1], [2, 3, 4]]

    asyncio.run(scenario())


def test_failure_is_told_to_all_of_its_batch_and_to_no_other() -> None:
    async def scenario() -> None:
        oracle = Oracle()
        batches = Batches(oracle.double_all)
        first = asyncio.create_task(batches.ask(1))
        await let_others_run()
        failing = [asyncio.create_task(batches.ask(number)) for number in (13, 14)]
        await let_others_run()
        oracle.may_answer.release()
        oracle.may_answer.release()
        assert await first == 2
        for task in failing:
            with pytest.raises(LookupError, match="bad luck"):
                await task
        oracle.may_answer.release()
        assert await batches.ask(5) == 10

    asyncio.run(scenario())


def test_one_who_gives_up_leaves_the_others_their_answers() -> None:
    async def scenario() -> None:
        oracle = Oracle()
        batches = Batches(oracle.double_all)
        impatient, patient = asyncio.create_task(batches.ask(1)), asyncio.create_task(batches.ask(2))
        await let_others_run()
        impatient.cancel()
        await let_others_run()
        oracle.may_answer.release()
        assert await patient == 4
        assert impatient.cancelled()

    asyncio.run(scenario())
