"""The impact of a change: what it tells is what happens once the change is saved, and telling writes nothing."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select, text

from db.engine import transaction
from db.firing import fire_due_jobs, get_earliest_next_run
from db.jobs import pause_job, resume_job, update_job, update_schedule
from db.models import CatchUp, Job, OnHoliday, Overlap, Run, RunStatus
from db.schedule_impact import (
    MAX_COMPARED,
    ScheduleImpact,
    describe_now,
    end_of_horizon,
    preview_change,
    preview_resume,
    state_of,
)
from db.schedules import DEFAULT_POLICY, RunPolicy, Schedule, policy_of, schedule_of
from db.viewers import Viewer
from recurrence import DayOff, InvalidScheduleError, compare_instants, occurrences
from tests.factories import DAILY, EVERY_MINUTE, HOURLY, NOW, day_off, make_calendar, make_job, make_viewer

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NINE_ON_FRIDAYS = Schedule("weekly", {"day_of_week": 5, "hour": 9, "minute": 0}, "UTC")
FRIDAY = datetime(2025, 3, 14, 9, 0, tzinfo=UTC)
NEVER = Schedule("custom", {"cron_expression": "*/10 2 * 3 0L"}, "Europe/Berlin")  # an hour that summer time skips


@pytest.fixture
def viewer(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


def add_job(engine: Engine, viewer: Viewer, schedule: Schedule | None, **columns: object) -> str:
    with transaction(engine) as session:
        return make_job(session, viewer, schedule=schedule, accounts=0, **columns).id  # type: ignore[arg-type]


def preview(
    engine: Engine, job_id: str, schedule: Schedule | None, policy: RunPolicy | None = None, now: datetime = NOW
) -> ScheduleImpact:
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        return preview_change(session, job, schedule, policy or policy_of(job), now)


def live_on(engine: Engine, until: datetime) -> None:
    """Everything is fired when it is due."""
    while True:
        with transaction(engine) as session:
            now = get_earliest_next_run(session)
            if now is None or now > until:
                return
            fire_due_jobs(session, now)


def list_ran(engine: Engine, job_id: str, after: datetime) -> list[datetime]:
    with transaction(engine) as session:
        mine = (Run.session_id == job_id, Run.status == RunStatus.QUEUED, Run.scheduled_for > after)
        return [at for at in session.scalars(select(Run.scheduled_for).where(*mine).order_by(Run.scheduled_for)) if at]


def dump(engine: Engine) -> dict[str, list[str]]:
    with engine.connect() as connection:
        tables = connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        return {t: sorted(connection.scalars(text(f'SELECT t::text FROM "{t}" AS t'))) for t in tables}  # noqa: S608


# What is told is what happens

SCHEDULES = (
    Schedule("daily", {"hour": 1, "minute": 30}, "Europe/London"),
    Schedule("daily", {"hour": 9, "minute": 0}, "Europe/London"),
    Schedule("weekly", {"day_of_week": [1, 5], "hour": 9, "minute": 0}, "Europe/London"),
    Schedule("weekly", {"day_of_week": 5, "hour": 9, "minute": 0}, "America/New_York"),
    Schedule("monthly", {"day": "last", "hour": 6, "minute": 0}, "Australia/Lord_Howe"),
    Schedule("custom", {"cron_expression": "15 */8 * * *"}, "UTC"),
)


@pytest.mark.parametrize("seed", range(16))
def test_impact_is_what_happens_after_saving(engine: Engine, viewer: Viewer, seed: int) -> None:
    """Two jobs with one past; one of them is changed, and both live through the next 30 days."""
    chance = random.Random(f"impact {seed}")
    began_at = chance.choice([NOW, NOW + 210 * DAY])
    now = began_at + 5 * DAY + chance.randrange(1440) * timedelta(minutes=1)
    with transaction(engine) as session:
        starts = [began_at + chance.randrange(30) * DAY for _ in range(6)]
        days = [DayOff(at.date(), at.date() + chance.choice([0, 2]) * DAY, f"from {at.date()}") for at in starts]
        calendars = [make_calendar(session, viewer, *days[n : n + 3], name=f"calendar {n}") for n in (0, 3)]

    def draw_policy() -> RunPolicy:
        chosen = tuple(chance.sample(calendars, chance.choice([0, 1, 2])))
        return RunPolicy(CatchUp.ALL, Overlap.QUEUE, None, chosen, chance.choice(list(OnHoliday)))

    schedule, policy = chance.choice(SCHEDULES), draw_policy()
    first = next(occurrences(schedule.rule, began_at)).at
    columns = {
        "next_run": first,
        "catch_up": policy.catch_up,
        "overlap": policy.overlap,
        "calendar_ids": list(policy.calendar_ids),
        "on_holiday": policy.on_holiday,
    }
    changed, unchanged = (add_job(engine, viewer, schedule, **columns) for _ in range(2))
    live_on(engine, now - chance.choice([timedelta(0), DAY]))  # sometimes what is due now was not fired

    new_schedule = chance.choice([*SCHEDULES, schedule, schedule, None])
    new_policy = chance.choice([policy, draw_policy()])
    change = preview(engine, changed, new_schedule, new_policy, now)
    with transaction(engine) as session:
        job = session.get_one(Job, changed)
        due_before = set(session.scalars(select(Run.id).where(Run.session_id == changed)))
        update_job(session, viewer, changed, now=now, policy=new_policy)
        if new_schedule != schedule_of(job):
            update_schedule(session, viewer, changed, new_schedule, now=now)
        given_up = session.scalars(select(Run).where(Run.session_id == changed, Run.id.not_in(due_before))).all()
    assert change.given_up == sum(run.occurrences for run in given_up)
    assert {run.status for run in given_up} <= {RunStatus.MISSED}
    zone = (new_schedule or schedule).time_zone
    until = end_of_horizon(now, zone)
    live_on(engine, until)
    before, after = list_ran(engine, unchanged, now), list_ran(engine, changed, now)
    assert change.impact == compare_instants(before, after, zone, until, is_cut=False)
    assert change.next_run == next(iter(after), None) or (change.next_run and change.next_run > until)


def test_impact_of_resuming_is_what_happens(engine: Engine, viewer: Viewer) -> None:
    with transaction(engine) as session:
        calendar = make_calendar(session, viewer, day_off("2025-03-14"), day_off("2025-03-21"))
    job_id = add_job(
        engine,
        viewer,
        NINE_ON_FRIDAYS,
        next_run=FRIDAY,
        calendar_ids=[calendar],
        on_holiday=OnHoliday.MOVE,
        overlap=Overlap.QUEUE,
    )
    live_on(engine, FRIDAY)
    now = FRIDAY + DAY
    with transaction(engine) as session:
        pause_job(session, viewer, job_id, now=FRIDAY + HOUR)
        change = preview_resume(session, session.get_one(Job, job_id), now)
        resume_job(session, viewer, job_id, now=now)
    assert (change.next_run, change.given_up) == (FRIDAY + 3 * DAY, 0)
    assert describe_now(change) == "nothing runs now"
    live_on(engine, end_of_horizon(now, "UTC"))
    assert list(change.impact.appears) == list_ran(engine, job_id, now)
    # Both Fridays move to their Mondays; the others are ordinary.
    assert [at.weekday() for at in change.impact.appears] == [0, 0, 4, 4, 4]


def test_moved_run_that_passed_in_the_pause_is_not_told(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer, NINE_ON_FRIDAYS, paused_at=FRIDAY, next_run=FRIDAY, moved_runs=[FRIDAY + 3 * DAY])
    with transaction(engine) as session:
        change = preview_resume(session, session.get_one(Job, job_id), FRIDAY + 4 * DAY)
    assert change.next_run == FRIDAY + 7 * DAY


def test_edit_that_calls_a_moved_run_off_says_so(engine: Engine, viewer: Viewer) -> None:
    monday = FRIDAY + 3 * DAY
    job_id = add_job(engine, viewer, NINE_ON_FRIDAYS, next_run=monday, moved_runs=[monday])
    tuesdays = Schedule("weekly", {"day_of_week": 2, "hour": 9, "minute": 0}, "UTC")
    assert preview(engine, job_id, NINE_ON_FRIDAYS, now=FRIDAY + DAY).next_run == monday
    change = preview(engine, job_id, tuesdays, now=FRIDAY + DAY)
    assert change.next_run == monday + DAY
    assert change.impact.disappears[0] == monday
    assert preview(engine, job_id, None, now=FRIDAY + DAY).impact.disappears[0] == monday


# Nothing is written, nothing runs


def test_telling_writes_nothing(engine: Engine, viewer: Viewer) -> None:
    with transaction(engine) as session:
        calendar = make_calendar(session, viewer, day_off("2025-03-14"))
    job_id = add_job(engine, viewer, HOURLY)
    paused = add_job(engine, viewer, HOURLY, paused_at=NOW)
    before = dump(engine)
    policy = RunPolicy(CatchUp.ALL, Overlap.QUEUE, 60, (calendar,), OnHoliday.MOVE)
    with transaction(engine) as session:
        for schedule in (DAILY, HOURLY, None):
            preview_change(session, session.get_one(Job, job_id), schedule, policy, NOW + 5 * HOUR)
            preview_change(session, None, schedule, policy, NOW)
        preview_resume(session, session.get_one(Job, paused), NOW)
    assert dump(engine) == before


def test_what_is_due_is_given_up_and_nothing_runs_now(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer, HOURLY)
    assert preview(engine, job_id, DAILY, now=NOW - HOUR).given_up == 0
    one = preview(engine, job_id, DAILY, now=NOW + HOUR / 2)
    assert (one.given_up, describe_now(one)) == (1, "nothing runs now; 1 run that is due now is recorded as missed")
    many = preview(engine, job_id, None, now=NOW + 1500 * HOUR)
    assert (many.given_up, many.next_run) == (1501, None)
    assert describe_now(many) == "nothing runs now; 1,501 runs that are due now are recorded as missed"


def test_the_schedule_that_the_job_has_changes_and_gives_up_nothing(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer, HOURLY)
    change = preview(engine, job_id, HOURLY, now=NOW + 5 * HOUR)
    impact = change.impact
    assert (change.given_up, impact.appears, impact.disappears, impact.moved) == (0, (), (), ())
    assert describe_now(change) == "nothing runs now"


def test_new_job_only_appears(engine: Engine) -> None:
    with transaction(engine) as session:
        change = preview_change(session, None, DAILY, DEFAULT_POLICY, NOW)
    assert (len(change.impact.appears), change.impact.unchanged, change.given_up) == (30, 0, 0)
    assert change.next_run == change.impact.appears[0] == NOW + 14 * HOUR


# Paused, unreadable, many


def test_paused_job_runs_nothing_before_and_after(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer, HOURLY, paused_at=NOW)
    with transaction(engine) as session:
        assert state_of(session.get_one(Job, job_id)).schedule is None
    change = preview(engine, job_id, DAILY, now=NOW + 5 * HOUR)
    assert (change.next_run, change.given_up) == (None, 0)
    assert (change.impact.appears, change.impact.disappears, change.impact.moved) == ((), (), ())


@pytest.mark.parametrize("columns", [{}, {"paused_at": NOW}])
@pytest.mark.parametrize("schedule", [Schedule("daily", {"hour": 25, "minute": 0}, "UTC"), NEVER])
def test_schedule_that_would_be_refused_is_refused(
    engine: Engine, viewer: Viewer, schedule: Schedule, columns: dict[str, object]
) -> None:
    job_id = add_job(engine, viewer, HOURLY, **columns)
    with pytest.raises(InvalidScheduleError):
        preview(engine, job_id, schedule)
    with pytest.raises(InvalidScheduleError), transaction(engine) as session:
        update_schedule(session, viewer, job_id, schedule, now=NOW)


def test_old_schedule_that_nobody_can_read_runs_nothing(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer, HOURLY, time_zone="Mars/Olympus")
    change = preview(engine, job_id, DAILY, now=NOW + 5 * HOUR)
    assert (len(change.impact.appears), change.impact.disappears, change.given_up) == (30, (), 0)


def test_comparison_of_too_many_runs_is_cut(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer, EVERY_MINUTE)
    impact = preview(engine, job_id, HOURLY).impact
    assert impact.is_cut
    assert impact.until == NOW + MAX_COMPARED * timedelta(minutes=1)
    assert impact.unchanged == 8
    assert len(impact.disappears) == MAX_COMPARED - 8


def test_next_run_is_found_behind_weeks_of_days_off_of_a_minutely_schedule(engine: Engine, viewer: Viewer) -> None:
    with transaction(engine) as session:
        calendar = make_calendar(session, viewer, day_off("2025-03-10", "2025-03-30"))
    job_id = add_job(engine, viewer, EVERY_MINUTE)
    policy = RunPolicy(calendar_ids=(calendar,))
    assert preview(engine, job_id, EVERY_MINUTE, policy).next_run == datetime(2025, 3, 31, tzinfo=UTC)


def test_policy_alone_changes_what_runs(engine: Engine, viewer: Viewer) -> None:
    with transaction(engine) as session:
        calendar = make_calendar(session, viewer, day_off("2025-03-14"))
    job_id = add_job(engine, viewer, NINE_ON_FRIDAYS, next_run=FRIDAY)

    def told(on_holiday: OnHoliday) -> tuple[Sequence[datetime], Sequence[tuple[datetime, datetime]], datetime | None]:
        policy = RunPolicy(calendar_ids=(calendar,), on_holiday=on_holiday)
        change = preview(engine, job_id, NINE_ON_FRIDAYS, policy)
        moved = [(move.before, move.after) for move in change.impact.moved]
        return change.impact.disappears, moved, change.next_run

    assert told(OnHoliday.SKIP) == ((FRIDAY,), [], FRIDAY + 7 * DAY)
    assert told(OnHoliday.MOVE) == ((), [(FRIDAY, FRIDAY + 3 * DAY)], FRIDAY + 3 * DAY)
