"""From what a client sends about a job to what `db.jobs` takes, or to all problems by field."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import UploadFile
from pydantic import StrictBool, StrictInt

from api.policy_forms import (
    CalendarIds,
    read_number,
    read_policy,
    read_policy_change,
    read_retries,
    read_retries_change,
)
from api.shapes import StrictShape
from db.jobs import JobDraft
from db.models import CatchUp, Job, OnHoliday, Overlap, ScheduleType
from db.schedules import Schedule
from db.viewers import Viewer
from portal_import.job_draft import (
    InvalidJobError,
    check_job_urls,
    check_name,
    check_policy,
    check_retries,
    check_timeout,
    draft_job,
)
from recurrence import InvalidScheduleError, next_occurrence, parse_rule
from recurrence.errors import quoted

DEFAULT_TIMEOUT_SECONDS = "3600"
SCHEDULE_FIELDS = ("is_scheduled", "schedule_type", "schedule_config", "time_zone")
SCHEDULE_TYPES = ", ".join(ScheduleType)
CONFIG_EXAMPLE = 'a JSON object, such as {"hour": 2, "minute": 0} for daily'
SAY_IS_SCHEDULED = "is missing; send true to run by this schedule, or false to keep it switched off"


class NewJobForm(StrictShape):
    """The multipart form of POST /jobs; all text as it was sent. A blank field counts as not sent."""

    csv: UploadFile | None = None
    name: str = ""
    login_url: str = ""
    billing_url: str = ""
    is_scheduled: str = ""
    schedule_type: str = ""
    schedule_config: str = ""
    time_zone: str | None = None
    authorised: str = ""
    catch_up: str = CatchUp.LATEST
    overlap: str = Overlap.SKIP
    misfire_grace_seconds: str = ""
    calendar_ids: str = ""
    on_holiday: str = OnHoliday.SKIP
    max_attempts: str = ""
    retry_delay_seconds: str = ""
    timeout_seconds: str = DEFAULT_TIMEOUT_SECONDS


class JobEdit(StrictShape):
    """The body of PATCH /jobs/{id}: only what was sent counts.

    `null` is no value, except in `misfire_grace_seconds`: an occurrence may start however late.
    """

    name: str = ""
    login_url: str = ""
    billing_url: str = ""
    is_scheduled: StrictBool = False
    schedule_type: str = ""
    schedule_config: dict[str, Any] = {}
    time_zone: str = ""
    timeout_seconds: StrictInt = 0
    max_attempts: StrictInt = 0
    retry_delay_seconds: StrictInt = 0
    catch_up: CatchUp = CatchUp.LATEST
    overlap: Overlap = Overlap.SKIP
    misfire_grace_seconds: StrictInt | None = None
    calendar_ids: CalendarIds = []
    on_holiday: OnHoliday = OnHoliday.SKIP
    authorised: StrictBool = False
    version: StrictInt = 0


@dataclass(frozen=True)
class NewJob:
    """A job that can be stored. Its schedule may be there and switched off."""

    draft: JobDraft
    is_scheduled: bool
    is_authorised: bool


@dataclass(frozen=True)
class ScheduleChange:
    """A job's schedule from now on, switched on or off."""

    schedule: Schedule | None
    is_scheduled: bool


def read_new_job(form: NewJobForm, viewer: Viewer, now: datetime) -> NewJob:
    """The job of a form. Raises InvalidJobError with every field at fault."""
    problems: dict[str, str] = {}
    is_scheduled = _read_bool("is_scheduled", form.is_scheduled, problems)
    is_authorised = _read_bool("authorised", form.authorised, problems)
    timeout_seconds = read_number("timeout_seconds", form.timeout_seconds, problems)
    schedule = _read_schedule(form, is_scheduled, viewer.time_zone or "UTC", now, problems)
    policy = read_policy(form, problems)
    retries = read_retries(form, problems)
    try:
        draft = draft_job(
            name=form.name,
            login_url=form.login_url,
            billing_url=form.billing_url,
            csv=form.csv.file.read() if form.csv is not None else None,
            schedule=schedule,
            policy=policy,
            retries=retries,
            timeout_seconds=int(DEFAULT_TIMEOUT_SECONDS) if timeout_seconds is None else timeout_seconds,
        )
    except InvalidJobError as error:
        raise InvalidJobError(error.fields | problems) from None
    if problems:
        raise InvalidJobError(problems)
    return NewJob(draft, bool(is_scheduled), bool(is_authorised))


def read_details(given: Mapping[str, Any], job: Job, columns: tuple[str, ...]) -> dict[str, Any]:
    """The edited details as `update_job` takes them; `columns` are those of the job's accounts file.

    Raises InvalidJobError.
    """
    details = {k: v for k, v in given.items() if k == "timeout_seconds"}
    problems: dict[str, str] = {}
    policy = read_policy_change(given, job)
    if policy is not None:
        details["policy"] = policy
        problems |= check_policy(policy)
    retries = read_retries_change(given, job)
    if retries is not None:
        details["retries"] = retries
        problems |= check_retries(retries)
    if "name" in given:
        details["name"] = " ".join(given["name"].split())
        problems |= check_name(details["name"])
    urls = {field: given[field].strip() for field in ("login_url", "billing_url") if field in given}
    if urls:
        found = check_job_urls(urls.get("login_url", job.login_url), urls.get("billing_url", job.billing_url), columns)
        problems |= {field: why for field, why in found.items() if field in urls}
    if "timeout_seconds" in given:
        problems |= check_timeout(given["timeout_seconds"])
    if problems:
        raise InvalidJobError(problems)
    return details | urls


def read_schedule_change(given: Mapping[str, Any], job: Job, now: datetime) -> ScheduleChange | None:
    """The edited schedule, what was not sent being as it was; None when nothing about it was sent.

    Raises InvalidJobError.
    """
    sent = [field for field in SCHEDULE_FIELDS if field in given]
    if not sent:
        return None
    if not job.is_scheduled and "is_scheduled" not in given:
        raise InvalidJobError({"is_scheduled": SAY_IS_SCHEDULED})
    is_scheduled = given.get("is_scheduled", True)
    if sent == ["is_scheduled"] and not is_scheduled:
        return ScheduleChange(None, False)
    schedule_type = given.get("schedule_type", job.schedule_type)
    if schedule_type is None:
        raise InvalidJobError({"schedule_type": f"is missing; allowed: {SCHEDULE_TYPES}"})
    kept_config = job.schedule_config if schedule_type == job.schedule_type else None
    schedule = Schedule(
        schedule_type, given.get("schedule_config", kept_config or {}), given.get("time_zone", job.time_zone)
    )
    problems = check_schedule(schedule, now)
    if problems:
        raise InvalidJobError(problems)
    return ScheduleChange(schedule, is_scheduled)


def check_schedule(schedule: Schedule, now: datetime) -> dict[str, str]:
    """The problem of a schedule, if it has one, by field."""
    try:
        rule = parse_rule(schedule.schedule_type, schedule.schedule_config, schedule.time_zone)
    except InvalidScheduleError as error:
        return {"schedule": str(error)}
    if next_occurrence(rule, now) is None:
        return {"schedule": "it would never fire from now on"}
    return {}


def _read_schedule(
    form: NewJobForm, is_scheduled: bool | None, default_zone: str, now: datetime, problems: dict[str, str]
) -> Schedule | None:
    """The schedule of a form, or None when there is none or something is wrong with it."""
    has_schedule = bool(form.schedule_type.strip() or form.schedule_config.strip())
    if is_scheduled is None and has_schedule and "is_scheduled" not in problems:
        problems["is_scheduled"] = SAY_IS_SCHEDULED
    if not is_scheduled and not has_schedule:
        return None
    if not form.schedule_type.strip():
        problems["schedule_type"] = f"is missing; allowed: {SCHEDULE_TYPES}"
    config = _read_config(form.schedule_config, problems)
    if "schedule_type" in problems or config is None:
        return None
    schedule = Schedule(form.schedule_type, config, default_zone if form.time_zone is None else form.time_zone)
    found = check_schedule(schedule, now)
    problems |= found
    return None if found else schedule


def _read_config(text: str, problems: dict[str, str]) -> dict[str, Any] | None:
    if not text.strip():
        problems["schedule_config"] = f"is missing; send {CONFIG_EXAMPLE}"
        return None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        problems["schedule_config"] = f"found {quoted(text)}; send {CONFIG_EXAMPLE}"
        return None
    return config


def _read_bool(field: str, text: str, problems: dict[str, str]) -> bool | None:
    match text.strip().lower():
        case "":
            return None
        case "true":
            return True
        case "false":
            return False
        case _:
            problems[field] = f"found {quoted(text)}; allowed: true or false"
            return None
