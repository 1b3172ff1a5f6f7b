"""What the forms and the Job page tell about a schedule: next runs, clock changes, what an edit changes, the ledger."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from sqlalchemy import Engine, delete, select
from streamlit.testing.v1 import AppTest

from db.calendars import CalendarDraft, create_calendar, list_calendars
from db.engine import transaction
from db.jobs import create_job, pause_job
from db.models import Calendar, CalendarDay, Job, Portal, Run, RunStatus
from db.schedules import Schedule
from db.viewers import Viewer
from recurrence import Calendar as RecurrenceCalendar
from recurrence import DayOff, coming, parse_rule
from tests.factories import BOX, EVERY_MINUTE, make_draft, make_job
from tests.ui.conftest import OpenPage, texts, words
from ui.schedule_preview import coming_table

HOUR = timedelta(hours=1)
LONDON_NIGHTS = Schedule("custom", {"cron_expression": "30 1 * 3,10 *"}, "Europe/London")


def add_job(engine: Engine, viewer: Viewer, schedule: Schedule, *, created: timedelta = timedelta()) -> str:
    with transaction(engine) as session:
        now = datetime.now(UTC) - created
        return create_job(session, viewer, make_draft(schedule=schedule), BOX, authorised=True, now=now).id


def stored(engine: Engine, job_id: str) -> Job:
    with transaction(engine) as session:
        return session.get_one(Job, job_id)


def add_calendar(engine: Engine, viewer: Viewer, name: str, *days: DayOff) -> int:
    with transaction(engine) as session:
        return create_calendar(session, viewer, CalendarDraft(name, days), now=datetime.now(UTC)).id


def test_preview_shows_ten_runs_in_both_zones_and_the_clock_changes(olive: Viewer, open_page: OpenPage) -> None:
    app = open_page(olive, "new_job")
    app.segmented_control(key="new-type").set_value("custom").run()
    app.selectbox(key="new-zone").set_value("Europe/London").run()
    app.text_input(key="new-cron").set_value("30 1 * 3,10 *").run()
    shown = words(app)
    assert shown.count('class="first"') == 10
    assert "For you (UTC)" in shown
    assert "01:30 does not exist, runs at 02:00" in shown
    assert "twice: 01:30 runs once, the first time" in shown


def test_preview_of_ones_own_zone_has_no_second_column(olive: Viewer, open_page: OpenPage) -> None:
    shown = words(open_page(olive, "new_job"))
    assert "For you" not in shown
    assert "The clock of UTC does not change" in shown


def test_days_off_are_struck_out_in_the_preview_and_stored_with_the_job(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    today = datetime.now(UTC).date()
    calendar_id = add_calendar(
        engine, olive, "Shutdown", DayOff(today, today + timedelta(days=40), "Works <closed> *now*")
    )
    app = open_page(olive, "new_job")
    app.segmented_control(key="new-type").set_value("daily").run()
    app.multiselect(key="new-calendars").select(calendar_id).run()
    shown = texts(app)
    assert shown.count('class="first off"') == 10
    assert "Works &lt;closed&gt; *now*: skipped" in shown
    app.selectbox(key="new-on-holiday").set_value("move").run()
    assert "Works &lt;closed&gt; *now*: moves to " in texts(app)


def test_edit_says_what_it_changes_before_it_is_saved(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    job_id = add_job(engine, olive, Schedule("daily", {"hour": 9, "minute": 0}, "UTC"))
    key = f"edit-{job_id}-{stored(engine, job_id).version}"
    app = open_page(olive, "job", id=job_id)
    app.button(key="job-edit").click().run()
    assert "What this changes" not in words(app)
    app.segmented_control(key=f"{key}-type").set_value("weekly")
    app.button(key="job-edit").click().run()  # a test draws the dialog only in the run in which it is opened
    shown = words(app)
    assert "What this changes:" in shown
    assert "disappear in the next 30 days" in shown
    assert "Nothing runs now; next run " in shown
    assert stored(engine, job_id).schedule_type == "daily"


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_edit_asks_for_the_confirmation_that_the_portal_lacks(
    engine: Engine, olive: Viewer, open_page: OpenPage, is_confirmed: bool
) -> None:
    job_id = add_job(engine, olive, Schedule("daily", {"hour": 9, "minute": 0}, "UTC"))
    if not is_confirmed:  # as one that an older system left
        with transaction(engine) as session:
            session.scalars(select(Portal)).one().authorised_at = None
    app = open_page(olive, "job", id=job_id)
    app.button(key="job-edit").click().run()
    boxes = [box.label for box in app.checkbox if str(box.key).endswith("-authorised")]
    assert boxes == ([] if is_confirmed else [r"I am authorised to use **portal\.example** with these accounts"])


def test_edit_of_what_is_due_says_that_it_is_recorded_as_missed(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    job_id = add_job(engine, olive, EVERY_MINUTE, created=timedelta(minutes=3))
    key = f"edit-{job_id}-{stored(engine, job_id).version}"
    app = open_page(olive, "job", id=job_id)
    app.button(key="job-edit").click().run()
    app.segmented_control(key=f"{key}-type").set_value("daily")
    app.button(key="job-edit").click().run()
    assert "runs that are due now are recorded as missed" in words(app)


def test_edit_keeps_how_late_runs_are_treated(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    job_id = add_job(engine, olive, EVERY_MINUTE)
    key = f"edit-{job_id}-{stored(engine, job_id).version}"
    app = open_page(olive, "job", id=job_id)
    app.button(key="job-edit").click().run()
    app.selectbox(key=f"{key}-catch-up").set_value("all")
    app.selectbox(key=f"{key}-start-window").set_value(900)
    app.selectbox(key=f"{key}-overlap").set_value("queue")
    app.button(key="job-edit").click()
    app.button(key=f"{key}-save").click().run()
    job = stored(engine, job_id)
    assert (job.catch_up, job.misfire_grace_seconds, job.overlap) == ("all", 900, "queue")
    assert "starts at most 15 min late" in words(open_page(olive, "job", id=job_id))


def test_edit_that_somebody_overtook_is_refused_with_what_to_do(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    job_id = add_job(engine, olive, EVERY_MINUTE)
    key = f"edit-{job_id}-{stored(engine, job_id).version}"
    app = open_page(olive, "job", id=job_id)
    app.button(key="job-edit").click().run()
    app.selectbox(key=f"{key}-catch-up").set_value("all")
    with transaction(engine) as session:
        session.get_one(Job, job_id).version += 1
    app.button(key="job-edit").click()
    app.button(key=f"{key}-save").click().run()
    assert stored(engine, job_id).catch_up == "latest"


def test_coming_up_tells_of_a_paused_and_of_an_unscheduled_job(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    job_id = add_job(engine, olive, LONDON_NIGHTS)
    with transaction(engine) as session:
        by_hand = make_job(session, olive).id
        pause_job(session, olive, job_id, now=datetime.now(UTC))
    shown = words(open_page(olive, "job", id=job_id, tab="Coming up"))
    assert "Paused: nothing runs by itself. This is what the schedule would do." in shown
    assert shown.count('class="first"') == 10
    assert "This job has no schedule" in words(open_page(olive, "job", id=by_hand, tab="Coming up"))


def test_ledger_balances_and_turns_red_when_a_row_is_gone(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    job_id = add_job(engine, olive, Schedule("custom", {"cron_expression": "0 * * * *"}, "UTC"), created=5 * HOUR)
    with transaction(engine) as session:
        pause_job(session, olive, job_id, now=datetime.now(UTC))
    app = open_page(olive, "job", id=job_id, tab="Ledger")
    assert "5 expected, 5 accounted for: 5 missed" in words(app)
    assert not app.error
    with transaction(engine) as session:
        first = session.scalars(select(Run.id).where(Run.session_id == job_id).order_by(Run.scheduled_for)).first()
        session.execute(delete(Run).where(Run.id == first))
    app = open_page(olive, "job", id=job_id, tab="Ledger")
    assert "5 expected, 4 accounted for: 4 missed" in app.error[0].value.replace("\\", "")
    assert "expected, and there is no trace of it" in words(app)


def test_ledger_shows_a_run_at_a_time_that_no_schedule_had(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    job_id = add_job(engine, olive, Schedule("daily", {"hour": 9, "minute": 0}, "UTC"), created=5 * HOUR)
    at = datetime.now(UTC) - HOUR
    with transaction(engine) as session:
        run = Run(session_id=job_id, trigger="schedule", scheduled_for=at, status=RunStatus.COMPLETED, finished_at=at)
        session.add(run)
        session.flush()
        run_id = run.id
    app = open_page(olive, "job", id=job_id, tab="Ledger")
    assert f"run {run_id} is completed, and no schedule had it" in words(app)
    assert app.error


def test_ledger_of_too_many_occurrences_asks_for_a_shorter_period(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    job_id = add_job(engine, olive, EVERY_MINUTE, created=timedelta(days=120))
    app = open_page(olive, "job", id=job_id, tab="Ledger")
    app.segmented_control(key=f"ledger-days-{job_id}").set_value(90).run()
    assert "choose one of at most 100,000" in words(app)
    assert not app.exception


def test_moved_runs_say_where_they_come_from() -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    rule = parse_rule("custom", {"cron_expression": "0 9 24-28 12 *"}, "UTC")
    holidays = RecurrenceCalendar("Christmas", (DayOff(date(2026, 12, 25), date(2026, 12, 26), "Christmas"),))
    items = list(coming(rule, now, (holidays,), moves=True, limit=5))
    table = coming_table(items, "UTC", ZoneInfo("UTC"), now)
    assert table.count("Christmas: moves to Mon 28 Dec, 09:00") == 2
    assert "also stands for Fri 25 Dec and Sat 26 Dec" in table
    fridays = parse_rule("weekly", {"day_of_week": 5, "hour": 9, "minute": 0}, "UTC")
    items = list(coming(fridays, now, (holidays,), moves=True, limit=6))
    assert "Moved here from Fri 25 Dec" in coming_table(items, "UTC", ZoneInfo("UTC"), now)


# Several jobs at once


def test_jobs_page_shows_when_a_job_runs_next_days_off_left_out(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    today = datetime.now(UTC).date()
    calendar_id = add_calendar(engine, olive, "Shutdown", DayOff(today, today + timedelta(days=20), "Closed"))
    daily = Schedule("daily", {"hour": 9, "minute": 0}, "UTC")
    with transaction(engine) as session:
        draft = make_draft("Kept", schedule=daily)
        job = create_job(session, olive, draft, BOX, authorised=True, now=datetime.now(UTC))
        job.calendar_ids = [calendar_id]
    frame = open_page(olive, "jobs").dataframe[0].value.set_index("name")
    assert frame.loc["Kept", "next_run"].endswith("· in 20 d") or frame.loc["Kept", "next_run"].endswith("· in 21 d")


# Calendars


def test_calendars_page_makes_a_calendar_of_a_country(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    app = open_page(olive, "calendars")
    assert "There is no calendar yet" in words(app)
    next(b for b in app.button if b.label == "New calendar").click().run()
    app.text_input(key="calendar-new-name").set_value("UK holidays")
    app.selectbox(key="calendar-new-country").set_value("GB")
    next(b for b in app.button if b.label == "New calendar").click().run()
    assert "Christmas Day" in words(app)
    next(b for b in app.button if b.label == "New calendar").click()
    app.button(key="calendar-new-save").click().run()
    with transaction(engine) as session:
        calendar = session.scalars(select(Calendar)).one()
        assert (calendar.name, calendar.country, calendar.user_id) == ("UK holidays", "GB", olive.user_id)


def test_calendar_without_a_name_or_days_is_refused_in_words(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    app = open_page(olive, "calendars")
    next(b for b in app.button if b.label == "New calendar").click().run()
    next(b for b in app.button if b.label == "New calendar").click()
    app.button(key="calendar-new-save").click().run()
    assert "Not saved: give the calendar a name" in words(app)
    with transaction(engine) as session:
        assert session.scalars(select(Calendar)).all() == []


def test_calendar_file_becomes_days_off(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    year = datetime.now(UTC).year + 1
    ics = (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//t//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Stocktaking\r\n"
        f"DTSTART;VALUE=DATE:{year}0104\r\nDTEND;VALUE=DATE:{year}0106\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    app = open_page(olive, "calendars")
    next(b for b in app.button if b.label == "New calendar").click().run()
    app.text_input(key="calendar-new-name").set_value("Stock")
    app.file_uploader(key="calendar-new-ics").upload("days.ics", ics.encode(), "text/calendar")
    next(b for b in app.button if b.label == "New calendar").click()
    app.button(key="calendar-new-save").click().run()
    with transaction(engine) as session:
        days = [(day.starts_on, day.ends_on, day.name) for day in session.scalars(select(CalendarDay))]
    assert days == [(date(year, 1, 4), date(year, 1, 5), "Stocktaking")]


def test_calendars_page_of_a_viewer_offers_nothing_to_change(
    engine: Engine, olive: Viewer, vera: Viewer, open_page: OpenPage
) -> None:
    add_calendar(engine, olive, "Shutdown", DayOff(date(2030, 1, 1), date(2030, 1, 2), "Closed"))
    app = open_page(vera, "calendars")
    assert list(app.dataframe[0].value["name"]) == ["Shutdown"]
    assert [b.label for b in app.button] == []


def test_own_days_that_cannot_be_read_are_named_and_nothing_is_saved(
    engine: Engine, olive: Viewer, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pd.DataFrame(
        {
            "from": pd.to_datetime(["2030-12-24", None, "2030-12-24", None]),
            "to": pd.to_datetime(["2030-12-26", "2030-12-26", "2030-12-20", None]),
            "name": ["Winter", "no start", "backwards", None],
        }
    )
    # What a person types into the table cannot be typed in a test.
    monkeypatch.setattr("ui.calendar_dialogs.st.data_editor", lambda *_args, **_options: rows)
    app = open_page(olive, "calendars")
    next(b for b in app.button if b.label == "New calendar").click().run()
    app.text_input(key="calendar-new-name").set_value("Own")
    next(b for b in app.button if b.label == "New calendar").click()
    app.button(key="calendar-new-save").click().run()
    assert "Row 2 has no From" in words(app)
    assert "Row 3 ends before it starts" in words(app)
    assert "Row 4" not in words(app)
    with transaction(engine) as session:
        assert session.scalars(select(Calendar)).all() == []


def test_calendar_that_a_job_keeps_is_not_offered_for_deletion(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    calendar_id = add_calendar(engine, olive, "Shutdown", DayOff(date(2030, 1, 1), date(2030, 1, 2), "Closed"))
    with transaction(engine) as session:
        make_job(session, olive, calendar_ids=[calendar_id])
        (summary,) = list_calendars(session)
    assert summary.jobs == 1

    def dialog(jobs):
        from types import SimpleNamespace

        from ui.calendar_dialogs import confirm_delete_calendar

        confirm_delete_calendar(None, SimpleNamespace(id=1, name="Shutdown"), jobs)

    for jobs, is_offered in ((summary.jobs, False), (0, True)):
        app = AppTest.from_function(dialog, args=(jobs,)).run()
        assert any(b.key == "calendar-delete-confirm" for b in app.button) is is_offered


def test_edit_of_a_paused_job_tells_when_it_would_run_if_resumed(
    engine: Engine, olive: Viewer, open_page: OpenPage
) -> None:
    job_id = add_job(engine, olive, Schedule("daily", {"hour": 9, "minute": 0}, "UTC"))
    with transaction(engine) as session:
        pause_job(session, olive, job_id, now=datetime.now(UTC))
    key = f"edit-{job_id}-{stored(engine, job_id).version}"
    app = open_page(olive, "job", id=job_id)
    app.button(key="job-edit").click().run()
    app.segmented_control(key=f"{key}-type").set_value("weekly")
    app.button(key="job-edit").click().run()
    assert "The job stays paused: nothing runs by itself. Resumed now, it would next run Mon " in words(app)


def test_change_beyond_the_next_thirty_days_is_told(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    far = datetime.now(UTC) + timedelta(days=100)
    cron = f"0 9 {far.day} {far.month} *"
    job_id = add_job(engine, olive, Schedule("custom", {"cron_expression": cron}, "UTC"))
    calendar_id = add_calendar(engine, olive, "Far", DayOff(far.date(), far.date(), "Closed"))
    key = f"edit-{job_id}-{stored(engine, job_id).version}"
    app = open_page(olive, "job", id=job_id)
    app.button(key="job-edit").click().run()
    app.multiselect(key=f"{key}-calendars").select(calendar_id)
    app.button(key="job-edit").click().run()
    shown = words(app)
    assert "nothing changes in the next 30 days" in shown
    assert f"The first difference is on {far:%a} {far.day} {far:%b}" in shown


def test_cancelled_edit_leaves_nothing_behind(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    job_id = add_job(engine, olive, Schedule("daily", {"hour": 9, "minute": 0}, "UTC"))
    key = f"edit-{job_id}-{stored(engine, job_id).version}"
    app = open_page(olive, "job", id=job_id)
    app.button(key="job-edit").click().run()
    app.segmented_control(key=f"{key}-type").set_value("weekly")
    app.button(key="job-edit").click().run()
    assert app.segmented_control(key=f"{key}-type").value == "weekly"
    app.button(key="job-edit").click()
    app.button(key=f"{key}-cancel").click().run()
    app.button(key="job-edit").click().run()
    assert app.segmented_control(key=f"{key}-1-type").value == "daily"  # with a key that no browser sends late
    assert "What this changes" not in words(app)
