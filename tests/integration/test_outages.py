"""Outages: noted once by whoever fires first again, extended by others, and never invented."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from db.engine import transaction
from db.instances import KEPT_FOR, record_fire_pass, record_seen, record_stopped, register_instance
from db.models import Outage
from db.outages import NOTICED_AFTER, list_outages, note_outage
from scheduler_service import service
from scheduler_service.service import SchedulerService
from settings import Settings
from tests.factories import NOW, make_outage

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
WAIT_SECONDS = 20


def start(engine: Engine, now: datetime) -> str:
    """As the service does: noted first, since registering forgets those long gone."""
    with transaction(engine) as session:
        note_outage(session, now)
        return register_instance(session, host="here", pid=7, version="1", slots=4, now=now)


def fire(engine: Engine, instance: str, now: datetime) -> None:
    with transaction(engine) as session:
        note_outage(session, now)
    with transaction(engine) as session:
        record_fire_pass(session, instance, now)


def read(engine: Engine) -> list[tuple[datetime, datetime]]:
    with transaction(engine) as session:
        return [(row.began_at, row.ended_at) for row in session.scalars(select(Outage).order_by(Outage.began_at))]


def test_first_start_ever_is_no_outage(engine: Engine) -> None:
    instance = start(engine, NOW)
    fire(engine, instance, NOW + HOUR)
    assert read(engine) == []


def test_healthy_scheduler_leaves_no_outage(engine: Engine) -> None:
    instance = start(engine, NOW)
    for poll in range(100):
        fire(engine, instance, NOW + poll * NOTICED_AFTER)
    assert read(engine) == []


def test_scheduler_that_restarts_at_once_leaves_no_outage(engine: Engine) -> None:
    fire(engine, start(engine, NOW), NOW)
    fire(engine, start(engine, NOW + 20 * SECOND), NOW + 40 * SECOND)
    assert read(engine) == []


def test_one_of_two_schedulers_down_is_no_outage(engine: Engine) -> None:
    first, second = start(engine, NOW), start(engine, NOW)
    fire(engine, first, NOW)
    for poll in range(200):
        fire(engine, second, NOW + poll * 30 * SECOND)
    fire(engine, first, NOW + 200 * 30 * SECOND)
    assert read(engine) == []


def test_silence_is_noted_from_the_last_pass_to_the_first(engine: Engine) -> None:
    fire(engine, start(engine, NOW), NOW)
    instance = start(engine, NOW + HOUR)
    assert read(engine) == [(NOW, NOW + HOUR)]
    fire(engine, instance, NOW + HOUR + SECOND)
    assert read(engine) == [(NOW, NOW + HOUR + SECOND)]
    fire(engine, instance, NOW + HOUR + 30 * SECOND)
    assert read(engine) == [(NOW, NOW + HOUR + SECOND)]


def test_process_that_lives_but_does_not_fire_is_an_outage(engine: Engine) -> None:
    instance = start(engine, NOW)
    fire(engine, instance, NOW)
    with transaction(engine) as session:
        record_seen(session, instance, NOW + HOUR)
    fire(engine, instance, NOW + HOUR)
    assert read(engine) == [(NOW, NOW + HOUR)]


def test_outage_ends_with_the_first_pass_and_not_with_the_second(engine: Engine) -> None:
    fire(engine, start(engine, NOW), NOW)
    first, second = start(engine, NOW + HOUR), start(engine, NOW + HOUR + SECOND)
    fire(engine, first, NOW + HOUR + 2 * SECOND)
    fire(engine, second, NOW + HOUR + 40 * SECOND)
    assert read(engine) == [(NOW, NOW + HOUR + 2 * SECOND)]


def test_clock_that_is_behind_does_not_shorten_an_outage(engine: Engine) -> None:
    fire(engine, start(engine, NOW), NOW)
    start(engine, NOW + HOUR)
    start(engine, NOW + HOUR - 5 * SECOND)
    assert read(engine) == [(NOW, NOW + HOUR)]


def test_several_schedulers_that_come_back_at_once_note_one_outage(engine: Engine) -> None:
    fire(engine, start(engine, NOW), NOW)
    barrier = threading.Barrier(4)
    errors: list[Exception] = []

    def come_back(number: int) -> None:
        barrier.wait(WAIT_SECONDS)
        try:
            start(engine, NOW + HOUR + number * SECOND)
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=come_back, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert errors == []
    assert read(engine) == [(NOW, NOW + HOUR + 3 * SECOND)]


def test_outage_longer_than_instances_are_remembered_is_noted(engine: Engine) -> None:
    instance = start(engine, NOW)
    fire(engine, instance, NOW)
    with transaction(engine) as session:
        record_stopped(session, instance, NOW + SECOND)
    back = NOW + KEPT_FOR + DAY
    fire(engine, start(engine, back), back + SECOND)
    assert read(engine) == [(NOW, back)]
    # The old instance is forgotten, its outage is not.
    again = back + KEPT_FOR + DAY
    start(engine, again)
    assert read(engine) == [(NOW, back), (back + SECOND, again)]


@pytest.mark.parametrize("entry", [SchedulerService.start, SchedulerService.fire], ids=["start", "fire"])
def test_service_notes_an_outage_before_anything_else(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, entry: Callable[[SchedulerService], None]
) -> None:
    fire(engine, start(engine, NOW), NOW)
    monkeypatch.setattr(service, "_now", lambda: NOW + KEPT_FOR + DAY)
    monkeypatch.setattr(service.Clock, "start", lambda _: None)
    monkeypatch.setattr(service.WakeListener, "start", lambda _: None)
    entry(SchedulerService(engine, Settings(slots=0)))
    assert read(engine) == [(NOW, NOW + KEPT_FOR + DAY)]


def test_process_that_slept_notes_it_when_it_fires_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a process that fired lately knows by itself that there was no outage."""
    monkeypatch.setattr(service.Clock, "start", lambda _: None)
    monkeypatch.setattr(service.WakeListener, "start", lambda _: None)
    sleeper = SchedulerService(engine, Settings(slots=0))

    def do_at(instant: datetime, entry: Callable[[SchedulerService], None]) -> None:
        monkeypatch.setattr(service, "_now", lambda: instant)
        entry(sleeper)

    do_at(NOW, SchedulerService.start)
    for seconds in (0, 30, 60):
        do_at(NOW + seconds * SECOND, SchedulerService.fire)
    assert read(engine) == []
    do_at(NOW + HOUR, SchedulerService.fire)
    assert read(engine) == [(NOW + 60 * SECOND, NOW + HOUR)]


def test_outages_of_a_span_are_those_that_touch_it(engine: Engine) -> None:
    spans = [(NOW + n * HOUR, NOW + n * HOUR + HOUR / 2) for n in range(4)]
    with transaction(engine) as session:
        for span in reversed(spans):
            make_outage(session, *span)
        assert list_outages(session, NOW + HOUR / 2, NOW + 2 * HOUR) == spans[:3]
        assert list_outages(session, NOW + HOUR / 2 + SECOND, NOW + 2 * HOUR - SECOND) == spans[1:2]
        assert list_outages(session, NOW + 10 * HOUR, NOW + 11 * HOUR) == []
