"""Scheduler instances: who is alive, and whether schedules are being fired."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from db.engine import transaction
from db.instances import (
    KEPT_FOR,
    OVERDUE_AFTER,
    SILENT_AFTER,
    get_scheduler_health,
    list_instances,
    record_fire_pass,
    record_seen,
    record_stopped,
    register_instance,
)
from db.models import SchedulerInstance
from tests.factories import EVERY_MINUTE, NOW, make_job, make_viewer

SECOND = timedelta(seconds=1)


def register(engine: Engine, host: str = "here", now: datetime = NOW) -> str:
    with transaction(engine) as session:
        return register_instance(session, host=host, pid=7, version="1", slots=4, now=now)


def fire(engine: Engine, instance: str, now: datetime = NOW) -> None:
    with transaction(engine) as session:
        record_fire_pass(session, instance, now)


def alive(engine: Engine, now: datetime) -> list[str]:
    with transaction(engine) as session:
        return [i.host for i in list_instances(session, now)]


def test_instance_is_listed_until_it_stops_or_falls_silent(engine: Engine) -> None:
    first = register(engine, "first")
    second = register(engine, "second", NOW + SECOND)
    assert alive(engine, NOW + 2 * SECOND) == ["second", "first"]
    with transaction(engine) as session:
        record_stopped(session, second, NOW + 3 * SECOND)
    assert alive(engine, NOW + 3 * SECOND) == ["first"]
    assert alive(engine, NOW + SILENT_AFTER) == []
    with transaction(engine) as session:
        record_seen(session, first, NOW + SILENT_AFTER)
    assert alive(engine, NOW + SILENT_AFTER + SECOND) == ["first"]


def test_instances_long_gone_are_dropped(engine: Engine) -> None:
    register(engine, "old", NOW - KEPT_FOR - SECOND)
    register(engine, "recent", NOW - KEPT_FOR + SECOND)
    register(engine, "new")
    with transaction(engine) as session:
        assert set(session.scalars(select(SchedulerInstance.host))) == {"recent", "new"}


def test_nobody_fires_when_nobody_runs(engine: Engine) -> None:
    with transaction(engine) as session:
        health = get_scheduler_health(session, NOW)
    assert (health.is_firing, health.instances, health.last_fire_at, health.overdue_jobs) == (False, 0, None, 0)


@pytest.mark.parametrize(("slots", "can_execute"), [((0,), False), ((0, 3), True), ((), False)])
def test_somebody_needs_slots_to_execute(engine: Engine, slots: tuple[int, ...], can_execute: bool) -> None:
    with transaction(engine) as session:
        for count in slots:
            register_instance(session, host="here", pid=7, version="1", slots=count, now=NOW)
        assert get_scheduler_health(session, NOW).can_execute == can_execute


def test_instance_that_lives_but_does_not_fire_is_not_enough(engine: Engine) -> None:
    instance = register(engine)
    fire(engine, instance)
    with transaction(engine) as session:
        assert get_scheduler_health(session, NOW + SECOND).is_firing
        record_seen(session, instance, NOW + SILENT_AFTER)
        health = get_scheduler_health(session, NOW + SILENT_AFTER)
        assert (health.is_firing, health.instances, health.last_fire_at) == (False, 1, NOW)


@pytest.mark.parametrize(
    ("columns", "overdue"),
    [
        ({}, 1),
        ({"paused_at": NOW}, 0),
        ({"is_scheduled": False}, 0),
        ({"next_run": NOW + OVERDUE_AFTER}, 0),
    ],
)
def test_overdue_jobs_mean_that_firing_does_not_work(engine: Engine, columns: dict[str, object], overdue: int) -> None:
    now = NOW + OVERDUE_AFTER + SECOND
    fire(engine, register(engine), now)
    with transaction(engine) as session:
        make_job(session, make_viewer(session), schedule=EVERY_MINUTE, **columns)  # type: ignore[arg-type]
        health = get_scheduler_health(session, now)
    assert (health.overdue_jobs, health.is_firing) == (overdue, overdue == 0)
