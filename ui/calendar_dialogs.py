"""Dialogs of the Calendars page: make or change a calendar, delete one."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
import streamlit as st

from db.calendars import (
    MAX_NAME_CHARACTERS,
    CalendarDraft,
    create_calendar,
    days_off_of,
    delete_calendar,
    draft_of,
    get_calendar,
    list_days,
    update_calendar,
)
from db.engine import transaction
from db.errors import PunctualError
from db.models import Calendar
from db.viewers import Viewer
from recurrence import DayOff, InvalidScheduleError, countries, country_weekend, subdivisions, time_zones
from recurrence.ical import read_ical
from recurrence.ical_rules import InvalidCalendarFileError
from ui.dialogs import close_form, form_key, render_decision
from ui.plain_text import plain
from ui.schedule_editor import WEEKDAYS

JOBS_OWN_ZONE = ""
NO_COUNTRY = ""
SHOWN_DAYS = 12
YEARS_BACK, YEARS_AHEAD = 1, 5


@st.dialog("Calendar", width="large", dismissible=False)
def edit_calendar(viewer: Viewer, calendar: Calendar | None) -> None:
    """Everything about a calendar, a new one or one that the viewer may change."""
    form = f"calendar-{calendar.id}-{calendar.version}" if calendar is not None else "calendar-new"
    key = form_key(form)
    stored = load_draft(calendar) if calendar is not None else CalendarDraft("")
    name = st.text_input(
        "Name", value=stored.name, max_chars=MAX_NAME_CHARACTERS, placeholder="Company shutdown", key=f"{key}-name"
    )
    draft = replace(stored, name=name)
    country, listed, imported = st.tabs(["Public holidays", "Own days", "Import a file"])
    with country:
        draft = _render_country(key, draft)
    with listed:
        days, problems = _render_days(key, stored.days)
        draft = replace(draft, days=days)
    with imported:
        draft = replace(draft, days=[*draft.days, *_render_import(key, draft.days)])
    draft = _render_reading(key, draft)
    _render_what_it_keeps(draft, datetime.now(UTC).date())
    if not render_decision("Save calendar", form):
        return
    if problems:
        st.error("Not saved. Please correct under Own days:\n\n" + _bulleted(problems), icon=":material/error:")
        return
    try:
        save(viewer, calendar, draft)
    except (PunctualError, InvalidScheduleError) as error:
        st.error(f"Not saved: {plain(str(error))}", icon=":material/error:")
        return
    st.session_state["calendars-message"] = f"Saved {draft.name.strip()}."
    close_form(form)


@st.dialog("Delete calendar")
def confirm_delete_calendar(viewer: Viewer, calendar: Calendar, jobs: int) -> None:
    """Asks once more; a calendar that jobs keep cannot go."""
    if jobs:
        st.markdown(
            f"**{plain(calendar.name)}** cannot be deleted while jobs use it: {jobs:,}. Take it out of them first, "
            "under Edit, Late runs, collisions and holidays."
        )
        return
    st.markdown(f"**{plain(calendar.name)}** goes with all its days. This cannot be undone.")
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep it", key="calendar-keep"):
            st.rerun()
        if st.button("Delete calendar", type="primary", icon=":material/delete:", key="calendar-delete-confirm"):
            try:
                with transaction() as session:
                    delete_calendar(session, viewer, calendar.id)
            except PunctualError as error:
                st.error(f"Not deleted: {plain(str(error))}", icon=":material/error:")
                return
            st.session_state["calendars-message"] = f"Deleted {calendar.name}."
            st.rerun()


def load_draft(calendar: Calendar) -> CalendarDraft:
    """What the calendar holds now."""
    with transaction() as session:
        return draft_of(get_calendar(session, calendar.id), list_days(session, calendar.id))


def save(viewer: Viewer, calendar: Calendar | None, draft: CalendarDraft) -> None:
    """Make or change the calendar. Raises PunctualError, recurrence.InvalidScheduleError."""
    now = datetime.now(UTC)
    with transaction() as session:
        if calendar is None:
            create_calendar(session, viewer, draft, now=now)
        else:
            update_calendar(session, viewer, calendar.id, draft, now=now, expected_version=calendar.version)


def _render_country(key: str, draft: CalendarDraft) -> CalendarDraft:
    names = countries()
    options = [NO_COUNTRY, *names]
    left, right = st.columns(2)
    chosen = left.selectbox(
        "Country",
        options,
        index=options.index(draft.country) if draft.country in names else 0,
        format_func=lambda c: names.get(c, "None"),
        key=f"{key}-country",
        help="Its public holidays belong to the calendar, every year.",
    )
    if chosen == NO_COUNTRY:
        return replace(draft, country=None, subdivision=None)
    parts = subdivisions(chosen)
    regions = [NO_COUNTRY, *parts]
    region = right.selectbox(
        "Region",
        regions,
        index=regions.index(draft.subdivision) if draft.subdivision in parts else 0,
        format_func=lambda r: parts.get(r, "Whole country"),
        key=f"{key}-region-{chosen}",
        disabled=not parts,
    )
    weekend = draft.weekend if chosen == draft.country else country_weekend(chosen)
    return replace(draft, country=chosen, subdivision=region or None, weekend=weekend)


def _render_days(key: str, stored: Sequence[DayOff]) -> tuple[list[DayOff], list[str]]:
    """The table of days; returns those that can be used, and what is wrong with the other rows."""
    frame = pd.DataFrame(
        {
            "from": [day.starts_on for day in stored],
            "to": [day.ends_on if day.ends_on != day.starts_on else None for day in stored],
            "name": [day.name for day in stored],
        }
    )
    column = st.column_config
    edited = st.data_editor(
        frame.astype({"from": "datetime64[ns]", "to": "datetime64[ns]", "name": "object"}),
        key=f"{key}-days",
        num_rows="dynamic",
        hide_index=True,
        height=260,
        column_config={
            "from": column.DateColumn("From", format="ddd D MMM YYYY"),
            "to": column.DateColumn("To", format="ddd D MMM YYYY", help="The last day; empty for a single day"),
            "name": column.TextColumn("Name", width="large"),
        },
    )
    st.caption("Press an empty row to add a day. Leave To empty for a single day.")
    days: list[DayOff] = []
    problems: list[str] = []
    for number, row in enumerate(edited.to_dict("records"), start=1):
        if _is_blank(row):
            continue
        if pd.isna(row["from"]):
            problems.append(f"Row {number} has no From")
        elif not pd.isna(row["to"]) and row["to"] < row["from"]:
            problems.append(f"Row {number} ends before it starts")
        else:
            days.append(_day_off(row))
    if problems:
        st.warning(_bulleted(problems), icon=":material/error:")
    return days, problems


def _is_blank(row: dict[Any, Any]) -> bool:
    return bool(pd.isna(row["from"]) and pd.isna(row["to"])) and not (
        isinstance(row["name"], str) and row["name"].strip()
    )


def _day_off(row: dict[Any, Any]) -> DayOff:
    first: date = row["from"].date()
    last = first if pd.isna(row["to"]) else row["to"].date()
    name = row["name"] if isinstance(row["name"], str) else ""
    return DayOff(first, last, name.strip() or "Day off")


def _bulleted(lines: Sequence[str]) -> str:
    return "\n".join(f"- {plain(line)}" for line in lines)


def _render_import(key: str, known: Sequence[DayOff]) -> list[DayOff]:
    upload = st.file_uploader(
        "Calendar file (.ics)",
        key=f"{key}-ics",
        help="As exported by Google Calendar, Outlook and many others. Its events become days off.",
    )
    if upload is None:
        return []
    year = datetime.now(UTC).year
    try:
        found = read_ical(upload.getvalue(), years=(year - YEARS_BACK, year + YEARS_AHEAD))
    except InvalidCalendarFileError as error:
        st.error(f"This file cannot be used: {plain(str(error))}", icon=":material/event_busy:")
        return []
    new = [day for day in found if day not in set(known)]
    st.success(
        f"{len(found):,} days off from {year - YEARS_BACK} to {year + YEARS_AHEAD}, {len(new):,} of them new. "
        "They are added when you save; an event with a time takes its whole day.",
        icon=":material/check:",
    )
    return new


def _render_reading(key: str, draft: CalendarDraft) -> CalendarDraft:
    left, right = st.columns(2)
    zones = [JOBS_OWN_ZONE, *time_zones()]
    zone = left.selectbox(
        "Dates are read in",
        zones,
        index=zones.index(draft.time_zone) if draft.time_zone in zones else 0,
        format_func=lambda z: z or "Each job's own time zone",
        key=f"{key}-zone",
    )
    with right:
        weekend = st.pills(
            "Weekend",
            list(WEEKDAYS),
            selection_mode="multi",
            default=[d for d in WEEKDAYS if d in draft.weekend],
            format_func=lambda d: WEEKDAYS[d],
            key=f"{key}-weekend-{draft.country}",
            wrap=True,
            help="A run that is moved off a day off never moves to one of these days.",
        )
    return replace(draft, time_zone=zone or None, weekend=frozenset(weekend))


def _render_what_it_keeps(draft: CalendarDraft, today: date) -> None:
    """The next days off, as the calendar stands in the form."""
    coming = days_off_of(draft, today, today.replace(year=today.year + 1, day=min(today.day, 28)))
    if not coming:
        st.caption("No days off in the next twelve months.")
        return
    lines = [f"- {span_words(day)}: {plain(day.name)}" for day in coming[:SHOWN_DAYS]]
    more = len(coming) - SHOWN_DAYS
    tail = f"\n- … and {more} more" if more > 0 else ""
    with st.container(border=True, gap="xsmall"):
        st.markdown("**Days off in the next twelve months**\n\n" + "\n".join(lines) + tail)


def span_words(day: DayOff) -> str:
    """A date or a range, as "Fri 25 Dec 2026" or "Thu 24 Dec 2026 to Sat 2 Jan 2027"."""
    first, last = (f"{on:%a} {on.day} {on:%b %Y}" for on in (day.starts_on, day.ends_on))
    return first if day.starts_on == day.ends_on else f"{first} to {last}"
