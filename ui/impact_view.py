"""What a change of schedules will do, shown before it is saved."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.bulk_jobs import JobImpact
from db.schedule_impact import ScheduleImpact, describe_now
from recurrence import Impact, summarise
from ui.moments import exact
from ui.plain_text import plain

LISTED = 6
JOBS_LISTED = 20


def render_impact(change: ScheduleImpact, zone: ZoneInfo, now: datetime) -> None:
    """In words: what moves, appears and disappears, whether anything runs now, and the next run."""
    with st.container(border=True, gap="xsmall"):
        st.markdown(f"**What this changes:** {plain(summarise(change.impact, zone=zone))}.")
        lines = impact_lines(change.impact, zone, now)
        if change.first_change is not None:
            lines.append(f"The first difference is on {_when(change.first_change, zone, now)}")
        if lines:
            st.markdown("\n".join(f"- {line}" for line in lines))
        st.markdown(f":material/verified: {_sentence(plain(in_short(change, zone, now)))}")
        st.caption(f"Times in {plain(zone.key)}.")


def render_paused_change(resumed_next_run: datetime | None, zone: ZoneInfo, now: datetime) -> None:
    """What saving does to a paused job: nothing, until it is resumed."""
    words = "The job stays paused: nothing runs by itself."
    if resumed_next_run is not None:
        words += f" Resumed now, it would next run {exact(resumed_next_run, zone, now)} ({zone.key})."
    with st.container(border=True):
        st.markdown(f":material/pause: {plain(words)}")


def render_impacts(impacts: Sequence[JobImpact], zone: ZoneInfo, now: datetime) -> None:
    """The same for several jobs, a line each."""
    lines = [
        f"- **{plain(item.name)}**: {plain(summarise(item.change.impact, zone=zone))}; "
        f"{plain(in_short(item.change, zone, now))}"
        for item in impacts[:JOBS_LISTED]
    ]
    if len(impacts) > JOBS_LISTED:
        lines.append(f"- … and {len(impacts) - JOBS_LISTED} more jobs")
    with st.container(border=True, gap="xsmall"):
        st.markdown("**What this changes**\n\n" + "\n".join(lines))
        st.caption(f"Times in {plain(zone.key)}.")


def in_short(change: ScheduleImpact, zone: ZoneInfo, now: datetime) -> str:
    """Whether anything runs now, and when the next run is."""
    if change.next_run is None:
        return f"{describe_now(change)}; nothing runs by itself afterwards"
    return f"{describe_now(change)}; next run {exact(change.next_run, zone, now)}"


def impact_lines(impact: Impact, zone: ZoneInfo, now: datetime) -> list[str]:
    """The first instants of each kind, as Markdown."""
    groups = [
        ("Moves", [f"{_when(m.before, zone, now)} → {_when(m.after, zone, now)}" for m in impact.moved]),
        ("Appears", [_when(at, zone, now) for at in impact.appears]),
        ("Disappears", [_when(at, zone, now) for at in impact.disappears]),
    ]
    return [f"{label}: {_listed(items)}" for label, items in groups if items]


def _when(at: datetime, zone: ZoneInfo, now: datetime) -> str:
    return plain(exact(at, zone, now))


def _listed(items: Sequence[str]) -> str:
    more = len(items) - LISTED
    return " · ".join(items[:LISTED]) + (f" · and {more:,} more" if more > 0 else "")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
