"""The schedule part of a form: what was chosen, in words and as the next runs, while it is being chosen."""

from collections.abc import Mapping
from datetime import UTC, datetime, time
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import streamlit as st

from db.models import Job, ScheduleType
from db.schedules import Schedule
from recurrence import InvalidScheduleError, Rule, describe, occurrences, parse_rule, time_zones
from ui.moments import relative
from ui.plain_text import plain

TYPE_LABELS = {
    ScheduleType.WEEKLY: "Weekly",
    ScheduleType.DAILY: "Daily",
    ScheduleType.MONTHLY: "Monthly",
    ScheduleType.CUSTOM: "Custom",
}
WEEKDAYS = {1: "Mon", 2: "Tue", 3: "Wed", 4: "Thu", 5: "Fri", 6: "Sat", 0: "Sun"}
MONTH_DAYS: list[int | str] = [*range(1, 32), "last"]
PREVIEWED = 5
NEVER_FIRES = "This schedule never fires: no day and time fits it."


def render_schedule_editor(key: str, zone: ZoneInfo, job: Job | None = None) -> tuple[Schedule | None, str | None]:
    """The controls and their preview; returns the schedule (None: run by hand only) and what is wrong with it."""
    has_schedule = job is not None and job.is_scheduled
    is_scheduled = st.toggle(
        "Schedule this job to run automatically", value=has_schedule or job is None, key=f"{key}-is-scheduled"
    )
    if not is_scheduled:
        st.caption("The job runs only when somebody presses Run now, or through the API.")
        return None, None
    stored = dict(job.schedule_config or {}) if job is not None and has_schedule else {}
    stored_type = ScheduleType(job.schedule_type) if job is not None and job.schedule_type else ScheduleType.WEEKLY
    controls, preview = st.columns([3, 2], gap="medium")
    with controls:
        chosen = st.segmented_control(
            "Repeats",
            list(TYPE_LABELS),
            default=stored_type,
            required=True,
            format_func=lambda t: TYPE_LABELS[t],
            key=f"{key}-type",
        )
        config = _render_config(key, chosen, stored if chosen == stored_type else {})
        default_zone = job.time_zone if job is not None and has_schedule else zone.key
        zones = time_zones()
        time_zone = st.selectbox(
            "Time zone",
            zones,
            index=zones.index(default_zone) if default_zone in zones else zones.index("UTC"),
            key=f"{key}-zone",
            help="Runs keep this wall-clock time through daylight-saving changes.",
        )
    schedule = Schedule(chosen, config, time_zone)
    with preview:
        return schedule, _render_preview(schedule, zone)


def describe_job_schedule(job: Job, *, viewer_zone: ZoneInfo | None = None) -> str:
    """The job's schedule in words; the zone only when it is not the viewer's."""
    if not job.is_scheduled or job.schedule_type is None:
        return "By hand only"
    try:
        rule = parse_rule(job.schedule_type, job.schedule_config or {}, job.time_zone)
    except InvalidScheduleError:
        return "Schedule cannot be read"
    return describe(rule, with_zone=viewer_zone is None or job.time_zone != viewer_zone.key)


def _render_config(key: str, chosen: ScheduleType, stored: Mapping[str, Any]) -> dict[str, Any]:
    if chosen == ScheduleType.CUSTOM:
        expression = st.text_input(
            "Cron expression",
            value=str(stored.get("cron_expression", "0 12 * * 1,3,5")),
            key=f"{key}-cron",
            help="Five fields: minute, hour, day of month, month, day of week (0 and 7 are Sunday). "
            "Names, lists, ranges, steps, L, # and @daily-style words work too.",
        )
        return {"cron_expression": expression}
    config: dict[str, Any] = {}
    if chosen == ScheduleType.WEEKLY:
        config["day_of_week"] = _render_weekdays(key, stored)
    if chosen == ScheduleType.MONTHLY:
        stored_day = stored.get("day", 1)
        config["day"] = st.selectbox(
            "Day of the month",
            MONTH_DAYS,
            index=MONTH_DAYS.index(stored_day) if stored_day in MONTH_DAYS else 0,
            format_func=lambda d: "Last day" if d == "last" else str(d),
            key=f"{key}-day",
            help="In a month without that day, the job runs on the month's last day.",
        )
    at = st.time_input(
        "Time", value=time(int(stored.get("hour", 9)), int(stored.get("minute", 0))), step=60, key=f"{key}-time"
    )
    return config | ({"hour": at.hour, "minute": at.minute} if at is not None else {})


def _render_weekdays(key: str, stored: Mapping[str, Any]) -> int | list[int]:
    value = stored.get("day_of_week", 1)
    days = [d % 7 for d in (value if isinstance(value, list) else [value])]
    picked = st.pills(
        "Days",
        list(WEEKDAYS),
        selection_mode="multi",
        default=[d for d in WEEKDAYS if d in days],
        format_func=lambda d: WEEKDAYS[d],
        key=f"{key}-weekdays",
        wrap=True,
    )
    return picked[0] if len(picked) == 1 else sorted(picked)


def _render_preview(schedule: Schedule, zone: ZoneInfo) -> str | None:
    """The rule in words and its next runs; returns what is wrong when there are none to show."""
    with st.container(border=True):
        try:
            rule = parse_rule(schedule.schedule_type, schedule.schedule_config, schedule.time_zone)
        except InvalidScheduleError as error:
            problem = _in_words(schedule, error)
            st.markdown("**Next runs**")
            st.error(plain(problem), icon=":material/event_busy:")
            return problem
        st.markdown(f"**{plain(describe(rule))}**")
        lines = _preview_lines(rule, zone, datetime.now(UTC))
        if not lines:
            st.error(NEVER_FIRES, icon=":material/event_busy:")
            return NEVER_FIRES
        st.markdown("\n".join(lines))
        return None


def _preview_lines(rule: Rule, zone: ZoneInfo, now: datetime) -> list[str]:
    lines: list[str] = []
    for occurrence in islice(occurrences(rule, now), PREVIEWED):
        local = occurrence.local
        line = f"- {local:%a} {local.day} {local:%b %Y}, {local:%H:%M} :gray[· {relative(occurrence.at, now)}]"
        if local.utcoffset() != occurrence.at.astimezone(zone).utcoffset():
            line += f" :gray[· {occurrence.at.astimezone(zone):%H:%M} for you]"
        if occurrence.note:
            line += f"  \n  :orange[{occurrence.note}]"
        lines.append(line)
    return lines


def _in_words(schedule: Schedule, error: InvalidScheduleError) -> str:
    if schedule.schedule_type == ScheduleType.WEEKLY and schedule.schedule_config.get("day_of_week") == []:
        return "Choose at least one day of the week."
    if schedule.schedule_type != ScheduleType.CUSTOM and "hour" not in schedule.schedule_config:
        return "Choose a time."
    return str(error)
