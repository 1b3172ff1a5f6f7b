"""Calendars: the days off that jobs keep, shared by everybody who signs in."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from db.calendars import CalendarSummary, list_calendars, may_change
from db.engine import transaction
from db.viewers import Viewer
from recurrence import countries, subdivisions
from ui.calendar_dialogs import confirm_delete_calendar, edit_calendar
from ui.current_user import require_role
from ui.plain_text import inert_frame, plain
from ui.schedule_editor import WEEKDAYS
from ui.shell import is_phone

PHONE_COLUMNS = ("name", "jobs")


def main() -> None:
    """Draw the page."""
    viewer = require_role()
    message = st.session_state.pop("calendars-message", None)
    if message:
        st.toast(message)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.title("Calendars", anchor=False, width="content")
        if viewer.may_write and st.button("New calendar", type="primary", icon=":material/add:"):
            edit_calendar(viewer, None)
    st.caption(
        "Days off for jobs: a country's public holidays, a company shutdown, a portal's maintenance days. "
        "A job that keeps a calendar skips its runs on those days, or moves them to the next working day."
    )
    calendars = load_calendars()
    if not calendars:
        st.info("There is no calendar yet.", icon=":material/event_busy:")
        return
    chosen = render_table(calendars)
    if chosen is not None:
        render_actions(viewer, chosen)


def render_table(calendars: Sequence[CalendarSummary]) -> CalendarSummary | None:
    """The calendars; returns the one that is ticked."""
    column = st.column_config
    frame = calendars_frame(calendars)
    state = st.dataframe(
        inert_frame(frame),
        key=f"calendars-{hash(tuple((c.calendar.id, c.calendar.version) for c in calendars))}",
        hide_index=True,
        height="content",
        row_height=38,
        column_order=PHONE_COLUMNS if is_phone() else tuple(frame.columns),
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "name": column.TextColumn("Name", width="medium"),
            "country": column.TextColumn("Public holidays"),
            "days": column.NumberColumn("Own days", format="localized"),
            "zone": column.TextColumn("Dates are read in"),
            "weekend": column.TextColumn("Weekend"),
            "jobs": column.NumberColumn("Jobs", format="localized", help="Jobs that keep it, of everybody"),
            "owner": column.TextColumn("Owner"),
        },
    )
    rows = state["selection"]["rows"]
    return calendars[rows[0]] if rows and rows[0] < len(calendars) else None


def render_actions(viewer: Viewer, summary: CalendarSummary) -> None:
    """What can be done with the ticked calendar."""
    calendar = summary.calendar
    if not may_change(viewer, calendar):
        st.caption(f"Owned by {plain(summary.owner or 'nobody')}. Only its owner and admins can change it.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Edit", icon=":material/edit:", key="calendar-edit"):
            edit_calendar(viewer, calendar)
        if st.button("Delete", icon=":material/delete:", key="calendar-delete"):
            confirm_delete_calendar(viewer, calendar, summary.jobs)


def calendars_frame(calendars: Sequence[CalendarSummary]) -> pd.DataFrame:
    """One row a calendar, in the order given."""
    names = countries() if any(c.calendar.country for c in calendars) else {}
    return pd.DataFrame(
        [
            {
                "name": summary.calendar.name,
                "country": country_words(summary, names),
                "days": summary.days,
                "zone": summary.calendar.time_zone or "Each job's own time zone",
                "weekend": ", ".join(WEEKDAYS[d] for d in WEEKDAYS if d in summary.calendar.weekend) or "None",
                "jobs": summary.jobs,
                "owner": summary.owner or "–",
            }
            for summary in calendars
        ]
    )


def country_words(summary: CalendarSummary, names: dict[str, str]) -> str:
    """The country whose holidays belong to the calendar, and the part of it."""
    calendar = summary.calendar
    if calendar.country is None:
        return "–"
    country = names.get(calendar.country, calendar.country)
    if calendar.subdivision is None:
        return country
    return f"{country}, {subdivisions(calendar.country).get(calendar.subdivision, calendar.subdivision)}"


def load_calendars() -> Sequence[CalendarSummary]:
    """All calendars, by name."""
    with transaction() as session:
        return list_calendars(session)


main()
