"""Calendars: everybody may choose them, their owner and admins change them, and none goes while a job keeps it."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import psycopg2
import pytest
from sqlalchemy import Engine, event, func, select, text

from db.calendars import (
    MAX_DAYS,
    MAX_NAME_CHARACTERS,
    CalendarDraft,
    InvalidCalendarError,
    create_calendar,
    days_off_of,
    delete_calendar,
    draft_of,
    get_calendar,
    get_calendar_summary,
    list_calendars,
    list_days,
    load_calendars,
    load_calendars_of,
    may_change,
    update_calendar,
)
from db.engine import transaction
from db.errors import ConflictError, NotAllowedError, NotFoundError
from db.jobs import update_job
from db.models import AuditEntry, Calendar, CalendarDay, Job, Role
from db.schedules import MAX_CALENDARS, RunPolicy
from db.viewers import Viewer
from recurrence import DayOff, InvalidScheduleError, day_off_at
from tests.factories import HOURLY, NOW, day_off, make_job, make_viewer
from tests.waiting import wait_until

WAIT_SECONDS = 20
DRAFT = CalendarDraft("Plant", (day_off("2025-03-14"), day_off("2025-12-24", "2025-12-31", name="Shutdown")))
GB_DRAFT = CalendarDraft("Britain", country="GB", subdivision="SCT", time_zone="Europe/London")


@pytest.fixture
def viewer(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


@pytest.fixture
def admin(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session, "root", Role.ADMIN)


def create(engine: Engine, viewer: Viewer, draft: CalendarDraft = DRAFT) -> int:
    with transaction(engine) as session:
        return create_calendar(session, viewer, draft, now=NOW).id


def keep(engine: Engine, viewer: Viewer, *calendar_ids: int) -> str:
    with transaction(engine) as session:
        return make_job(session, viewer, schedule=HOURLY, accounts=0, calendar_ids=list(calendar_ids)).id


# What it holds


def test_calendar_holds_what_was_given(engine: Engine, viewer: Viewer) -> None:
    calendar_id = create(engine, viewer, replace(GB_DRAFT, days=DRAFT.days, weekend=frozenset({5, 6})))
    with transaction(engine) as session:
        calendar = get_calendar(session, calendar_id)
        assert (calendar.name, calendar.user_id, calendar.version) == ("Britain", viewer.user_id, 1)
        assert (calendar.time_zone, calendar.weekend) == ("Europe/London", [5, 6])
        assert (calendar.country, calendar.subdivision) == ("GB", "SCT")
        assert list_days(session, calendar_id) == list(DRAFT.days)
        (entry,) = session.scalars(select(AuditEntry)).all()
        assert (entry.action, entry.subject) == ("calendar created", f"calendar {calendar_id}")


def test_schedules_read_listed_days_before_those_of_the_country(engine: Engine, viewer: Viewer) -> None:
    draft = replace(GB_DRAFT, days=(day_off("2025-12-25", name="Closed"),))
    job_id = keep(engine, viewer, create(engine, viewer, draft))
    with transaction(engine) as session:
        calendars = load_calendars_of(session, session.get_one(Job, job_id))
    names = {
        day: day_off_at(calendars, datetime(2025, month, day, 12, tzinfo=UTC), "UTC")
        for month, day in ((12, 25), (12, 26), (11, 30), (12, 1))
    }
    assert (names[25], names[26]) == ("Closed", "Boxing Day")
    assert (names[30], names[1]) == ("Saint Andrew's Day", "Saint Andrew's Day (observed)")


def test_of_two_days_off_on_a_date_the_same_gives_its_name_wherever_it_is_read(engine: Engine, viewer: Viewer) -> None:
    days = (day_off("2025-03-12", name="Later"), day_off("2025-03-10", "2025-03-12", name="Earlier"))
    calendar_id = create(engine, viewer, replace(DRAFT, days=days))
    with transaction(engine) as session:
        listed = list_days(session, calendar_id)
        loaded = load_calendars(session, [calendar_id])[calendar_id]
        assert list(loaded.days) == listed
        assert day_off_at([loaded], datetime(2025, 3, 12, 9, tzinfo=UTC), "UTC") == "Earlier"
        # Read, shown and stored again, it is the same calendar to the caches of look-ups.
        draft = draft_of(get_calendar(session, calendar_id), listed)
        update_calendar(session, viewer, calendar_id, draft, now=NOW)
        assert load_calendars(session, [calendar_id])[calendar_id] is loaded


def test_days_of_a_calendar_are_told_with_its_countrys(engine: Engine, viewer: Viewer) -> None:
    days = days_off_of(replace(GB_DRAFT, days=DRAFT.days), date(2025, 12, 20), date(2026, 1, 2))
    assert [(day.starts_on.isoformat(), day.name) for day in days] == [
        ("2025-12-24", "Shutdown"),
        ("2025-12-25", "Christmas Day"),
        ("2025-12-26", "Boxing Day"),
        ("2026-01-01", "New Year's Day"),
        ("2026-01-02", "New Year Holiday"),
    ]


def test_name_of_a_day_may_be_left_out(engine: Engine, viewer: Viewer) -> None:
    calendar_id = create(engine, viewer, replace(DRAFT, days=(day_off("2025-03-14", name="  "),)))
    with transaction(engine) as session:
        assert list_days(session, calendar_id) == [day_off("2025-03-14", name="Day off")]


def test_calendar_may_hold_thousands_of_days(engine: Engine, viewer: Viewer) -> None:
    days = tuple(DayOff(on, on, "Off") for on in (date(2025, 1, 1) + timedelta(days=n) for n in range(MAX_DAYS)))
    calendar_id = create(engine, viewer, replace(DRAFT, days=days))
    with transaction(engine) as session:
        assert get_calendar_summary(session, calendar_id).days == MAX_DAYS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "  "}, "give the calendar a name"),
        ({"name": "x" * (MAX_NAME_CHARACTERS + 1)}, "at most 80 characters"),
        ({"name": "a\0b"}, "characters that can be shown"),
        ({"name": "a\nb"}, "characters that can be shown"),
        ({"days": ()}, "the calendar is empty: add a day, import a file, or choose a country"),
        ({"days": DRAFT.days * 2501}, "found 5,002 days; a calendar holds at most 5,000"),
        (
            {"days": (day_off("2025-03-14", "2025-03-13"),)},
            '"Inventory" ends on 2025-03-13, before it starts on 2025-03-14',
        ),
        ({"days": (day_off("2025-03-14", name="a\0b"),)}, "character that cannot be stored"),
        ({"days": (day_off("2025-03-14", name="a\ud800b"),)}, "character that cannot be stored"),
        ({"weekend": frozenset(range(7))}, "a weekend of seven days leaves no working day"),
        ({"weekend": frozenset({7})}, "found 7; allowed 0 to 6"),
        ({"subdivision": "SCT"}, "a subdivision needs its country"),
    ],
)
def test_what_cannot_be_a_calendar_is_refused(
    engine: Engine, viewer: Viewer, change: dict[str, object], words: str
) -> None:
    draft = replace(DRAFT, **change)  # type: ignore[arg-type]
    kept = create(engine, viewer, GB_DRAFT)
    with pytest.raises(InvalidCalendarError, match=words):
        create(engine, viewer, draft)
    with pytest.raises(InvalidCalendarError, match=words), transaction(engine) as session:
        update_calendar(session, viewer, kept, draft, now=NOW)
    with transaction(engine) as session:
        assert session.scalars(select(Calendar.name)).all() == ["Britain"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time_zone": "Europe/Londn"}, 'unknown time zone "Europe/Londn"; did you mean "Europe/London"'),
        ({"country": "Britain"}, 'unknown country "Britain"'),
        ({"country": "GB", "subdivision": "XYZ"}, 'unknown subdivision "XYZ" of United Kingdom: allowed'),
    ],
)
def test_unknown_places_are_refused(engine: Engine, viewer: Viewer, change: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidScheduleError, match=words):
        create(engine, viewer, replace(DRAFT, **change))  # type: ignore[arg-type]


# Names


@pytest.mark.parametrize("name", ["Plant", "PLANT", " plant "])
def test_name_is_unique_in_any_case(engine: Engine, viewer: Viewer, admin: Viewer, name: str) -> None:
    create(engine, viewer)
    other = create(engine, viewer, GB_DRAFT)
    words = f'there is already a calendar "{name.strip()}"'
    with pytest.raises(ConflictError, match=words):
        create(engine, admin, replace(DRAFT, name=name))
    with pytest.raises(ConflictError, match=words), transaction(engine) as session:
        update_calendar(session, viewer, other, replace(GB_DRAFT, name=name), now=NOW)


def test_own_name_may_change_its_case(engine: Engine, viewer: Viewer) -> None:
    calendar_id = create(engine, viewer)
    with transaction(engine) as session:
        update_calendar(session, viewer, calendar_id, replace(DRAFT, name="PLANT"), now=NOW)
        assert get_calendar(session, calendar_id).name == "PLANT"


def test_of_two_calendars_made_at_once_with_one_name_one_is_refused(engine: Engine, viewer: Viewer) -> None:
    barrier = threading.Barrier(4)
    answers: list[str] = []

    def make() -> None:
        barrier.wait(WAIT_SECONDS)
        try:
            create(engine, viewer)
        except ConflictError:
            answers.append("refused")
        else:
            answers.append("made")

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert sorted(answers) == ["made"] + ["refused"] * 3


# Changing


def test_edit_replaces_what_it_holds(engine: Engine, viewer: Viewer) -> None:
    calendar_id = create(engine, viewer)
    later = NOW + timedelta(hours=1)
    with transaction(engine) as session:
        update_calendar(session, viewer, calendar_id, GB_DRAFT, now=later, expected_version=1)
    with transaction(engine) as session:
        calendar = get_calendar(session, calendar_id)
        assert (calendar.name, calendar.version, calendar.created_at, calendar.updated_at) == ("Britain", 2, NOW, later)
        assert session.scalar(select(func.count()).select_from(CalendarDay)) == 0
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
        assert entry is not None
        assert entry.before is not None
        assert entry.after is not None
        assert (entry.before["name"], entry.before["days"], entry.after["name"], entry.after["country"]) == (
            "Plant",
            2,
            "Britain",
            "GB",
        )


def test_edit_of_an_outdated_version_is_refused(engine: Engine, viewer: Viewer) -> None:
    calendar_id = create(engine, viewer)
    with transaction(engine) as session:
        update_calendar(session, viewer, calendar_id, DRAFT, now=NOW, expected_version=1)
    with pytest.raises(ConflictError, match="changed meanwhile"), transaction(engine) as session:
        update_calendar(session, viewer, calendar_id, GB_DRAFT, now=NOW, expected_version=1)
    with transaction(engine) as session:
        assert get_calendar(session, calendar_id).name == "Plant"


def test_of_edits_at_once_one_is_refused(engine: Engine, viewer: Viewer) -> None:
    calendar_id = create(engine, viewer)
    barrier = threading.Barrier(3)
    answers: list[str] = []

    def edit(number: int) -> None:
        barrier.wait(WAIT_SECONDS)
        try:
            with transaction(engine) as session:
                draft = replace(DRAFT, name=f"Plant {number}")
                update_calendar(session, viewer, calendar_id, draft, now=NOW, expected_version=1)
        except ConflictError:
            answers.append("refused")
        else:
            answers.append("made")

    threads = [threading.Thread(target=edit, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert sorted(answers) == ["made", "refused", "refused"]
    with transaction(engine) as session:
        assert session.scalar(select(func.count()).select_from(CalendarDay)) == len(DRAFT.days)


# Rights


def test_everybody_reads_calendars(engine: Engine, viewer: Viewer, admin: Viewer) -> None:
    mine = create(engine, viewer)
    create(engine, admin, replace(GB_DRAFT, name="all of us"))
    keep(engine, viewer, mine)
    keep(engine, admin, mine)
    with transaction(engine) as session:
        told = [(row.calendar.name, row.owner, row.days, row.jobs) for row in list_calendars(session)]
    assert told == [("all of us", "Root", 0, 0), ("Plant", "Olive", 2, 2)]


@pytest.mark.parametrize(
    ("role", "owns", "may"),
    [
        (Role.ADMIN, False, True),
        (Role.OPERATOR, True, True),
        (Role.OPERATOR, False, False),
        (Role.VIEWER, True, False),  # demoted since
        (Role.VIEWER, False, False),
    ],
)
def test_owner_and_admins_change_a_calendar(engine: Engine, viewer: Viewer, role: Role, owns: bool, may: bool) -> None:
    calendar_id = create(engine, viewer)
    with transaction(engine) as session:
        other = replace(viewer, role=role) if owns else make_viewer(session, "other", role)
        assert may_change(other, get_calendar(session, calendar_id)) == may
    changes: list[Callable[..., object]] = [
        lambda session: update_calendar(session, other, calendar_id, DRAFT, now=NOW),
        lambda session: delete_calendar(session, other, calendar_id),
    ]
    for change in changes:
        if may:
            with transaction(engine) as session:
                change(session)
        else:
            with pytest.raises(NotAllowedError), transaction(engine) as session:
                change(session)


def test_viewers_make_no_calendar(engine: Engine) -> None:
    with transaction(engine) as session:
        looker = make_viewer(session, "looker", Role.VIEWER)
    with pytest.raises(NotAllowedError):
        create(engine, looker)


def test_calendar_outlives_its_owner(engine: Engine, viewer: Viewer, admin: Viewer) -> None:
    calendar_id = create(engine, viewer)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM users WHERE id = :id"), {"id": viewer.user_id})
    with transaction(engine) as session:
        (summary,) = list_calendars(session)
        assert (summary.owner, summary.days) == (None, 2)
        assert may_change(admin, summary.calendar)
        assert not may_change(viewer, summary.calendar)
        delete_calendar(session, admin, calendar_id)


def test_unknown_calendar_is_told(engine: Engine, admin: Viewer) -> None:
    calls: list[Callable[..., object]] = [
        lambda session: get_calendar(session, 4711),
        lambda session: get_calendar_summary(session, 4711),
        lambda session: update_calendar(session, admin, 4711, DRAFT, now=NOW),
        lambda session: delete_calendar(session, admin, 4711),
    ]
    for call in calls:
        with pytest.raises(NotFoundError, match="no such calendar"), transaction(engine) as session:
            call(session)


# Deleting what a job keeps


def test_calendar_that_jobs_keep_is_not_deleted(engine: Engine, viewer: Viewer, admin: Viewer) -> None:
    calendar_id, other = create(engine, viewer), create(engine, viewer, GB_DRAFT)
    job_id = keep(engine, admin, other, calendar_id)
    with pytest.raises(ConflictError, match="1 job keeps this calendar; take"), transaction(engine) as session:
        delete_calendar(session, viewer, calendar_id)
    keep(engine, viewer, calendar_id)
    with pytest.raises(ConflictError, match="2 jobs keep this calendar"), transaction(engine) as session:
        delete_calendar(session, admin, calendar_id)
    with transaction(engine) as session:
        update_job(session, admin, job_id, now=NOW, policy=RunPolicy(calendar_ids=(calendar_id,)))
        delete_calendar(session, viewer, other)
    with transaction(engine) as session:
        assert session.scalars(select(CalendarDay.calendar_id).distinct()).all() == [calendar_id]


def wait_for_lock(database_url: str) -> None:
    """Until some connection waits for another's lock."""
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:

        def is_waiting() -> bool:
            connection.rollback()
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            (count,) = cursor.fetchone() or (0,)
            return bool(count)

        wait_until(is_waiting, WAIT_SECONDS, "a connection that waits for a lock")
    connection.close()


def test_calendar_that_a_job_is_taking_up_is_not_deleted(engine: Engine, viewer: Viewer, database_url: str) -> None:
    calendar_id, job_id = create(engine, viewer), keep(engine, viewer)
    answers: list[str] = []

    def remove() -> None:
        try:
            with transaction(engine) as session:
                delete_calendar(session, viewer, calendar_id)
        except ConflictError as error:
            answers.append(str(error))
        else:
            answers.append("deleted")

    thread = threading.Thread(target=remove)
    with transaction(engine) as session:
        update_job(session, viewer, job_id, now=NOW, policy=RunPolicy(calendar_ids=(calendar_id,)))
        thread.start()
        wait_for_lock(database_url)
    thread.join(WAIT_SECONDS)
    assert answers == ["1 job keeps this calendar; take it out of them first"]


def test_job_does_not_take_up_a_calendar_that_is_being_deleted(
    engine: Engine, viewer: Viewer, database_url: str
) -> None:
    calendar_id, job_id = create(engine, viewer), keep(engine, viewer)
    answers: list[str] = []

    def take_up() -> None:
        try:
            with transaction(engine) as session:
                update_job(session, viewer, job_id, now=NOW, policy=RunPolicy(calendar_ids=(calendar_id,)))
        except InvalidCalendarError as error:
            answers.append(str(error))
        else:
            answers.append("taken")

    thread = threading.Thread(target=take_up)
    with transaction(engine) as session:
        delete_calendar(session, viewer, calendar_id)
        thread.start()
        wait_for_lock(database_url)
    thread.join(WAIT_SECONDS)
    assert answers == [f"there is no calendar {calendar_id}"]
    with transaction(engine) as session:
        assert session.get_one(Job, job_id).calendar_ids == []


def test_several_jobs_take_up_a_calendar_without_waiting_for_each_other(engine: Engine, viewer: Viewer) -> None:
    calendar_id = create(engine, viewer)
    jobs = [keep(engine, viewer) for _ in range(2)]
    with transaction(engine) as first, transaction(engine) as second:
        for session, job_id in zip((first, second), jobs, strict=True):
            session.execute(text("SET LOCAL lock_timeout = '2s'"))
            update_job(session, viewer, job_id, now=NOW, policy=RunPolicy(calendar_ids=(calendar_id,)))


# What a job takes up


def test_job_keeps_each_calendar_once_in_its_order(engine: Engine, viewer: Viewer) -> None:
    first, second, job_id = create(engine, viewer), create(engine, viewer, GB_DRAFT), keep(engine, viewer)
    with transaction(engine) as session:
        policy = RunPolicy(calendar_ids=(second, first, second))
        update_job(session, viewer, job_id, now=NOW, policy=policy)
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        assert job.calendar_ids == [second, first]
        assert [calendar.name for calendar in load_calendars_of(session, job)] == ["Britain", "Plant"]


def test_job_takes_up_no_unknown_calendar_and_not_too_many(engine: Engine, viewer: Viewer) -> None:
    job_id = keep(engine, viewer)
    calendars = [create(engine, viewer, replace(DRAFT, name=f"{n}")) for n in range(MAX_CALENDARS + 1)]

    def take_up(*calendar_ids: int) -> None:
        with transaction(engine) as session:
            update_job(session, viewer, job_id, now=NOW, policy=RunPolicy(calendar_ids=calendar_ids))

    with pytest.raises(InvalidCalendarError, match="there is no calendar 4711, 4712"):
        take_up(4712, calendars[0], 4711)
    take_up(*calendars[:-1], calendars[0])
    with pytest.raises(InvalidCalendarError, match="found 11 calendars; a job keeps at most 10"):
        take_up(*calendars)


def test_whether_a_calendar_is_kept_is_read_from_an_index(engine: Engine, viewer: Viewer) -> None:
    calendar_id, other = create(engine, viewer), create(engine, viewer, GB_DRAFT)
    job_id = keep(engine, viewer, other)
    with engine.begin() as connection:
        columns = "user_id, name, login_url, billing_url"
        connection.execute(
            text(
                f"INSERT INTO import_sessions ({columns}, calendar_ids) SELECT {columns}, "  # noqa: S608
                "CASE WHEN n % 1000 = 0 THEN calendar_ids ELSE '{}' END "
                "FROM import_sessions, generate_series(1, 30000) AS n WHERE id = :id"
            ),
            {"id": job_id},
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE import_sessions"))
    plans: list[str] = []

    def explain(_c: object, cursor: psycopg2.extensions.cursor, statement: str, values: object, *_: object) -> None:
        if "calendar_ids" in statement:
            cursor.execute(f"EXPLAIN {statement}", values)
            plans.append("\n".join(line for (line,) in cursor.fetchall()))

    event.listen(engine, "before_cursor_execute", explain)
    with transaction(engine) as session:
        delete_calendar(session, viewer, calendar_id)
    with transaction(engine) as session:
        assert [row.jobs for row in list_calendars(session)] == [31]
    event.remove(engine, "before_cursor_execute", explain)
    assert len(plans) == 2
    for plan in plans:
        assert "ix_import_sessions_calendar_ids" in plan, plan
