"""The part of a form that says how late and colliding runs and days off are treated."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from db.calendars import CalendarSummary, list_calendars
from db.engine import transaction
from db.models import CatchUp, OnHoliday, Overlap
from db.planning import in_words
from db.schedules import MAX_CALENDARS, RunPolicy
from ui.plain_text import plain

CATCH_UP_LABELS = {
    CatchUp.LATEST: "Run the newest one",
    CatchUp.ALL: "Run all, oldest first (at most 100)",
    CatchUp.NONE: "Run none of them",
}
OVERLAP_LABELS = {Overlap.SKIP: "Skip the new one", Overlap.QUEUE: "Wait, then run it"}
ON_HOLIDAY_LABELS = {OnHoliday.SKIP: "Skip the run", OnHoliday.MOVE: "Move it to the next working day"}
NO_LIMIT = 0
START_WINDOWS = [NO_LIMIT, 300, 900, 1800, 3600, 4 * 3600, 12 * 3600, 86400]


def render_policy_editor(key: str, policy: RunPolicy) -> RunPolicy:
    """The controls, holding `policy` at first; returns what is chosen."""
    with st.expander("Late runs, collisions and holidays", icon=":material/tune:"):
        return _render_days_off(key, _render_lateness(key, policy))


def describe_start_window(seconds: int) -> str:
    """A start window as a choice."""
    return "However late" if seconds == NO_LIMIT else f"Up to {in_words(seconds)} late"


def _render_lateness(key: str, policy: RunPolicy) -> RunPolicy:
    catch_up = st.selectbox(
        "Runs that were missed while the service was down",
        list(CATCH_UP_LABELS),
        index=list(CATCH_UP_LABELS).index(policy.catch_up),
        format_func=lambda c: CATCH_UP_LABELS[c],
        key=f"{key}-catch-up",
        help="Those that do not run are recorded as missed. A run that can still start within the time below is "
        "not missed.",
    )
    stored = policy.misfire_grace_seconds or NO_LIMIT
    windows = sorted({*START_WINDOWS, stored})
    window = st.selectbox(
        "A run may start",
        windows,
        index=windows.index(stored),
        format_func=describe_start_window,
        key=f"{key}-start-window",
        help="A run that could not start by then, because the service was down or all slots were taken, "
        "is recorded as missed.",
    )
    overlap = st.selectbox(
        "When the previous run is still going",
        list(OVERLAP_LABELS),
        index=list(OVERLAP_LABELS).index(policy.overlap),
        format_func=lambda o: OVERLAP_LABELS[o],
        key=f"{key}-overlap",
    )
    return replace(policy, catch_up=catch_up, overlap=overlap, misfire_grace_seconds=window or None)


def _render_days_off(key: str, policy: RunPolicy) -> RunPolicy:
    calendars = {summary.calendar.id: summary for summary in load_calendar_list()}
    chosen = st.multiselect(
        "Calendars with days off",
        list(calendars),
        default=[i for i in policy.calendar_ids if i in calendars],
        format_func=lambda i: calendars[i].calendar.name,
        placeholder="None: runs on every day" if calendars else "No calendar yet: make one on the Calendars page",
        max_selections=MAX_CALENDARS,
        key=f"{key}-calendars",
        help="Holidays, shutdowns, blackouts. Calendars are shared by everybody.",
    )
    if not chosen:
        return replace(policy, calendar_ids=())
    on_holiday = st.selectbox(
        "A run on a day off",
        list(ON_HOLIDAY_LABELS),
        index=list(ON_HOLIDAY_LABELS).index(policy.on_holiday),
        format_func=lambda o: ON_HOLIDAY_LABELS[o],
        key=f"{key}-on-holiday",
        help="At the same time of day. Skipped or moved, the day off leaves a row in the job's history.",
    )
    return replace(policy, calendar_ids=tuple(chosen), on_holiday=on_holiday)


def load_calendar_list() -> Sequence[CalendarSummary]:
    """All calendars, by name."""
    with transaction() as session:
        return list_calendars(session)


def describe_policy(policy: RunPolicy, names: dict[int, str]) -> str:
    """What differs from the usual treatment, in one line; empty when nothing does."""
    parts: list[str] = []
    if policy.catch_up != CatchUp.LATEST:
        parts.append("after an outage: " + CATCH_UP_LABELS[policy.catch_up].lower())
    if policy.misfire_grace_seconds is not None:
        parts.append(f"starts at most {in_words(policy.misfire_grace_seconds)} late")
    if policy.overlap != Overlap.SKIP:
        parts.append("waits for the previous run")
    if policy.calendar_ids:
        kept = ", ".join(plain(names[i]) for i in policy.calendar_ids if i in names)
        if policy.on_holiday == OnHoliday.SKIP:
            parts.append(f"skips the days off of {kept}")
        else:
            parts.append(f"runs on days off of {kept} move to the next working day")
    return "; ".join(parts)
