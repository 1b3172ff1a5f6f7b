"""After an update of the time zone rules, schedules wait for the instants of the new ones."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, Select, select

from db.aiming import aim_anew
from db.engine import transaction
from db.instances import get_last_zone_rules, register_instance
from db.models import AuditEntry, Job, SchedulerInstance
from db.schedules import Schedule
from recurrence import zone_rules_version
from scheduler_service.service import SchedulerService
from settings import Settings
from tests.factories import NOW, make_job, make_viewer
from tests.waiting import wait_until

BERLIN = Schedule("daily", {"hour": 9, "minute": 0}, "Europe/Berlin")
RIGHT = datetime(2025, 3, 11, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def add_job(engine: Engine, **columns: object) -> str:
    with transaction(engine) as session:
        viewer = make_viewer(session, f"user{datetime.now(UTC).timestamp()}")
        return make_job(session, viewer, schedule=BERLIN, **columns).id


def next_run(engine: Engine, job_id: str) -> datetime | None:
    with transaction(engine) as session:
        return session.get_one(Job, job_id).next_run


def read(engine: Engine, query: Select[Any]) -> object:
    with transaction(engine) as session:
        return session.scalar(query)


def aim(engine: Engine, now: datetime = NOW, **options: int) -> int:
    with transaction(engine) as session:
        return aim_anew(session, now, **options)[0]


def test_next_run_by_old_rules_moves_and_the_audit_says_so(engine: Engine) -> None:
    stale, right = add_job(engine, next_run=RIGHT + HOUR), add_job(engine, next_run=RIGHT)
    assert aim(engine) == 1
    assert next_run(engine, stale) == next_run(engine, right) == RIGHT
    with transaction(engine) as session:
        entry = session.scalars(select(AuditEntry)).one()
    assert entry.subject == f"job {stale}"
    assert entry.action == f"next run moved: time zone rules {zone_rules_version()}"
    assert (entry.before, entry.after) == (
        {"next_run": (RIGHT + HOUR).isoformat()},
        {"next_run": RIGHT.isoformat()},
    )


def test_occurrence_that_the_new_rules_have_had_already_is_due_at_once(engine: Engine) -> None:
    had = datetime(2025, 3, 10, 8, 0, tzinfo=UTC)
    job_id = add_job(
        engine, next_run=NOW + HOUR, last_scheduled_run=had - timedelta(hours=23), updated_at=NOW - 9 * HOUR
    )
    assert aim(engine) == 1
    assert next_run(engine, job_id) == had


def test_what_is_due_or_does_not_fire_stays(engine: Engine) -> None:
    due = add_job(engine, next_run=NOW)
    paused = add_job(engine, next_run=RIGHT + HOUR, paused_at=NOW)
    by_hand = add_job(engine, next_run=RIGHT + HOUR, is_scheduled=False)
    unreadable = add_job(engine, next_run=RIGHT + HOUR, schedule_config={})
    assert aim(engine) == 0
    assert next_run(engine, due) == NOW
    assert {next_run(engine, job_id) for job_id in (paused, by_hand, unreadable)} == {RIGHT + HOUR}


def test_run_that_was_moved_off_a_day_off_keeps_its_place(engine: Engine) -> None:
    moved = NOW + HOUR
    job_id = add_job(engine, next_run=moved, moved_runs=[moved])
    assert aim(engine) == 0
    assert next_run(engine, job_id) == moved


def test_batches_reach_every_job(engine: Engine) -> None:
    ids = [add_job(engine, next_run=RIGHT + HOUR) for _ in range(5)]
    changed, last_id = 0, ""
    while last_id is not None:
        with transaction(engine) as session:
            count, last_id = aim_anew(session, NOW, after_id=last_id, limit=2)
        changed += count
    assert changed == 5
    assert {next_run(engine, job_id) for job_id in ids} == {RIGHT}


@pytest.mark.parametrize(("last", "is_aimed"), [(None, True), ("2020a", True), ("same", False)])
def test_service_aims_anew_when_the_last_scheduler_had_other_rules(
    engine: Engine, caplog: pytest.LogCaptureFixture, last: str | None, is_aimed: bool
) -> None:
    future = datetime.now(UTC) + timedelta(days=400)
    job_id = add_job(engine, next_run=future)
    with transaction(engine) as session:
        register_instance(session, host="h", pid=1, version="1", slots=1, now=datetime.now(UTC))
        if last != "same":
            session.scalars(select(SchedulerInstance)).one().zone_rules = last
    service = SchedulerService(engine, Settings(slots=0))
    with caplog.at_level(logging.INFO):
        service.start()
        fired = select(SchedulerInstance.last_fire_at).where(SchedulerInstance.last_fire_at.is_not(None))
        wait_until(lambda: read(engine, fired), 20, "a fire pass")
        if is_aimed:
            wait_until(lambda: "aimed the schedules" in caplog.text, 20, "the schedules to be aimed")
        service.stop()
    assert (next_run(engine, job_id) != future) is is_aimed
    assert ("next runs moved: 1" in caplog.text) is is_aimed
    with transaction(engine) as session:
        assert get_last_zone_rules(session) == zone_rules_version()
