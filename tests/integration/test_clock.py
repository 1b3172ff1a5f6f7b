"""The clock: turns of a step never overlap, and no wake-up is lost."""

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.executors.pool import ThreadPoolExecutor
from sqlalchemy.exc import OperationalError

from scheduler_service.clock import Clock, Step
from tests.waiting import wait_until

WAIT_SECONDS = 20


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock(ThreadPoolExecutor(2))
    clock.start()
    yield clock
    clock.stop()


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_wake_up_during_a_turn_leads_to_another(clock: Clock) -> None:
    started, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def work() -> None:
        started.release()
        assert go_on.acquire(timeout=WAIT_SECONDS)

    step = Step("work", work, clock)
    step.wake()
    assert started.acquire(timeout=WAIT_SECONDS)
    for _ in range(50):
        step.wake()
    go_on.release()
    assert started.acquire(timeout=WAIT_SECONDS)
    go_on.release()
    step.wait_for_turn(WAIT_SECONDS)
    assert not started.acquire(timeout=0.2)


def test_no_wake_up_is_lost_however_they_come(clock: Clock) -> None:
    """Each wake-up is about something written just before; a turn that starts later must see it."""
    written, seen = 0, 0

    def work() -> None:
        nonlocal seen
        seen = written

    def is_seen() -> bool:
        return seen == written

    step = Step("work", work, clock)
    for _ in range(1000):
        written += 1
        step.wake()
        if written % 3 == 0:
            step.wait_for_turn(WAIT_SECONDS)  # now between turns, now within one
        if written % 10 == 0:
            wait_until(is_seen, WAIT_SECONDS, f"wake-up {written}")


def test_turns_of_a_step_never_overlap(clock: Clock) -> None:
    """While a turn is under way, whoever comes in whichever way stays outside."""
    turns, came = 0, threading.Semaphore(0)
    is_inside, overlapped = threading.Lock(), threading.Event()

    class WatchedStep(Step):
        def take_turn(self) -> None:
            came.release()
            super().take_turn()

    def work() -> None:
        nonlocal turns
        turns += 1
        if not is_inside.acquire(blocking=False):
            overlapped.set()
            return
        with_others = turns == 1
        for _ in range(4 if with_others else 0):  # this one, too
            assert came.acquire(timeout=WAIT_SECONDS)
        overlapped.wait(0.2 if with_others else 0)  # they have come, and would be inside in no time
        is_inside.release()

    step = WatchedStep("work", work, clock)
    first = threading.Thread(target=step.take_turn)
    first.start()
    wait_until(lambda: turns == 1, WAIT_SECONDS, "the first turn")
    step.wake()
    clock.run_at(step, soon(0))
    by_hand = threading.Thread(target=step.take_turn)
    by_hand.start()
    for thread in (first, by_hand):
        thread.join(WAIT_SECONDS)
    wait_until(lambda: turns == 4, WAIT_SECONDS, "the turns of all who came")
    assert not overlapped.is_set()


def test_aim_is_replaced_by_the_next(clock: Clock) -> None:
    turns: list[datetime] = []
    step = Step("work", lambda: turns.append(datetime.now(UTC)), clock)
    clock.run_at(step, soon(3600))
    at = soon(0.3)
    clock.run_at(step, at)
    wait_until(lambda: turns, WAIT_SECONDS, "the turn")
    assert turns[0] >= at
    assert len(turns) == 1


def test_failing_database_is_said_once_and_tried_again(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    failures = [OperationalError("SELECT secret", {"p": "value"}, Exception("server is away\nmore"))] * 3

    def work() -> None:
        if failures:
            raise failures.pop()

    step = Step("work", work, clock)
    with caplog.at_level(logging.INFO, "scheduler_service.clock"):
        step.take_turn()
        step.take_turn()
        wait_until(lambda: not failures, WAIT_SECONDS, "a turn by itself")
        wait_until(lambda: "work works again" in caplog.text, WAIT_SECONDS, "its success")
    assert [r.getMessage() for r in caplog.records] == [
        "work failed, will be tried again: server is away",
        "work works again",
    ]


def test_step_goes_on_after_an_unforeseen_error(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    turns: list[int] = []

    def work() -> None:
        turns.append(1)
        if len(turns) == 1:
            raise ZeroDivisionError

    step = Step("work", work, clock)
    step.wake()
    wait_until(lambda: turns, WAIT_SECONDS, "the first turn")
    step.wait_for_turn(WAIT_SECONDS)
    step.wake()
    wait_until(lambda: len(turns) == 2, WAIT_SECONDS, "the second turn")
    assert "ZeroDivisionError" in caplog.text


def test_wake_up_after_the_end_is_harmless() -> None:
    clock = Clock(ThreadPoolExecutor(2))
    clock.start()
    clock.stop()
    Step("work", lambda: None, clock).wake()
