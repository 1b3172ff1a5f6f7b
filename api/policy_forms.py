"""How late and colliding occurrences, days off and failures are treated: from what a client sends to policies."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Annotated, Any, Protocol

from pydantic import Field, StrictInt
from sqlalchemy.orm import Session

from api.paging import MAX_BIG_ID
from db.calendars import InvalidCalendarError, require_calendars
from db.jobs import POLICY_COLUMNS, RETRY_COLUMNS
from db.models import CatchUp, Job, OnHoliday, Overlap
from db.retries import DEFAULT_RETRY_POLICY, RetryPolicy, retry_policy_of
from db.schedules import RunPolicy, policy_of
from portal_import.job_draft import InvalidJobError
from recurrence.errors import quoted

MAX_NUMBER_CHARACTERS = 9
ALLOWED_CALENDARS = "send a JSON list of calendar ids, such as [1, 2]"

CalendarIds = list[Annotated[StrictInt, Field(ge=1, le=MAX_BIG_ID)]]


class PolicyForm(Protocol):
    """The policy's fields of a form; all text as it was sent. A blank one counts as not sent."""

    catch_up: str
    overlap: str
    misfire_grace_seconds: str
    calendar_ids: str
    on_holiday: str
    max_attempts: str
    retry_delay_seconds: str


def read_policy(form: PolicyForm, problems: dict[str, str]) -> RunPolicy:
    """The policy of a form; what cannot be read becomes a problem of its field and keeps its default."""
    choices: dict[str, Any] = {}
    for field, kind in (("catch_up", CatchUp), ("overlap", Overlap), ("on_holiday", OnHoliday)):
        text = getattr(form, field).strip()
        if text in set(kind):
            choices[field] = kind(text)
        elif text:
            problems[field] = f"found {quoted(text)}; allowed: {', '.join(kind)}"
    if form.misfire_grace_seconds.strip():
        choices["misfire_grace_seconds"] = read_number("misfire_grace_seconds", form.misfire_grace_seconds, problems)
    if form.calendar_ids.strip():
        choices["calendar_ids"] = _read_calendar_ids(form.calendar_ids, problems)
    return RunPolicy(**choices)


def read_policy_change(given: Mapping[str, Any], job: Job) -> RunPolicy | None:
    """The job's policy with the edited fields of a JSON body; None when there are none."""
    changes = {column: value for column, value in given.items() if column in POLICY_COLUMNS}
    if "calendar_ids" in changes:
        changes["calendar_ids"] = tuple(changes["calendar_ids"])
    return replace(policy_of(job), **changes) if changes else None


def read_retries(form: PolicyForm, problems: dict[str, str]) -> RetryPolicy:
    """The retry policy of a form; what cannot be read becomes a problem of its field and keeps its default."""
    numbers: dict[str, int] = {}
    for field in RETRY_COLUMNS:
        text = getattr(form, field)
        number = read_number(field, text, problems) if text.strip() else None
        if number is not None:
            numbers[field] = number
    return replace(DEFAULT_RETRY_POLICY, **numbers)


def read_retries_change(given: Mapping[str, Any], job: Job) -> RetryPolicy | None:
    """The job's retry policy with the edited fields of a JSON body; None when there are none."""
    changes = {column: value for column, value in given.items() if column in RETRY_COLUMNS}
    return replace(retry_policy_of(job), **changes) if changes else None


def require_known_calendars(session: Session, calendar_ids: Collection[int], kept: Collection[int] = ()) -> None:
    """Refuse calendars that do not exist; those that the job keeps already do. Raises InvalidJobError."""
    try:
        require_calendars(session, set(calendar_ids) - set(kept))
    except InvalidCalendarError as error:
        raise InvalidJobError({"calendar_ids": str(error)}) from None


def read_number(field: str, text: str, problems: dict[str, str]) -> int | None:
    """The whole number of a form's field, or None and a problem."""
    digits = text.strip()
    if digits.isascii() and digits.isdigit() and len(digits) <= MAX_NUMBER_CHARACTERS:
        return int(digits)
    problems[field] = f"found {quoted(text)}; allowed: a whole number"
    return None


def _read_calendar_ids(text: str, problems: dict[str, str]) -> tuple[int, ...]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(type(i) is int and 1 <= i <= MAX_BIG_ID for i in found):
        problems["calendar_ids"] = f"found {quoted(text)}; {ALLOWED_CALENDARS}"
        return ()
    return tuple(found)
