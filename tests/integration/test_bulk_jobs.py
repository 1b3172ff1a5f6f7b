"""Many jobs changed at once: all or none, only the viewer's own, and never in a deadlock."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db.bulk_jobs import (
    MAX_JOBS,
    NoJobsError,
    TooManyJobsError,
    pause_jobs,
    preview_pauses,
    preview_reschedule,
    preview_resumes,
    reschedule_jobs,
    resume_jobs,
)
from db.engine import transaction
from db.errors import NotAllowedError, NotFoundError
from db.jobs import lock_job
from db.models import AuditEntry, CatchUp, Job, OnHoliday, Role, Run, RunStatus
from db.schedules import Schedule, schedule_of
from db.viewers import Viewer
from recurrence import InvalidScheduleError
from tests.factories import DAILY, NOW, day_off, make_calendar, make_job, make_viewer
from tests.waiting import wait_until

AT_FIVE = Schedule("daily", {"hour": 5, "minute": 0}, "Asia/Tokyo")
UNREADABLE: dict[str, Any] = {"schedule_config": {"hour": "two"}, "paused_at": NOW}
LATER = NOW + timedelta(minutes=30)
SOON: dict[str, Any] = {"next_run": NOW + timedelta(hours=14)}

Change = Callable[[Session, Viewer, list[str]], object]
CHANGES: dict[str, Change] = {
    "reschedule": lambda session, viewer, ids: reschedule_jobs(session, viewer, ids, AT_FIVE, now=NOW),
    "pause": lambda session, viewer, ids: pause_jobs(session, viewer, ids, now=NOW),
    "resume": lambda session, viewer, ids: resume_jobs(session, viewer, ids, now=NOW),
}
PREVIEWS: dict[str, Change] = {
    "reschedule": lambda session, viewer, ids: preview_reschedule(session, viewer, ids, AT_FIVE, NOW),
    "pause": lambda session, viewer, ids: preview_pauses(session, viewer, ids, NOW),
    "resume": lambda session, viewer, ids: preview_resumes(session, viewer, ids, NOW),
}
EVERYTHING = [*CHANGES.values(), *PREVIEWS.values()]


@pytest.fixture
def viewer(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


@pytest.fixture
def ids(engine: Engine, viewer: Viewer) -> list[str]:
    """An active job, a paused one, and one without a schedule."""
    with transaction(engine) as session:
        active = make_job(session, viewer, schedule=DAILY, name="Active", **SOON)
        paused = make_job(session, viewer, schedule=DAILY, name="Paused", paused_at=NOW - timedelta(days=1), **SOON)
        return [active.id, paused.id, make_job(session, viewer, name="By hand").id]


def stored(engine: Engine, job_ids: list[str]) -> list[Job]:
    with transaction(engine) as session:
        return [session.get_one(Job, job_id) for job_id in job_ids]


def test_reschedule_gives_every_job_the_schedule_and_keeps_the_pause(
    engine: Engine, viewer: Viewer, ids: list[str]
) -> None:
    with transaction(engine) as session:
        assert reschedule_jobs(session, viewer, [*ids, ids[0]], AT_FIVE, now=NOW) == 3
    jobs = stored(engine, ids)
    assert [schedule_of(job) for job in jobs] == [AT_FIVE] * 3
    assert [job.next_run for job in jobs] == [NOW.replace(hour=20)] * 3
    assert [job.paused_at is not None for job in jobs] == [False, True, False]


def test_reschedule_keeps_each_jobs_policy(engine: Engine, viewer: Viewer, ids: list[str]) -> None:
    with transaction(engine) as session:
        job = session.get_one(Job, ids[0])
        job.catch_up, job.misfire_grace_seconds, job.on_holiday = CatchUp.ALL, 90, OnHoliday.MOVE
    with transaction(engine) as session:
        reschedule_jobs(session, viewer, ids, AT_FIVE, now=NOW)
    (job, *_) = stored(engine, ids)
    assert (job.catch_up, job.misfire_grace_seconds, job.on_holiday) == (CatchUp.ALL, 90, OnHoliday.MOVE)


def test_job_that_has_the_schedule_already_gives_nothing_up(engine: Engine, viewer: Viewer) -> None:
    with transaction(engine) as session:
        job_id = make_job(session, viewer, schedule=DAILY, next_run=NOW - timedelta(hours=10)).id
    with transaction(engine) as session:
        assert reschedule_jobs(session, viewer, [job_id], DAILY, now=NOW) == 0
    with transaction(engine) as session:
        assert session.scalars(select(Run)).all() == []


def test_pause_and_resume_count_those_that_they_change(engine: Engine, viewer: Viewer, ids: list[str]) -> None:
    with transaction(engine) as session:
        assert pause_jobs(session, viewer, ids, now=LATER) == 1
    assert [job.paused_at for job in stored(engine, ids)] == [LATER, NOW - timedelta(days=1), None]
    with transaction(engine) as session:
        assert resume_jobs(session, viewer, ids, now=LATER) == 2
    assert [job.paused_at for job in stored(engine, ids)] == [None] * 3
    with transaction(engine) as session:
        assert resume_jobs(session, viewer, ids, now=LATER) == 0


def test_every_changed_job_has_its_audit_entry(engine: Engine, viewer: Viewer, ids: list[str]) -> None:
    with transaction(engine) as session:
        pause_jobs(session, viewer, ids, now=NOW)
        reschedule_jobs(session, viewer, ids, AT_FIVE, now=NOW)
    with transaction(engine) as session:
        entries = session.execute(select(AuditEntry.action, AuditEntry.subject)).all()
    edited = sorted(("schedule edited", f"job {job_id}") for job_id in ids)
    assert sorted(map(tuple, entries)) == [("job paused", f"job {ids[0]}"), *edited]


@pytest.mark.parametrize("change", EVERYTHING)
def test_jobs_of_others_stop_everything(engine: Engine, ids: list[str], viewer: Viewer, change: Change) -> None:
    with transaction(engine) as session:
        foreign = make_job(session, make_viewer(session, "mallory"), schedule=DAILY).id
    versions = [job.version for job in stored(engine, ids)]
    for unknown in (foreign, "nothing"):
        with transaction(engine) as session, pytest.raises(NotFoundError, match=f'there is no job "{unknown}", or it'):
            change(session, viewer, [*ids, unknown])
    assert [job.version for job in stored(engine, ids)] == versions


def test_admins_change_everyones(engine: Engine, ids: list[str]) -> None:
    with transaction(engine) as session:
        admin = make_viewer(session, "ada", Role.ADMIN)
        assert reschedule_jobs(session, admin, ids, AT_FIVE, now=NOW) == 3


@pytest.mark.parametrize("change", CHANGES.values())
def test_viewers_change_nothing(engine: Engine, viewer: Viewer, ids: list[str], change: Change) -> None:
    with transaction(engine) as session, pytest.raises(NotAllowedError):
        change(session, replace(viewer, role=Role.VIEWER), ids)


def test_error_half_way_leaves_nothing_even_when_the_caller_commits(
    engine: Engine, viewer: Viewer, ids: list[str]
) -> None:
    with transaction(engine) as session:
        broken = make_job(session, viewer, schedule=DAILY, name="Broken", id="~ after all others", **UNREADABLE).id
    with transaction(engine) as session, pytest.raises(InvalidScheduleError, match=r'^job "Broken": '):
        resume_jobs(session, viewer, [*ids, broken], now=NOW)
    assert stored(engine, ids)[1].paused_at is not None


def test_schedule_that_nobody_can_read_is_refused(engine: Engine, viewer: Viewer, ids: list[str]) -> None:
    wrong = Schedule("daily", {"hour": 25, "minute": 0}, "UTC")
    with transaction(engine) as session:
        for change in (
            lambda: reschedule_jobs(session, viewer, ids, wrong, now=NOW),
            lambda: preview_reschedule(session, viewer, ids, wrong, NOW),
        ):
            with pytest.raises(InvalidScheduleError, match=r'^hour "25": allowed 0-23'):
                change()
    assert schedule_of(stored(engine, ids)[0]) == DAILY


@pytest.mark.parametrize("change", EVERYTHING)
def test_number_of_jobs_is_bounded(engine: Engine, viewer: Viewer, change: Change) -> None:
    many = [f"job {number}" for number in range(MAX_JOBS + 1)]
    with transaction(engine) as session:
        with pytest.raises(NoJobsError, match="No job is chosen"):
            change(session, viewer, [])
        with pytest.raises(TooManyJobsError, match=r"^201 jobs are chosen; at most 200 can be changed at once$"):
            change(session, viewer, many)
        with pytest.raises(NotFoundError):  # 200 are not too many, whether or not some are named twice
            change(session, viewer, many[:MAX_JOBS] * 2)


def test_preview_of_a_reschedule_tells_each_job_in_order(engine: Engine, viewer: Viewer, ids: list[str]) -> None:
    order = [ids[2], ids[0], ids[1], ids[0]]
    with transaction(engine) as session:
        by_hand, active, paused = preview_reschedule(session, viewer, order, AT_FIVE, NOW)
    assert [(i.job_id, i.name) for i in (by_hand, active, paused)] == [
        (ids[2], "By hand"),
        (ids[0], "Active"),
        (ids[1], "Paused"),
    ]
    assert (len(by_hand.change.impact.appears), by_hand.change.next_run) == (30, NOW.replace(hour=20))
    assert (active.change.next_run, active.change.given_up) == (NOW.replace(hour=20), 0)
    assert len(active.change.impact.moved) == 30  # each to the same date in Tokyo
    assert (paused.change.next_run, paused.change.impact.appears) == (None, ())
    assert [schedule_of(job) for job in stored(engine, ids)] == [DAILY, DAILY, None]


def test_preview_of_a_reschedule_keeps_each_jobs_days_off(engine: Engine, viewer: Viewer, ids: list[str]) -> None:
    with transaction(engine) as session:
        calendar_id = make_calendar(session, viewer, day_off("2025-03-11", "2025-03-12"))
        session.get_one(Job, ids[0]).calendar_ids = [calendar_id]
    with transaction(engine) as session:
        (impact,) = preview_reschedule(session, viewer, ids[:1], AT_FIVE, NOW)
    assert impact.change.next_run == NOW.replace(hour=20) + timedelta(days=2)


def test_previews_of_pause_and_resume_tell_those_that_change(engine: Engine, viewer: Viewer, ids: list[str]) -> None:
    with transaction(engine) as session:
        (paused,) = preview_pauses(session, viewer, ids, NOW)
        (resumed,) = preview_resumes(session, viewer, ids, NOW)
    assert (paused.job_id, len(paused.change.impact.disappears), paused.change.next_run) == (ids[0], 30, None)
    assert (resumed.job_id, len(resumed.change.impact.appears)) == (ids[1], 30)
    assert resumed.change.next_run == NOW.replace(hour=2) + timedelta(days=1)
    assert [job.paused_at is not None for job in stored(engine, ids)] == [False, True, False]


def test_preview_counts_what_pausing_gives_up(engine: Engine, viewer: Viewer) -> None:
    with transaction(engine) as session:
        job_id = make_job(session, viewer, schedule=DAILY, next_run=NOW - timedelta(hours=34)).id
    with transaction(engine) as session:
        (impact,) = preview_pauses(session, viewer, [job_id], NOW)
        assert impact.change.given_up == 2
        pause_jobs(session, viewer, [job_id], now=NOW)
        assert [run.status for run in session.scalars(select(Run))] == [RunStatus.MISSED] * 2


def test_preview_of_an_unreadable_job_names_it(engine: Engine, viewer: Viewer) -> None:
    with transaction(engine) as session:
        broken = make_job(session, viewer, schedule=DAILY, name="Broken", **UNREADABLE).id
        with pytest.raises(InvalidScheduleError, match=r'^job "Broken": '):
            preview_resumes(session, viewer, [broken], NOW)


@pytest.mark.parametrize("change", CHANGES.values())
def test_jobs_are_locked_in_the_order_of_their_ids(engine: Engine, viewer: Viewer, change: Change) -> None:
    """While the last job is held by somebody else, the first one is locked already, whatever order was asked for."""
    with transaction(engine) as session:
        first, last = sorted(make_job(session, viewer, schedule=DAILY).id for _ in range(2))

    def change_both() -> None:
        with transaction(engine) as session:
            change(session, viewer, [last, first])

    thread = threading.Thread(target=change_both)
    with transaction(engine) as session:
        lock_job(session, viewer, last)
        thread.start()
        wait_until(lambda: is_somebody_waiting(engine), 10, "the other change to wait for the lock")
        with transaction(engine) as other, pytest.raises(OperationalError, match="could not obtain lock"):
            other.execute(text("SELECT 1 FROM import_sessions WHERE id = :id FOR UPDATE NOWAIT"), {"id": first})
    thread.join(10)
    assert not thread.is_alive()


def is_somebody_waiting(engine: Engine) -> bool:
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with transaction(engine) as session:
        return session.execute(query).scalar_one() > 0
