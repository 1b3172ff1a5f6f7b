"""From what a client sends about a calendar to what `db.calendars` takes."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import UploadFile
from pydantic import AfterValidator, Field, StrictInt

from api.dates import IsoDate
from api.paging import require_storable
from api.shapes import StrictShape
from db.calendars import WEEKEND, CalendarDraft, InvalidCalendarError
from recurrence import DayOff, country_weekend
from recurrence.ical import read_ical
from recurrence.ical_rules import InvalidCalendarFileError

MAX_DAY_NAME_CHARACTERS = 200
YEARS_BACK, YEARS_AHEAD = 1, 5  # of a calendar file; rules that repeat are expanded no further

DayName = Annotated[str, Field(max_length=MAX_DAY_NAME_CHARACTERS), AfterValidator(require_storable)]
Weekend = list[Annotated[StrictInt, Field(ge=0, le=6)]]


class NewDayOff(StrictShape):
    """A date, or with `ends_on` all dates up to it."""

    starts_on: IsoDate
    ends_on: IsoDate | None = None
    name: DayName


class NewCalendar(StrictShape):
    """The body of POST /calendars. Without `weekend` it is the country's, or Saturday and Sunday."""

    name: str
    time_zone: str | None = None
    weekend: Weekend | None = None
    country: str | None = None
    subdivision: str | None = None
    days: list[NewDayOff] = []


class CalendarEdit(StrictShape):
    """The body of PATCH /calendars/{id}: only what was sent counts; `days` replaces all of them.

    `null` takes away a time zone, country or subdivision. Another country has no subdivision unless one is sent.
    """

    name: str = ""
    time_zone: str | None = None
    weekend: Weekend = []
    country: str | None = None
    subdivision: str | None = None
    days: list[NewDayOff] = []
    version: StrictInt = 0


class CalendarFileForm(StrictShape):
    """The multipart form of POST /calendars/import. A blank time zone is none."""

    ics: UploadFile | None = None
    name: str = ""
    time_zone: str = ""


def read_new_calendar(sent: NewCalendar) -> CalendarDraft:
    """The draft of a new calendar. Raises recurrence.InvalidScheduleError for an unknown country."""
    if sent.weekend is not None:
        weekend = frozenset(sent.weekend)
    else:
        weekend = country_weekend(sent.country) if sent.country is not None else WEEKEND
    return CalendarDraft(sent.name, _days(sent.days), sent.time_zone, weekend, sent.country, sent.subdivision)


def read_calendar_edit(edit: CalendarEdit, before: CalendarDraft) -> CalendarDraft:
    """The calendar with what was sent in place of what it holds. Raises InvalidCalendarError."""
    changes: dict[str, Any] = {name: getattr(edit, name) for name in edit.model_fields_set - {"version"}}
    if not changes:
        changeable = ", ".join(name for name in CalendarEdit.model_fields if name != "version")
        raise InvalidCalendarError(f"nothing to change; send at least one of {changeable}")
    if "days" in changes:
        changes["days"] = _days(edit.days)
    if "weekend" in changes:
        changes["weekend"] = frozenset(edit.weekend)
    if "country" in changes and edit.country != before.country:
        changes.setdefault("subdivision", None)
    return replace(before, **changes)


def read_calendar_file(form: CalendarFileForm, now: datetime) -> CalendarDraft:
    """The draft of a calendar file: its days from last year to five years ahead. Raises InvalidCalendarFileError."""
    if form.ics is None:
        raise InvalidCalendarFileError("choose a calendar file (.ics)")
    first, last = now.year - YEARS_BACK, now.year + YEARS_AHEAD
    days = read_ical(form.ics.file.read(), years=(first, last))
    if not days:
        raise InvalidCalendarFileError(f"the calendar file has no day from {first} to {last}")
    return CalendarDraft(form.name, days, form.time_zone.strip() or None)


def _days(sent: Sequence[NewDayOff]) -> tuple[DayOff, ...]:
    return tuple(DayOff(day.starts_on, day.ends_on or day.starts_on, day.name) for day in sent)
