"""What a schedule will do: its next runs in the job's and the viewer's zone, days off, and clock changes."""

from collections.abc import Sequence
from datetime import datetime
from html import escape
from zoneinfo import ZoneInfo

import streamlit as st

from db.models import Job, OnHoliday
from db.planning import rule_of
from recurrence import Calendar, Coming, InvalidScheduleError, Rule, clock_changes, coming, describe, effect_of
from ui.moments import clock_offset, exact, relative
from ui.plain_text import plain

PREVIEWED = 10
STYLE = """
<style>
.coming {width: 100%; border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums;}
.coming th {text-align: left; font-weight: 500; opacity: 0.65; font-size: 0.82rem;}
.coming th, .coming td {padding: 0.28rem 0.6rem 0.28rem 0; border: 0; white-space: nowrap; vertical-align: top;}
.coming tr.first td {border-top: 1px solid rgba(128, 128, 128, 0.22);}
.coming td:last-child, .coming th:last-child {text-align: right; padding-right: 0;}
.coming td.soft {opacity: 0.7;}
.coming tr.off td.when {text-decoration: line-through; opacity: 0.6;}
.coming td.note {white-space: normal; text-align: left; padding-top: 0; color: #b45309; font-size: 0.86rem;}
@media (max-width: 640px) {
  .coming {font-size: 0.84rem;}
  .coming th, .coming td {white-space: normal; padding-right: 0.35rem;}
  .coming td:last-child:not(.note) {white-space: nowrap;}
}
@media (prefers-color-scheme: dark) {.coming td.note {color: #fbbf24;}}
</style>
"""


def render_preview(
    rule: Rule, calendars: tuple[Calendar, ...], on_holiday: OnHoliday, zone: ZoneInfo, now: datetime
) -> bool:
    """The rule in words, its next runs and the next clock changes; False when it never runs."""
    st.markdown(f"**{plain(describe(rule))}**")
    items = list(coming(rule, now, calendars, moves=on_holiday == OnHoliday.MOVE, limit=PREVIEWED))
    if not items:
        return False
    st.html(STYLE + coming_table(items, rule.time_zone, zone, now))
    render_clock_changes(rule, now)
    return True


def render_upcoming(job: Job, calendars: tuple[Calendar, ...], zone: ZoneInfo, now: datetime) -> None:
    """What a stored job will do, runs that were moved off a day off included."""
    try:
        rule = rule_of(job)
    except InvalidScheduleError as error:
        st.error(f"The schedule cannot be read: {plain(str(error))}. Edit it.", icon=":material/event_busy:")
        return
    moves = job.on_holiday == OnHoliday.MOVE
    items = list(coming(rule, now, calendars, moves=moves, pending=job.moved_runs, limit=PREVIEWED))
    with st.container(border=True, gap="xsmall"):
        st.markdown(f"**{plain(describe(rule))}**")
        st.html(STYLE + coming_table(items, rule.time_zone, zone, now))
        render_clock_changes(rule, now)


def render_clock_changes(rule: Rule, now: datetime) -> None:
    """What the rule does at the next two changes of its zone's clock."""
    changes = clock_changes(rule.time_zone, now)
    if not changes:
        st.caption(f":material/schedule: The clock of {plain(rule.time_zone)} does not change in the coming years.")
        return
    lines = [plain(_sentence(effect_of(rule, change))) for change in changes]
    st.caption(":material/schedule: **Clock changes**\n\n" + "\n".join(f"- {line}" for line in lines))


def coming_table(items: Sequence[Coming], time_zone: str, zone: ZoneInfo, now: datetime) -> str:
    """The instants as an HTML table; every text in it is escaped."""
    is_own = zone.key == time_zone
    heads = [time_zone, "UTC offset", *([] if is_own else [f"For you ({zone.key})"]), ""]
    origins: dict[datetime, list[Coming]] = {}
    for item in items:
        if item.moved_to is not None:
            origins.setdefault(item.moved_to, []).append(item)
    rows = "".join(
        _row(item, note_of(item, origins.get(item.at, []), now), is_own, zone, now, len(heads)) for item in items
    )
    return f'<table class="coming"><tr>{"".join(f"<th>{escape(h)}</th>" for h in heads)}</tr>{rows}</table>'


def note_of(item: Coming, origins: Sequence[Coming], now: datetime) -> str:
    """What is special about an instant, in words, or nothing; `origins` are those that move to it."""
    if item.day_off is not None:
        if item.moved_to is None:
            return f"{item.day_off}: skipped"
        return f"{item.day_off}: moves to {exact(item.moved_to, _zone_of(item), now)}"
    days = " and ".join(_day(origin.local, now) for origin in origins)
    if item.is_moved:
        return f"Moved here from {days or 'a day off'}"
    return "; ".join(filter(None, (item.note, f"also stands for {days}" if days else "")))


def _day(local: datetime, now: datetime) -> str:
    return f"{local:%a} {local.day} {local:%b}" + (f" {local.year}" if local.year != now.year else "")


def _row(item: Coming, note: str, is_own: bool, zone: ZoneInfo, now: datetime, width: int) -> str:
    cells = [
        f'<td class="when">{escape(exact(item.at, _zone_of(item), now))}</td>',
        f'<td class="soft">{clock_offset(item.local)}</td>',
    ]
    if not is_own:
        cells.append(f'<td class="soft">{escape(exact(item.at, zone, now))}</td>')
    cells.append(f'<td class="soft">{escape(relative(item.at, now))}</td>')
    kind = "first" if item.runs else "first off"
    row = f'<tr class="{kind}">{"".join(cells)}</tr>'
    return row + (f'<tr><td class="note" colspan="{width}">{escape(note)}</td></tr>' if note else "")


def _zone_of(item: Coming) -> ZoneInfo:
    zone = item.local.tzinfo
    return zone if isinstance(zone, ZoneInfo) else ZoneInfo("UTC")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
