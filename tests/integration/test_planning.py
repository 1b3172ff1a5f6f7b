"""What a fire pass makes of due occurrences: rows for late ones, for days off, and runs that move to another day."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event, func, select, text, update

from db.calendars import CalendarDraft, load_calendars_of, update_calendar
from db.engine import transaction
from db.firing import BATCH_SIZE, FirePass, fire_due_jobs, get_earliest_next_run
from db.jobs import pause_job, resume_job, update_job, update_schedule
from db.ledger import draw_up_ledger
from db.models import CatchUp, Cause, Job, OnHoliday, Overlap, Run, RunStatus
from db.planning import MAX_SINGLE_ROWS, Surroundings, in_words, plan_job
from db.schedules import RunPolicy, Schedule, list_next_runs, next_run_of
from db.viewers import Viewer
from recurrence import Calendar, DayOff, coming, occurrences
from tests.factories import (
    DAILY,
    HOURLY,
    NOW,
    day_off,
    make_calendar,
    make_job,
    make_outage,
    make_run,
    make_viewer,
)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SECOND = timedelta(seconds=1)
QUEUED, MISSED, SKIPPED = RunStatus.QUEUED, RunStatus.MISSED, RunStatus.SKIPPED
FRIDAY = datetime(2025, 3, 14, 9, 0, tzinfo=UTC)
MONDAY, TUESDAY = FRIDAY + 3 * DAY, FRIDAY + 4 * DAY
NINE_DAILY = Schedule("daily", {"hour": 9, "minute": 0}, "UTC")
NINE_ON_FRIDAYS = Schedule("weekly", {"day_of_week": 5, "hour": 9, "minute": 0}, "UTC")
NINE_ON_THURSDAYS_AND_FRIDAYS = Schedule("weekly", {"day_of_week": [4, 5], "hour": 9, "minute": 0}, "UTC")


@pytest.fixture
def viewer(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


def add_job(engine: Engine, viewer: Viewer, schedule: Schedule, **columns: object) -> str:
    with transaction(engine) as session:
        return make_job(session, viewer, schedule=schedule, **columns).id


def add_calendar(engine: Engine, viewer: Viewer, *days: DayOff, **draft: object) -> int:
    with transaction(engine) as session:
        return make_calendar(session, viewer, *days, **draft)  # type: ignore[arg-type]


def edit_calendar(engine: Engine, viewer: Viewer, calendar_id: int, *days: DayOff) -> None:
    with transaction(engine) as session:
        update_calendar(session, viewer, calendar_id, CalendarDraft("Bank holidays", days), now=NOW)


def fire(engine: Engine, now: datetime) -> FirePass:
    with transaction(engine) as session:
        return fire_due_jobs(session, now)


def get_job(engine: Engine, job_id: str) -> Job:
    with transaction(engine) as session:
        return session.get_one(Job, job_id)


def list_rows(engine: Engine, job_id: str) -> Sequence[Run]:
    with transaction(engine) as session:
        return session.scalars(select(Run).where(Run.session_id == job_id).order_by(Run.id)).all()


def told(rows: Sequence[Run]) -> list[tuple[datetime | None, str, str | None, str | None]]:
    return [(row.scheduled_for, row.status, row.cause, row.reason) for row in rows]


def balances(engine: Engine, viewer: Viewer, job_id: str, now: datetime) -> bool:
    with transaction(engine) as session:
        since = NOW - 400 * DAY
        return draw_up_ledger(session, viewer, job_id, starts_at=since, ends_at=now + SECOND, now=now).balances


# Catching up, with and without a start window

IN_TIME = [
    # start window, and the catch-up's runs of those due 320, 260, 200, 140, 80 and 20 minutes ago
    (None, CatchUp.LATEST, [20]),
    (None, CatchUp.ALL, [320, 260, 200, 140, 80, 20]),
    (None, CatchUp.NONE, []),
    (600, CatchUp.LATEST, []),
    (600, CatchUp.ALL, []),
    (600, CatchUp.NONE, []),
    (1200, CatchUp.LATEST, [20]),
    (12_000, CatchUp.LATEST, [20]),
    (12_000, CatchUp.ALL, [200, 140, 80, 20]),
    (12_000, CatchUp.NONE, [20]),
]


@pytest.mark.parametrize(("window", "catch_up", "run"), IN_TIME)
def test_catch_up_within_the_start_window(
    engine: Engine, viewer: Viewer, window: int | None, catch_up: CatchUp, run: list[int]
) -> None:
    job_id = add_job(engine, viewer, HOURLY, catch_up=catch_up, misfire_grace_seconds=window)
    now = NOW + 5 * HOUR + 20 * MINUTE
    fire(engine, now)
    rows = list_rows(engine, job_id)
    assert [row.scheduled_for for row in rows] == [NOW + n * HOUR for n in range(6)]
    assert [row.scheduled_for for row in rows if row.status == QUEUED] == [now - age * MINUTE for age in run]
    for row in rows:
        assert row.scheduled_for is not None
        if row.status == QUEUED:
            assert (row.cause, row.reason, row.finished_at) == (None, None, None)
            assert row.start_by == (row.scheduled_for + window * SECOND if window else None)
            continue
        is_too_late = window is not None and now - row.scheduled_for > window * SECOND
        words = {600: "10 min", 1200: "20 min", 12_000: "200 min", None: ""}[window]
        assert (row.status, row.cause, row.finished_at, row.start_by) == (MISSED, Cause.LATE, now, None)
        assert row.reason == (
            f"not started within its start window of {words}"
            if is_too_late
            else "no scheduler came to it before it was too late"
        )
    assert get_job(engine, job_id).next_run == NOW + 6 * HOUR


def test_outage_is_named_as_the_cause_where_it_is(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer, HOURLY, misfire_grace_seconds=60)
    with transaction(engine) as session:
        make_outage(session, NOW + 30 * MINUTE, NOW + 2 * HOUR + 10 * MINUTE)
        make_outage(session, NOW + 3 * HOUR + 59 * MINUTE, NOW + 4 * HOUR)
        make_outage(session, NOW - 5 * HOUR, NOW - 1 * MINUTE)
    fire(engine, NOW + 4 * HOUR + 5 * MINUTE)
    late = "not started within its start window of 1 min"
    assert told(list_rows(engine, job_id)) == [
        (NOW, MISSED, Cause.LATE, late),
        (NOW + HOUR, MISSED, Cause.OUTAGE, "no scheduler was running from 10 Mar 12:30 to 10 Mar 14:10 UTC"),
        (NOW + 2 * HOUR, MISSED, Cause.OUTAGE, "no scheduler was running from 10 Mar 12:30 to 10 Mar 14:10 UTC"),
        (NOW + 3 * HOUR, MISSED, Cause.LATE, late),
        (NOW + 4 * HOUR, MISSED, Cause.OUTAGE, "no scheduler was running from 10 Mar 15:59 to 10 Mar 16:00 UTC"),
    ]


def test_short_outage_is_named_as_well(engine: Engine, viewer: Viewer) -> None:
    """80 seconds: an occurrence missed in it may itself be only 50 seconds old."""
    job_id = add_job(engine, viewer, DAILY, misfire_grace_seconds=10)
    with transaction(engine) as session:
        make_outage(session, NOW - 30 * SECOND, NOW + 50 * SECOND)
    fire(engine, NOW + 50 * SECOND)
    assert [row.cause for row in list_rows(engine, job_id)] == [Cause.OUTAGE]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (90, "90 s"),
        (60, "1 min"),
        (600, "10 min"),
        (5400, "90 min"),
        (7200, "2 h"),
        (86400, "1 day"),
        (172800, "2 days"),
    ],
)
def test_start_windows_in_words(seconds: int, words: str) -> None:
    assert in_words(seconds) == words


def test_overlap_names_its_cause(engine: Engine, viewer: Viewer) -> None:
    job_id = add_job(engine, viewer, HOURLY)
    with transaction(engine) as session:
        make_run(session, session.get_one(Job, job_id), status=RunStatus.RUNNING)
    fire(engine, NOW + HOUR)
    assert told(list_rows(engine, job_id))[1:] == [
        (NOW, MISSED, Cause.LATE, "no scheduler came to it before it was too late"),
        (NOW + HOUR, SKIPPED, Cause.OVERLAP, "the previous run was still running"),
    ]


# Long outages

IRREGULAR = [
    # Rule, zone, and an outage over a change of the clock
    ("*/7 1-4 * * *", "Europe/London", datetime(2025, 3, 20, tzinfo=UTC), 20),
    ("*/7 1-4 * * *", "Europe/London", datetime(2025, 10, 20, tzinfo=UTC), 20),
    ("0,5,30 * * * 0,6", "America/New_York", datetime(2025, 3, 1, tzinfo=UTC), 30),
    ("*/30 * * * *", "Australia/Lord_Howe", datetime(2025, 4, 1, tzinfo=UTC), 8),
    ("30 1,2 * * *", "Europe/London", datetime(2025, 1, 1, tzinfo=UTC), 330),
    ("0 0 13 * 5", "Africa/Cairo", datetime(2023, 1, 1, tzinfo=UTC), 1500),
]


@pytest.mark.parametrize("catch_up", list(CatchUp))
@pytest.mark.parametrize(("expression", "zone", "began_at", "days"), IRREGULAR)
def test_long_outage_leaves_the_newest_hundred_and_one_counted_row(
    engine: Engine, viewer: Viewer, expression: str, zone: str, began_at: datetime, days: int, catch_up: CatchUp
) -> None:
    schedule = Schedule("custom", {"cron_expression": expression}, zone)
    missed = [item.at for item in occurrences(schedule.rule, began_at, began_at + days * DAY)]
    assert len(missed) > MAX_SINGLE_ROWS
    job_id = add_job(engine, viewer, schedule, next_run=missed[0], catch_up=catch_up)
    with transaction(engine) as session:
        make_outage(session, began_at, missed[-1])
    fire(engine, missed[-1] + 2 * MINUTE)
    older, *newest = list_rows(engine, job_id)
    assert (older.scheduled_for, older.scheduled_until) == (missed[0], missed[-101])
    assert (older.occurrences, older.status, older.cause) == (len(missed) - 100, MISSED, Cause.OUTAGE)
    assert [row.scheduled_for for row in newest] == missed[-100:]
    assert {(row.occurrences, row.scheduled_until) for row in newest} == {(1, None)}
    runs = {CatchUp.LATEST: missed[-1:], CatchUp.ALL: missed[-100:], CatchUp.NONE: []}[catch_up]
    assert [row.scheduled_for for row in newest if row.status == QUEUED] == runs
    following = next(occurrences(schedule.rule, missed[-1])).at
    job = get_job(engine, job_id)
    assert (job.next_run, job.last_scheduled_run) == (following, missed[-1])
    assert balances(engine, viewer, job_id, missed[-1] + 2 * MINUTE)


def test_moved_run_within_a_long_outage_is_accounted_for_once(engine: Engine, viewer: Viewer) -> None:
    """One moved onto an occurrence of the counted row, one between two of them, one as the first that is due."""
    moved_runs = [NOW - 20 * MINUTE, NOW + 7 * HOUR, NOW + 7 * HOUR + 30 * MINUTE]
    job_id = add_job(engine, viewer, HOURLY, next_run=moved_runs[0], moved_runs=moved_runs, catch_up=CatchUp.ALL)
    now = NOW + 149 * HOUR
    fire(engine, now)
    rows = list_rows(engine, job_id)
    older = rows[0]
    assert (older.scheduled_for, older.occurrences, older.scheduled_until) == (moved_runs[0], 51, NOW + 49 * HOUR)
    assert (rows[1].scheduled_for, rows[1].occurrences, rows[1].status) == (moved_runs[2], 1, MISSED)
    assert [row.status for row in rows[2:]] == [QUEUED] * MAX_SINGLE_ROWS
    assert sum(row.occurrences for row in rows) == 150 + 2
    assert get_job(engine, job_id).moved_runs == []


# Days off


def test_day_off_is_skipped_by_name(engine: Engine, viewer: Viewer) -> None:
    calendar = add_calendar(engine, viewer, day_off("2025-03-14", name="Inventory"))
    job_id = add_job(engine, viewer, NINE_DAILY, next_run=FRIDAY, calendar_ids=[calendar])
    assert fire(engine, FRIDAY) == FirePass(due=1, queued=0)
    (row,) = list_rows(engine, job_id)
    assert told([row]) == [(FRIDAY, SKIPPED, Cause.HOLIDAY, "holiday: Inventory")]
    assert row.moved_to is None
    job = get_job(engine, job_id)
    assert (job.next_run, job.status, job.moved_runs) == (FRIDAY + DAY, "idle", [])
    fire(engine, FRIDAY + DAY)
    assert list_rows(engine, job_id)[-1].status == QUEUED


def test_day_off_comes_before_overlap_and_lateness(engine: Engine, viewer: Viewer) -> None:
    calendar = add_calendar(engine, viewer, day_off("2025-03-14"))
    job_id = add_job(
        engine, viewer, HOURLY, next_run=FRIDAY, calendar_ids=[calendar], misfire_grace_seconds=60, status="running"
    )
    fire(engine, FRIDAY + 3 * HOUR)
    assert {row.cause for row in list_rows(engine, job_id)} == {Cause.HOLIDAY}


def test_latest_ordinary_occurrence_runs_when_newer_ones_are_days_off(engine: Engine, viewer: Viewer) -> None:
    calendar = add_calendar(engine, viewer, day_off("2025-03-14", "2025-03-15"))
    job_id = add_job(engine, viewer, NINE_DAILY, next_run=FRIDAY - 2 * DAY, calendar_ids=[calendar])
    fire(engine, FRIDAY + DAY)
    assert [row.status for row in list_rows(engine, job_id)] == [MISSED, QUEUED, SKIPPED, SKIPPED]


def add_moving_job(
    engine: Engine, viewer: Viewer, *days: str, schedule: Schedule = NINE_ON_FRIDAYS, **columns: object
) -> tuple[str, int]:
    calendar = add_calendar(engine, viewer, *map(day_off, days))
    values = {"next_run": FRIDAY, "calendar_ids": [calendar], "on_holiday": OnHoliday.MOVE, **columns}
    return add_job(engine, viewer, schedule, **values), calendar


def test_day_off_moves_to_the_next_working_day(engine: Engine, viewer: Viewer) -> None:
    job_id, _ = add_moving_job(engine, viewer, "2025-03-14")
    fire(engine, FRIDAY)
    (row,) = list_rows(engine, job_id)
    assert told([row]) == [(FRIDAY, SKIPPED, Cause.HOLIDAY, "holiday: Inventory; runs on the next working day instead")]
    assert row.moved_to == MONDAY
    job = get_job(engine, job_id)
    assert (job.moved_runs, job.next_run) == ([MONDAY], MONDAY)
    assert fire(engine, MONDAY - SECOND) == FirePass(0, 0)
    assert fire(engine, MONDAY) == FirePass(1, 1)
    job = get_job(engine, job_id)
    assert (job.moved_runs, job.next_run) == ([], FRIDAY + 7 * DAY)
    assert [(row.scheduled_for, row.status) for row in list_rows(engine, job_id)] == [
        (FRIDAY, SKIPPED),
        (MONDAY, QUEUED),
    ]
    assert balances(engine, viewer, job_id, MONDAY)


def test_two_days_off_that_move_to_one_instant_are_one_run(engine: Engine, viewer: Viewer) -> None:
    schedule = NINE_ON_THURSDAYS_AND_FRIDAYS
    job_id, _ = add_moving_job(
        engine, viewer, "2025-03-13", "2025-03-14", schedule=schedule, next_run=FRIDAY - DAY, overlap=Overlap.QUEUE
    )
    for at in (FRIDAY - DAY, FRIDAY, MONDAY, MONDAY + MINUTE):
        fire(engine, at)
    assert [(row.scheduled_for, row.status, row.moved_to) for row in list_rows(engine, job_id)] == [
        (FRIDAY - DAY, SKIPPED, MONDAY),
        (FRIDAY, SKIPPED, MONDAY),
        (MONDAY, QUEUED, None),
    ]
    assert balances(engine, viewer, job_id, MONDAY)


def test_day_off_that_moves_onto_an_ordinary_occurrence_is_one_run(engine: Engine, viewer: Viewer) -> None:
    job_id, _ = add_moving_job(engine, viewer, "2025-03-14", "2025-03-15", "2025-03-16", schedule=NINE_DAILY)
    for day in range(4):
        fire(engine, FRIDAY + day * DAY)
    assert [(row.scheduled_for, row.status) for row in list_rows(engine, job_id)][-1] == (MONDAY, QUEUED)
    assert fire(engine, MONDAY + MINUTE) == FirePass(0, 0)
    assert (get_job(engine, job_id).moved_runs, get_job(engine, job_id).next_run) == ([], TUESDAY)
    assert balances(engine, viewer, job_id, MONDAY)


@pytest.mark.parametrize("on_holiday", list(OnHoliday))
def test_moved_run_whose_day_is_made_a_day_off(engine: Engine, viewer: Viewer, on_holiday: OnHoliday) -> None:
    job_id, calendar = add_moving_job(engine, viewer, "2025-03-14")
    fire(engine, FRIDAY)
    edit_calendar(engine, viewer, calendar, day_off("2025-03-17"))
    with transaction(engine) as session:
        policy = RunPolicy(calendar_ids=(calendar,), on_holiday=on_holiday)
        update_job(session, viewer, job_id, now=FRIDAY, policy=policy)
    for at in (MONDAY, TUESDAY, TUESDAY + MINUTE):
        fire(engine, at)
    rows = [(row.scheduled_for, row.status, row.moved_to) for row in list_rows(engine, job_id)]
    if on_holiday == OnHoliday.MOVE:
        assert rows == [(FRIDAY, SKIPPED, MONDAY), (MONDAY, SKIPPED, TUESDAY), (TUESDAY, QUEUED, None)]
    else:
        assert rows == [(FRIDAY, SKIPPED, MONDAY), (MONDAY, SKIPPED, None)]
    assert balances(engine, viewer, job_id, TUESDAY + HOUR)


def test_moved_run_comes_although_its_calendar_is_gone_from_the_job(engine: Engine, viewer: Viewer) -> None:
    job_id, _ = add_moving_job(engine, viewer, "2025-03-14")
    fire(engine, FRIDAY)
    with transaction(engine) as session:
        update_job(session, viewer, job_id, now=FRIDAY, policy=RunPolicy())
    fire(engine, MONDAY)
    assert list_rows(engine, job_id)[-1].scheduled_for == MONDAY
    assert get_job(engine, job_id).moved_runs == []
    assert balances(engine, viewer, job_id, MONDAY)


def test_outage_over_a_day_off_and_its_move(engine: Engine, viewer: Viewer) -> None:
    job_id, _ = add_moving_job(engine, viewer, "2025-03-14")
    fire(engine, MONDAY + HOUR)
    assert [(row.scheduled_for, row.status, row.moved_to) for row in list_rows(engine, job_id)] == [
        (FRIDAY, SKIPPED, MONDAY),
        (MONDAY, QUEUED, None),
    ]
    job = get_job(engine, job_id)
    assert (job.moved_runs, job.next_run) == ([], FRIDAY + 7 * DAY)


def test_outage_over_a_day_off_its_move_and_later_runs(engine: Engine, viewer: Viewer) -> None:
    job_id, _ = add_moving_job(engine, viewer, "2025-03-14", misfire_grace_seconds=3600)
    with transaction(engine) as session:
        make_outage(session, FRIDAY - HOUR, FRIDAY + 14 * DAY)
    fire(engine, FRIDAY + 14 * DAY)
    down = "no scheduler was running from 14 Mar 08:00 to 28 Mar 09:00 UTC"
    assert told(list_rows(engine, job_id)) == [
        (FRIDAY, SKIPPED, Cause.HOLIDAY, "holiday: Inventory; runs on the next working day instead"),
        (MONDAY, MISSED, Cause.OUTAGE, down),
        (FRIDAY + 7 * DAY, MISSED, Cause.OUTAGE, down),
        (FRIDAY + 14 * DAY, QUEUED, None, None),
    ]
    assert balances(engine, viewer, job_id, FRIDAY + 14 * DAY)


def test_moved_run_survives_a_pause_that_ends_before_it(engine: Engine, viewer: Viewer) -> None:
    job_id, _ = add_moving_job(engine, viewer, "2025-03-14")
    fire(engine, FRIDAY)
    with transaction(engine) as session:
        pause_job(session, viewer, job_id, now=FRIDAY + HOUR)
        assert resume_job(session, viewer, job_id, now=FRIDAY + DAY).next_run == MONDAY
    assert fire(engine, MONDAY) == FirePass(1, 1)
    assert balances(engine, viewer, job_id, MONDAY)


def test_moved_run_that_falls_into_a_pause_does_not_come(engine: Engine, viewer: Viewer) -> None:
    job_id, _ = add_moving_job(engine, viewer, "2025-03-14")
    fire(engine, FRIDAY)
    with transaction(engine) as session:
        pause_job(session, viewer, job_id, now=FRIDAY + HOUR)
    assert fire(engine, MONDAY) == FirePass(0, 0)
    with transaction(engine) as session:
        job = resume_job(session, viewer, job_id, now=TUESDAY)
        assert (job.next_run, job.moved_runs) == (FRIDAY + 7 * DAY, [])
    assert fire(engine, TUESDAY) == FirePass(0, 0)
    assert balances(engine, viewer, job_id, TUESDAY)


@pytest.mark.parametrize("is_paused", [False, True])
@pytest.mark.parametrize("schedule", [DAILY, None])
def test_edit_calls_a_moved_run_off_and_says_so(
    engine: Engine, viewer: Viewer, schedule: Schedule | None, is_paused: bool
) -> None:
    job_id, _ = add_moving_job(engine, viewer, "2025-03-14")
    fire(engine, FRIDAY)
    with transaction(engine) as session:
        if is_paused:
            pause_job(session, viewer, job_id, now=FRIDAY + HOUR)
        update_schedule(session, viewer, job_id, schedule, now=FRIDAY + 2 * HOUR)
        if is_paused and schedule:
            resume_job(session, viewer, job_id, now=FRIDAY + 3 * HOUR)
        # With a schedule again, the moved run's instant lies in a period.
        update_schedule(session, viewer, job_id, NINE_ON_FRIDAYS, now=FRIDAY + 4 * HOUR)
    (row,) = list_rows(engine, job_id)
    assert (row.moved_to, row.reason) == (
        None,
        "holiday: Inventory; was to run on the next working day, but the schedule was changed",
    )
    assert fire(engine, MONDAY) == FirePass(0, 0)
    assert balances(engine, viewer, job_id, TUESDAY)


def test_moved_run_that_is_due_at_an_edit_is_recorded_as_missed(engine: Engine, viewer: Viewer) -> None:
    job_id, _ = add_moving_job(engine, viewer, "2025-03-14")
    fire(engine, FRIDAY)
    with transaction(engine) as session:
        update_schedule(session, viewer, job_id, DAILY, now=MONDAY + SECOND)
    words = "the schedule was changed before a scheduler came to it"
    assert told(list_rows(engine, job_id))[1:] == [(MONDAY, MISSED, Cause.EDITED, words)]
    assert list_rows(engine, job_id)[0].moved_to == MONDAY
    assert balances(engine, viewer, job_id, TUESDAY - 8 * HOUR)


def test_moved_runs_never_grow_beyond_a_day(engine: Engine) -> None:
    """Ten days off of a schedule with 288 runs a day."""
    schedule = Schedule("custom", {"cron_expression": "*/5 * * * *"}, "UTC")
    calendar = Calendar("closed", (day_off("2025-03-10", "2025-03-19"),))
    job = Job(
        id="x",
        schedule_type=schedule.schedule_type,
        schedule_config=schedule.schedule_config,
        time_zone="UTC",
        next_run=NOW,
        moved_runs=[],
        calendar_ids=[1],
        on_holiday=OnHoliday.MOVE,
        catch_up=CatchUp.LATEST,
        overlap=Overlap.QUEUE,
        status="idle",
    )
    largest = 0
    queued: list[datetime] = []
    while job.next_run is not None and job.next_run < NOW + 11 * DAY:
        plan = plan_job(job, Surroundings(job.next_run, calendars=(calendar,)))
        queued += [row.scheduled_for for row in plan.runs if row.status == QUEUED]
        job.next_run, job.moved_runs = plan.next_run, list(plan.moved_runs)
        largest = max(largest, len(job.moved_runs))
    assert largest <= 288
    midnight = datetime(2025, 3, 20, tzinfo=UTC)
    assert queued == [midnight + n * 5 * MINUTE for n in range(len(queued))]
    assert len(queued) == 288 + 144


# What is told beforehand is what happens

CRONS = ("0 9 * * *", "30 2 * * 1-5", "0 8,22 * * 5", "15 */6 * * *", "0 0 1,15 * *", "30 1 * * 0")
ZONES = ("UTC", "Europe/London", "America/New_York", "Pacific/Auckland", "Australia/Lord_Howe")


@pytest.mark.parametrize("seed", range(8))
def test_rows_are_what_coming_and_next_runs_told(engine: Engine, viewer: Viewer, seed: int) -> None:
    chance = random.Random(f"told {seed}")
    began_at = chance.choice([NOW, NOW + 8 * DAY, NOW + 220 * DAY])
    job_ids: list[str] = []
    for number in range(12):
        schedule = Schedule("custom", {"cron_expression": chance.choice(CRONS)}, chance.choice(ZONES))
        starts = [began_at + chance.randrange(20) * DAY for _ in range(chance.choice([1, 4]))]
        days = [DayOff(at.date(), at.date() + chance.choice([0, 0, 2]) * DAY, f"from {at.date()}") for at in starts]
        weekend = frozenset(chance.choice([{0, 6}, {5, 6}, set()]))
        zone = chance.choice([None, *ZONES])
        calendar = add_calendar(engine, viewer, *days, name=f"{seed} {number}", weekend=weekend, time_zone=zone)
        policy = {"calendar_ids": [calendar], "on_holiday": chance.choice(list(OnHoliday)), "overlap": Overlap.QUEUE}
        first = next(occurrences(schedule.rule, began_at)).at
        job_ids.append(add_job(engine, viewer, schedule, next_run=first, **policy))
    until = began_at + 21 * DAY
    wanted: dict[str, list[tuple[datetime, datetime | None]]] = {}
    with transaction(engine) as session:
        for job in session.scalars(select(Job)):
            rule = Schedule(job.schedule_type or "", job.schedule_config or {}, job.time_zone).rule
            moves = job.on_holiday == OnHoliday.MOVE
            items = coming(rule, began_at, load_calendars_of(session, job), moves=moves, until=until)
            wanted[job.id] = [(item.at, item.moved_to if item.day_off else item.at) for item in items]
    foretold: list[tuple[str, datetime, datetime | None]] = []
    now: datetime | None = began_at
    while now is not None and now <= until:
        fire(engine, now)
        with transaction(engine) as session:
            jobs = session.scalars(select(Job)).all()
            foretold += [(job_id, now, at) for job_id, at in list_next_runs(session, jobs).items()]
            now = get_earliest_next_run(session)
    for job_id in job_ids:
        rows = list_rows(engine, job_id)
        found = [(row.scheduled_for, row.scheduled_for if row.status == QUEUED else row.moved_to) for row in rows]
        assert found == wanted[job_id]
        ran = [row.scheduled_for for row in rows if row.status == QUEUED and row.scheduled_for]
        for told_job, told_at, told_next in foretold:
            if told_job == job_id:
                happened = next((at for at in ran if at > told_at), None)
                assert told_next == happened or (happened is None and (told_next is None or told_next > until))
        assert balances(engine, viewer, job_id, until)


def test_next_run_of_a_job_that_does_not_run_by_itself(engine: Engine, viewer: Viewer) -> None:
    calendar = Calendar("bank", (day_off("2025-03-10"),))
    with transaction(engine) as session:
        for columns in ({"paused_at": NOW}, {"is_scheduled": False}, {"next_run": None}):
            assert next_run_of(make_job(session, viewer, schedule=HOURLY, accounts=0, **columns), (calendar,)) is None
        job = make_job(session, viewer, schedule=HOURLY, accounts=0)
        assert next_run_of(job, ()) == NOW
        assert next_run_of(job, (calendar,)) == NOW + 12 * HOUR


# What must not go wrong


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("UPDATE import_sessions SET calendar_ids = '{4711}' WHERE id = :id", "there is no calendar 4711 any more"),
        ("UPDATE calendars SET country = 'XX'", 'unknown country "XX"'),
    ],
)
def test_unreadable_calendar_pauses_only_its_job(engine: Engine, viewer: Viewer, damage: str, why: str) -> None:
    broken, _ = add_moving_job(engine, viewer, "2025-03-14", schedule=HOURLY)
    sound = add_job(engine, viewer, HOURLY, next_run=FRIDAY)
    with engine.begin() as connection:
        connection.execute(text(damage), {"id": broken} if ":id" in damage else {})
    with transaction(engine) as session:
        jobs = session.scalars(select(Job)).all()
        assert list_next_runs(session, jobs)[sound] == FRIDAY
    now = FRIDAY + 150 * HOUR
    assert fire(engine, now) == FirePass(due=2, queued=1)
    assert get_job(engine, broken).paused_at == now
    rows = list_rows(engine, broken)
    assert rows[-1].reason is not None
    assert rows[-1].reason.startswith(f"the schedule was paused because it cannot be read: {why}")
    assert {row.cause for row in rows} == {Cause.UNREADABLE}
    assert sum(row.occurrences for row in rows) == 151
    assert balances(engine, viewer, broken, now)


# Statements


@pytest.fixture
def sent(engine: Engine) -> Iterator[list[tuple[str, int]]]:
    """What went to the server, and how often: executemany sends its statement for each row."""
    statements: list[tuple[str, int]] = []

    def note(_c: object, _k: object, statement: str, rows: Sequence[object], _x: object, is_many: bool) -> None:
        statements.append((statement, len(rows) if is_many else 1))

    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("count", [1, 7, BATCH_SIZE])
@pytest.mark.parametrize("on_holiday", list(OnHoliday))
def test_batch_with_calendars_and_an_outage_takes_seven_statements(
    engine: Engine, viewer: Viewer, sent: list[tuple[str, int]], count: int, on_holiday: OnHoliday
) -> None:
    calendars = [add_calendar(engine, viewer, day_off("2025-03-10", f"2025-03-1{n}"), name=f"{n}") for n in range(4)]
    job_id = add_job(engine, viewer, HOURLY)
    with engine.begin() as connection:
        columns = "user_id, name, login_url, billing_url, is_scheduled, schedule_type, schedule_config"
        connection.execute(
            text(
                f"INSERT INTO import_sessions ({columns}, next_run, calendar_ids, on_holiday) "  # noqa: S608
                f"SELECT {columns}, next_run - n * interval '1 h', ARRAY[CAST(:first AS bigint) + n % 4], :on_holiday"
                " FROM import_sessions, generate_series(1, :count) AS n WHERE id = :id"
            ),
            {"count": count, "id": job_id, "first": calendars[0], "on_holiday": on_holiday.value},
        )
        connection.execute(update(Job).where(Job.id == job_id).values(is_scheduled=False))
    with transaction(engine) as session:
        make_outage(session, NOW - 3 * DAY, NOW)
    sent.clear()
    assert fire(engine, NOW + HOUR).due == count
    assert sum(times for _, times in sent) <= 7, [statement[:60] for statement, _ in sent]
    with transaction(engine) as session:
        moving = session.scalar(select(func.count()).where(func.cardinality(Job.moved_runs) > 0))
    assert bool(moving) == (on_holiday == OnHoliday.MOVE)
