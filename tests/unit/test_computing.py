"""What limits the computing of a step: it interrupts whatever computes, and is in nobody's way otherwise."""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any

import pytest

from portal_import.engine.addresses import hide_queries
from portal_import.engine.computing import limit_steps
from portal_import.engine.errors import VisitError

GIVEN_UP = "took more than 0.2 seconds of computing"


def run(work: Coroutine[Any, Any, Any], seconds: float = 0.2) -> Any:
    async def limited() -> Any:
        return await limit_steps(work, seconds)

    return asyncio.run(limited())


def test_regular_expression_is_interrupted() -> None:
    async def match() -> None:
        re.match(r"(a+)+$", "a" * 60 + "b")  # for longer than anybody lives

    with pytest.raises(VisitError, match=GIVEN_UP):
        run(match())


def test_loop_after_a_wait_is_interrupted() -> None:
    async def loop() -> None:
        await asyncio.sleep(0)
        while True:
            pass

    with pytest.raises(VisitError, match=GIVEN_UP):
        run(loop())


def test_interruption_that_was_swallowed_comes_again() -> None:
    caught: list[VisitError] = []

    async def swallow() -> None:
        while True:
            try:
                while True:
                    pass
            except VisitError as error:
                caught.append(error)
                if len(caught) == 2:
                    raise

    with pytest.raises(VisitError, match=GIVEN_UP):
        run(swallow())


def test_many_steps_may_take_longer_than_one() -> None:
    async def work() -> int:
        done = 0
        for _ in range(50):
            done += sum(range(200_000))
            await asyncio.sleep(0)
        return done

    assert run(work()) == 50 * sum(range(200_000))


def test_timeout_cancellation_and_errors_pass_through() -> None:
    async def outlast() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "went on"

    assert run(outlast()) == "timed out"

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("its own")

    with pytest.raises(LookupError, match="its own"):
        run(fail())

    async def cancel() -> bool:
        task = asyncio.ensure_future(limit_steps(asyncio.Event().wait(), 0.2))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(cancel())


def test_addresses_are_shortened_in_the_time_of_their_length() -> None:
    async def shorten() -> str:
        return hide_queries("http://" * 200_000)

    assert run(shorten(), seconds=5) == "http://" * 200_000
