"""What calendars, their days and the countries that have holidays look like."""

from collections.abc import Sequence
from datetime import date, datetime

from pydantic import BaseModel

from api.shapes import OwnerShape
from db.calendars import CalendarSummary, may_change
from db.viewers import Viewer
from recurrence import DayOff, country_weekend, subdivisions


class DayOffShape(BaseModel):
    """A date, or all dates from `starts_on` to `ends_on`, both included."""

    starts_on: date
    ends_on: date
    name: str


class CalendarShape(BaseModel):
    """A calendar in a list. `days_count` counts the listed days, `jobs_count` everybody's jobs that keep it.

    `weekend` are the days of the week that are no working days either, 0 = Sunday; without a `time_zone` its
    dates are read in each job's own. `may_change` says whether you may.
    """

    id: int
    name: str
    time_zone: str | None
    weekend: list[int]
    country: str | None
    subdivision: str | None
    days_count: int
    jobs_count: int
    owner: OwnerShape | None
    may_change: bool
    created_at: datetime
    updated_at: datetime
    version: int


class CalendarDetailShape(CalendarShape):
    """A calendar with the days it lists.

    `days_off`, when dates were asked for, are all it keeps between them, its country's holidays included.
    """

    days: list[DayOffShape]
    days_off: list[DayOffShape] | None


class SubdivisionShape(BaseModel):
    """A part of a country with holidays of its own."""

    code: str
    name: str


class CountryShape(BaseModel):
    """A country; `subdivisions` and `weekend` are told of the one that was asked for."""

    code: str
    name: str
    weekend: list[int] | None = None
    subdivisions: list[SubdivisionShape] | None = None


def calendar_shape(summary: CalendarSummary, viewer: Viewer) -> CalendarShape:
    """The calendar as this viewer sees it."""
    calendar = summary.calendar
    owner = None
    if calendar.user_id is not None and summary.owner is not None:
        owner = OwnerShape(id=calendar.user_id, name=summary.owner)
    return CalendarShape(
        id=calendar.id,
        name=calendar.name,
        time_zone=calendar.time_zone,
        weekend=calendar.weekend,
        country=calendar.country,
        subdivision=calendar.subdivision,
        days_count=summary.days,
        jobs_count=summary.jobs,
        owner=owner,
        may_change=may_change(viewer, calendar),
        created_at=calendar.created_at,
        updated_at=calendar.updated_at,
        version=calendar.version,
    )


def day_off_shapes(days: Sequence[DayOff]) -> list[DayOffShape]:
    """The days in their order."""
    return [DayOffShape(starts_on=day.starts_on, ends_on=day.ends_on, name=day.name) for day in days]


def country_shape(code: str, name: str) -> CountryShape:
    """One country with its weekend and parts."""
    return CountryShape(
        code=code,
        name=name,
        weekend=sorted(country_weekend(code)),
        subdivisions=[SubdivisionShape(code=part, name=words) for part, words in subdivisions(code).items()],
    )
