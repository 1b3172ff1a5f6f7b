"""The schedule part of a form: what was chosen, in words and as the next runs, while it is being chosen."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import streamlit as st

from db.calendars import load_calendars
from db.engine import transaction
from db.models import Job, ScheduleType
from db.planning import rule_of
from db.schedules import DEFAULT_POLICY, RunPolicy, Schedule
from recurrence import InvalidScheduleError, describe, time_zones
from ui.plain_text import plain
from ui.policy_editor import render_policy_editor
from ui.schedule_preview import render_preview

TYPE_LABELS = {
    ScheduleType.WEEKLY: "Weekly",
    ScheduleType.DAILY: "Daily",
    ScheduleType.MONTHLY: "Monthly",
    ScheduleType.CUSTOM: "Custom",
}
WEEKDAYS = {1: "Mon", 2: "Tue", 3: "Wed", 4: "Thu", 5: "Fri", 6: "Sat", 0: "Sun"}
MONTH_DAYS: list[int | str] = [*range(1, 32), "last"]
NEVER_FIRES = "This schedule never fires: no day and time fits it."


@dataclass(frozen=True)
class ScheduleChoice:
    """What the form holds: no schedule means by hand only; `problem` is what is wrong with it."""

    schedule: Schedule | None
    policy: RunPolicy
    problem: str | None = None


def render_schedule_editor(
    key: str,
    zone: ZoneInfo,
    *,
    schedule: Schedule | None = None,
    policy: RunPolicy | None = DEFAULT_POLICY,
    is_scheduled: bool = True,
) -> ScheduleChoice:
    """The controls with their preview, holding at first what is given.

    Without a policy, only the schedule is asked for.
    """
    kept = policy or DEFAULT_POLICY
    if policy is not None and not st.toggle(
        "Schedule this job to run automatically", value=is_scheduled, key=f"{key}-is-scheduled"
    ):
        st.caption("The job runs only when somebody presses Run now, or through the API.")
        return ScheduleChoice(None, kept)
    controls, preview = st.columns([4, 5], gap="medium")
    with controls:
        chosen = _render_schedule(key, zone, schedule)
        if policy is not None:
            kept = render_policy_editor(key, policy)
    with preview:
        return ScheduleChoice(chosen, kept, _render_preview(chosen, kept, zone))


def _render_schedule(key: str, zone: ZoneInfo, stored: Schedule | None) -> Schedule:
    stored_type = ScheduleType(stored.schedule_type) if stored is not None else ScheduleType.WEEKLY
    chosen = st.segmented_control(
        "Repeats",
        list(TYPE_LABELS),
        default=stored_type,
        required=True,
        format_func=lambda t: TYPE_LABELS[t],
        key=f"{key}-type",
        persist_state="page",
    )
    config = _render_config(key, chosen, stored.schedule_config if stored is not None and chosen == stored_type else {})
    zones = time_zones()
    default_zone = stored.time_zone if stored is not None else zone.key
    if default_zone not in zones:
        zones = [default_zone, *zones]  # an alias that the job came with is kept until another is chosen
    time_zone = st.selectbox(
        "Time zone",
        zones,
        index=zones.index(default_zone),
        key=f"{key}-zone",
        persist_state="page",
        help="Runs keep this wall-clock time through daylight-saving changes.",
    )
    return Schedule(chosen, config, time_zone)


def describe_job_schedule(job: Job, *, viewer_zone: ZoneInfo | None = None) -> str:
    """The job's schedule in words; the zone only when it is not the viewer's."""
    if not job.is_scheduled or job.schedule_type is None:
        return "By hand only"
    try:
        rule = rule_of(job)
    except InvalidScheduleError:
        return "Schedule cannot be read"
    return describe(rule, with_zone=viewer_zone is None or job.time_zone != viewer_zone.key)


def _render_config(key: str, chosen: ScheduleType, stored: Mapping[str, Any]) -> dict[str, Any]:
    if chosen == ScheduleType.CUSTOM:
        expression = st.text_input(
            "Cron expression",
            value=str(stored.get("cron_expression", "0 12 * * 1,3,5")),
            key=f"{key}-cron",
            live=True,
            persist_state="page",
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
            persist_state="page",
            help="In a month without that day, the job runs on the month's last day.",
        )
    at = st.time_input(
        "Time",
        value=time(int(stored.get("hour", 9)), int(stored.get("minute", 0))),
        step=60,
        key=f"{key}-time",
        persist_state="page",
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
        persist_state="page",
        wrap=True,
    )
    return picked[0] if len(picked) == 1 else sorted(picked)


def _render_preview(schedule: Schedule, policy: RunPolicy, zone: ZoneInfo) -> str | None:
    """The rule in words and what it will do; returns what is wrong when there is nothing to show."""
    with st.container(border=True, gap="xsmall"):
        try:
            rule = schedule.rule
        except InvalidScheduleError as error:
            problem = _in_words(schedule, error)
            st.markdown("**Next runs**")
            st.error(plain(problem), icon=":material/event_busy:")
            return problem
        with transaction() as session:
            calendars = load_calendars(session, policy.calendar_ids)
        kept = tuple(calendars[i] for i in policy.calendar_ids if i in calendars)
        if render_preview(rule, kept, policy.on_holiday, zone, datetime.now(UTC)):
            return None
        st.error(NEVER_FIRES, icon=":material/event_busy:")
        return NEVER_FIRES


def _in_words(schedule: Schedule, error: InvalidScheduleError) -> str:
    if schedule.schedule_type == ScheduleType.WEEKLY and schedule.schedule_config.get("day_of_week") == []:
        return "Choose at least one day of the week."
    if schedule.schedule_type != ScheduleType.CUSTOM and "hour" not in schedule.schedule_config:
        return "Choose a time."
    return str(error)
