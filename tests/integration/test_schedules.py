"""Schedules and their periods: what a change puts in force, from when on, and that it never makes anything run."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, event, select, text, update
from sqlalchemy.orm import Session

from db.engine import transaction
from db.firing import FirePass, fire_due_jobs
from db.jobs import create_job, pause_job, resume_job, update_job, update_schedule
from db.ledger import draw_up_ledger
from db.models import CatchUp, Cause, Job, OnHoliday, Overlap, Run, RunStatus, RunTrigger, SchedulePeriod
from db.schedules import RunPolicy, Schedule, policy_of, schedule_of
from db.viewers import Viewer
from recurrence import InvalidScheduleError
from tests.factories import (
    BOX,
    DAILY,
    EVERY_MINUTE,
    HOURLY,
    NOW,
    day_off,
    make_calendar,
    make_draft,
    make_job,
    make_run,
    make_viewer,
)

MONDAYS = Schedule("weekly", {"day_of_week": 1, "hour": 15, "minute": 1}, "UTC")
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TICK = timedelta(microseconds=1)
NEVER = Schedule("custom", {"cron_expression": "*/10 2 * 3 0L"}, "Europe/Berlin")  # an hour that summer time skips
CHANGED = "the schedule was changed before a scheduler came to it"
PAUSED = "the schedule was paused before a scheduler came to it"

Change = Callable[[Session, Viewer, str, datetime], Job]

ENDINGS: dict[str, tuple[Change, str]] = {
    "edit": (lambda s, v, j, now: update_schedule(s, v, j, DAILY, now=now), CHANGED),
    "unschedule": (lambda s, v, j, now: update_schedule(s, v, j, None, now=now), CHANGED),
    "pause": (lambda s, v, j, now: pause_job(s, v, j, now=now), PAUSED),
}


@pytest.fixture
def viewer(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


def create(engine: Engine, viewer: Viewer, schedule: Schedule | None = HOURLY) -> str:
    with transaction(engine) as session:
        return create_job(session, viewer, make_draft(schedule=schedule), BOX, authorised=True, now=NOW).id


def change(engine: Engine, viewer: Viewer, job_id: str, schedule: Schedule | None, now: datetime) -> Job:
    with transaction(engine) as session:
        return update_schedule(session, viewer, job_id, schedule, now=now)


def pause(engine: Engine, viewer: Viewer, job_id: str, now: datetime) -> None:
    with transaction(engine) as session:
        pause_job(session, viewer, job_id, now=now)


def resume(engine: Engine, viewer: Viewer, job_id: str, now: datetime) -> Job:
    with transaction(engine) as session:
        return resume_job(session, viewer, job_id, now=now)


def fire(engine: Engine, now: datetime) -> FirePass:
    with transaction(engine) as session:
        return fire_due_jobs(session, now)


def read(engine: Engine, job_id: str) -> Job:
    with transaction(engine) as session:
        return session.get_one(Job, job_id)


def list_periods(engine: Engine) -> list[tuple[str, datetime, datetime | None]]:
    with transaction(engine) as session:
        rows = session.scalars(select(SchedulePeriod).order_by(SchedulePeriod.id))
        return [(row.schedule_type, row.starts_at, row.ends_at) for row in rows]


def list_rows(engine: Engine) -> list[tuple[datetime | None, str, str | None, str | None, int]]:
    with transaction(engine) as session:
        rows = session.scalars(select(Run).order_by(Run.id))
        return [(row.scheduled_for, row.status, row.cause, row.reason, row.occurrences) for row in rows]


def balances(engine: Engine, viewer: Viewer, job_id: str, now: datetime) -> bool:
    with transaction(engine) as session:
        return draw_up_ledger(session, viewer, job_id, starts_at=NOW - DAY, ends_at=now + SECOND, now=now).balances


# Periods


def test_job_with_a_schedule_begins_a_period(engine: Engine, viewer: Viewer) -> None:
    create(engine, viewer)
    assert list_periods(engine) == [("custom", NOW, None)]
    with transaction(engine) as session:
        period = session.scalars(select(SchedulePeriod)).one()
        assert (period.schedule_config, period.time_zone) == (HOURLY.schedule_config, "UTC")


def test_job_without_a_schedule_begins_none(engine: Engine, viewer: Viewer) -> None:
    create(engine, viewer, None)
    assert list_periods(engine) == []


def test_edit_ends_one_period_and_begins_the_next(engine: Engine, viewer: Viewer) -> None:
    job_id = create(engine, viewer)
    change(engine, viewer, job_id, DAILY, NOW + MINUTE)
    assert list_periods(engine) == [("custom", NOW, NOW + MINUTE), ("daily", NOW + MINUTE, None)]


def test_pause_ends_the_period_and_resuming_begins_another(engine: Engine, viewer: Viewer) -> None:
    job_id = create(engine, viewer)
    pause(engine, viewer, job_id, NOW + MINUTE)
    pause(engine, viewer, job_id, NOW + 2 * MINUTE)
    assert list_periods(engine) == [("custom", NOW, NOW + MINUTE)]
    assert resume(engine, viewer, job_id, NOW + 5 * HOUR).next_run == NOW + 6 * HOUR
    resume(engine, viewer, job_id, NOW + 5 * HOUR + MINUTE)
    assert list_periods(engine) == [("custom", NOW, NOW + MINUTE), ("custom", NOW + 5 * HOUR, None)]
    assert list_rows(engine) == []
    assert fire(engine, NOW + 6 * HOUR) == FirePass(1, 1)
    assert balances(engine, viewer, job_id, NOW + 6 * HOUR)


def test_edit_of_a_paused_job_begins_nothing_until_it_is_resumed(engine: Engine, viewer: Viewer) -> None:
    job_id = create(engine, viewer)
    pause(engine, viewer, job_id, NOW + MINUTE)
    change(engine, viewer, job_id, DAILY, NOW + 2 * HOUR)
    assert list_periods(engine) == [("custom", NOW, NOW + MINUTE)]
    resume(engine, viewer, job_id, NOW + 3 * HOUR)
    assert list_periods(engine)[1:] == [("daily", NOW + 3 * HOUR, None)]
    assert list_rows(engine) == []


def test_unscheduled_job_has_no_period_until_it_is_scheduled_again(engine: Engine, viewer: Viewer) -> None:
    job_id = create(engine, viewer)
    job = change(engine, viewer, job_id, None, NOW + MINUTE)
    assert (job.is_scheduled, job.next_run, schedule_of(job)) == (False, None, None)
    change(engine, viewer, job_id, None, NOW + 2 * MINUTE)
    change(engine, viewer, job_id, HOURLY, NOW + 3 * HOUR)
    assert list_periods(engine) == [("custom", NOW, NOW + MINUTE), ("custom", NOW + 3 * HOUR, None)]


def test_unscheduled_paused_job_is_not_paused_when_it_is_scheduled_again(engine: Engine, viewer: Viewer) -> None:
    job_id = create(engine, viewer)
    pause(engine, viewer, job_id, NOW + MINUTE)
    change(engine, viewer, job_id, None, NOW + HOUR)
    job = change(engine, viewer, job_id, HOURLY, NOW + 2 * HOUR)
    assert (job.paused_at, job.next_run) == (None, NOW + 3 * HOUR)
    assert list_periods(engine)[-1] == ("custom", NOW + 2 * HOUR, None)


def test_schedule_that_cannot_be_read_ends_its_period(engine: Engine, viewer: Viewer) -> None:
    job_id = create(engine, viewer)
    with transaction(engine) as session:
        session.execute(update(Job).values(time_zone="Mars/Olympus"))
    fire(engine, NOW + HOUR)
    assert list_periods(engine) == [("custom", NOW, NOW + HOUR)]
    ((at, status, cause, reason, _),) = list_rows(engine)
    assert (at, status, cause) == (NOW + HOUR, RunStatus.SKIPPED, Cause.UNREADABLE)
    assert reason == (
        'the schedule was paused because it cannot be read: unknown time zone "Mars/Olympus"; '
        'allowed an IANA name, such as "Europe/London"'
    )
    with pytest.raises(InvalidScheduleError):
        resume(engine, viewer, job_id, NOW + 2 * HOUR)
    change(engine, viewer, job_id, HOURLY, NOW + 2 * HOUR)
    assert resume(engine, viewer, job_id, NOW + 3 * HOUR).next_run == NOW + 4 * HOUR
    assert list_periods(engine)[1:] == [("custom", NOW + 3 * HOUR, None)]
    assert balances(engine, viewer, job_id, NOW + 3 * HOUR)


@pytest.mark.parametrize("schedule", [NEVER, Schedule("daily", {"hour": 25, "minute": 0}, "UTC")])
def test_schedule_that_is_refused_changes_nothing(engine: Engine, viewer: Viewer, schedule: Schedule) -> None:
    job_id = create(engine, viewer)
    with pytest.raises(InvalidScheduleError):
        change(engine, viewer, job_id, schedule, NOW + 3 * HOUR)
    assert (list_periods(engine), list_rows(engine)) == ([("custom", NOW, None)], [])
    assert read(engine, job_id).next_run == NOW + HOUR


def test_the_schedule_that_a_job_has_changes_nothing(engine: Engine, viewer: Viewer) -> None:
    """The API stores what it is sent: a save without a change must not give up what is due."""
    with transaction(engine) as session:
        calendar = make_calendar(session, viewer, day_off("2025-03-10"))
        job_id = make_job(session, viewer, schedule=DAILY, calendar_ids=[calendar], on_holiday=OnHoliday.MOVE).id
    fire(engine, NOW)
    moved_runs, periods, rows = read(engine, job_id).moved_runs, list_periods(engine), list_rows(engine)
    assert moved_runs == [NOW + DAY]
    job = change(engine, viewer, job_id, Schedule("daily", {"minute": 0, "hour": 2}, "UTC"), NOW + 15 * HOUR)
    assert (job.next_run, job.moved_runs) == (NOW + 14 * HOUR, moved_runs)
    assert (list_periods(engine), list_rows(engine)) == (periods, rows)


def test_periods_never_end_before_they_start(engine: Engine, viewer: Viewer) -> None:
    """The clock of the machine that pauses is behind that of the one that created."""
    job_id = create(engine, viewer)
    pause(engine, viewer, job_id, NOW - MINUTE)
    assert list_periods(engine) == [("custom", NOW, NOW)]


# What is due when the schedule ends


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_due_is_recorded_and_nothing_runs(engine: Engine, viewer: Viewer, ending: str) -> None:
    end, reason = ENDINGS[ending]
    job_id = create(engine, viewer)
    now = NOW + 3 * HOUR + MINUTE
    with transaction(engine) as session:
        end(session, viewer, job_id, now)
    assert list_rows(engine) == [(NOW + n * HOUR, RunStatus.MISSED, Cause.EDITED, reason, 1) for n in (1, 2, 3)]
    job = read(engine, job_id)
    assert job.status == "idle"
    assert ending == "pause" or job.next_run is None or job.next_run > now
    assert fire(engine, now) == FirePass(0, 0)
    assert balances(engine, viewer, job_id, now)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("is_fired", [False, True])
def test_occurrence_at_the_very_instant_of_a_change_belongs_to_the_old_schedule(
    engine: Engine, viewer: Viewer, ending: str, is_fired: bool
) -> None:
    end, _ = ENDINGS[ending]
    job_id = create(engine, viewer)
    now = NOW + HOUR
    if is_fired:
        fire(engine, now)
    with transaction(engine) as session:
        end(session, viewer, job_id, now)
    ((at, status, cause, _, _),) = list_rows(engine)
    wanted = (RunStatus.QUEUED, None) if is_fired else (RunStatus.MISSED, Cause.EDITED)
    assert (at, status, cause) == (now, *wanted)
    assert balances(engine, viewer, job_id, now)


@pytest.mark.parametrize("ending", ENDINGS)
def test_many_that_are_due_are_one_counted_row_and_a_hundred(engine: Engine, viewer: Viewer, ending: str) -> None:
    end, reason = ENDINGS[ending]
    job_id = create(engine, viewer, EVERY_MINUTE)
    with transaction(engine) as session:
        end(session, viewer, job_id, NOW + 1000 * MINUTE)
    older, *newest = list_rows(engine)
    assert older == (NOW + MINUTE, RunStatus.MISSED, Cause.EDITED, reason, 900)
    assert newest == [(NOW + n * MINUTE, RunStatus.MISSED, Cause.EDITED, reason, 1) for n in range(901, 1001)]
    assert balances(engine, viewer, job_id, NOW + 1000 * MINUTE)


@pytest.mark.parametrize("ending", ENDINGS)
def test_change_counts_from_what_a_faster_clock_fired(engine: Engine, viewer: Viewer, ending: str) -> None:
    """The change was asked for right before an occurrence, and waited for the pass that fired it."""
    end, _ = ENDINGS[ending]
    job_id = create(engine, viewer, EVERY_MINUTE)
    fire(engine, NOW + MINUTE)
    with transaction(engine) as session:
        end(session, viewer, job_id, NOW + MINUTE - 10 * TICK)
    assert list_periods(engine)[0] == ("custom", NOW, NOW + MINUTE)
    assert [row[:2] for row in list_rows(engine)] == [(NOW + MINUTE, RunStatus.QUEUED)]
    if ending == "pause":
        assert resume(engine, viewer, job_id, NOW + MINUTE - TICK).next_run == NOW + 2 * MINUTE
    assert balances(engine, viewer, job_id, NOW + MINUTE)


def test_change_does_not_wait_for_what_a_person_asked_for(engine: Engine, viewer: Viewer) -> None:
    job_id = create(engine, viewer)
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        make_run(session, job, trigger=RunTrigger.RETRY, status=RunStatus.COMPLETED, scheduled_for=NOW + DAY)
    change(engine, viewer, job_id, EVERY_MINUTE, NOW + MINUTE)
    assert list_periods(engine)[-1] == ("custom", NOW + MINUTE, None)


@pytest.mark.parametrize("catch_up", list(CatchUp))
@pytest.mark.parametrize("schedule", [EVERY_MINUTE, DAILY, MONDAYS])
def test_edit_and_resume_never_make_a_run_at_once(
    engine: Engine, viewer: Viewer, schedule: Schedule, catch_up: CatchUp
) -> None:
    job_id = create(engine, viewer)
    now = NOW + 3 * HOUR + MINUTE
    with transaction(engine) as session:
        update_job(session, viewer, job_id, now=NOW, policy=RunPolicy(catch_up, Overlap.QUEUE, 86400))
        update_schedule(session, viewer, job_id, schedule, now=now)
    assert fire(engine, now) == FirePass(0, 0)
    pause(engine, viewer, job_id, now)
    resumed_at = now + 5 * DAY
    assert resume(engine, viewer, job_id, resumed_at).next_run > resumed_at
    assert fire(engine, resumed_at) == FirePass(0, 0)
    assert {status for _, status, *_ in list_rows(engine)} == {RunStatus.MISSED}
    assert balances(engine, viewer, job_id, resumed_at)


# Policy


def test_policy_holds_from_the_next_occurrence_on(engine: Engine, viewer: Viewer) -> None:
    job_id = create(engine, viewer)
    policy = RunPolicy(CatchUp.ALL, Overlap.QUEUE, 60, (), OnHoliday.MOVE)
    with transaction(engine) as session:
        job = update_job(session, viewer, job_id, now=NOW, policy=policy)
        assert policy_of(job) == policy
        assert (job.next_run, job.version) == (NOW + HOUR, 2)
    assert list_periods(engine) == [("custom", NOW, None)]


def test_edit_of_a_job_with_many_runs_reads_an_index(engine: Engine, viewer: Viewer) -> None:
    job_id = create(engine, viewer)
    plans: list[str] = []

    def explain(_c: object, cursor: object, statement: str, values: object, *_: object) -> None:
        if "max(import_runs.scheduled_for)" in statement:
            cursor.execute(f"EXPLAIN {statement}", values)  # type: ignore[attr-defined]
            plans.extend(line for (line,) in cursor.fetchall())  # type: ignore[attr-defined]

    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO import_runs (session_id, trigger, scheduled_for, status, finished_at) SELECT :id, "
                "'schedule', CAST(:now AS timestamptz) - n * interval '1 min', 'completed', :now "
                "FROM generate_series(1, 20000) AS n"
            ),
            {"id": job_id, "now": NOW},
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE import_runs"))
    event.listen(engine, "before_cursor_execute", explain)
    change(engine, viewer, job_id, DAILY, NOW + MINUTE)
    event.remove(engine, "before_cursor_execute", explain)
    assert any("uq_import_runs_occurrence" in line for line in plans), plans
