"""Whether an instant falls on a day off, and where an occurrence goes that must not run on one.

Dates are read in each calendar's own time zone. Pure: no clock, and calendars come as values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from zoneinfo import ZoneInfo

from recurrence.country_holidays import country_days_off
from recurrence.wall_calendar import LAST_YEAR, SATURDAY, SUNDAY
from recurrence.zones import resolve, to_wall

DAY = timedelta(days=1)
MAX_DAYS_MOVED = 400  # a year of days off, and what its end touches
MAX_CACHED_YEARS = 1024


@dataclass(frozen=True, slots=True)
class DayOff:
    """One date, or all dates from `starts_on` to `ends_on`, both included."""

    starts_on: date
    ends_on: date
    name: str


@dataclass(frozen=True, slots=True)
class Calendar:
    """Days off that jobs share: those listed, and a country's public holidays when it has a country.

    A value, and a cheap key of caches. `country` and `subdivision` are what `checked_country` lets through;
    a country's weekend is not implied, `weekend` says it.
    """

    name: str
    days: tuple[DayOff, ...] = ()
    time_zone: str | None = None  # None: dates are read in the job's own zone
    weekend: frozenset[int] = frozenset({SUNDAY, SATURDAY})  # no working days when an occurrence is moved
    country: str | None = None
    subdivision: str | None = None

    def __hash__(self) -> int:
        # Hashing hundreds of days at every look-up would cost more than the look-up; equality still compares them.
        return hash((self.name, len(self.days), self.time_zone, self.country, self.subdivision))


def day_off_at(calendars: Sequence[Calendar], at: datetime, time_zone: str) -> str | None:
    """The name of the day off on which the instant `at` (aware) falls, or None on an ordinary day.

    `time_zone` is the job's, for calendars without one. The first calendar with a name wins, and in it the
    days listed before the country's. A weekend is no day off. Raises ValueError when `at` is naive.
    """
    _check_aware(at)
    for calendar in calendars:
        day = to_wall(ZoneInfo(calendar.time_zone or time_zone), at).date()
        name = _names(calendar, day.year).get(day)
        if name is not None:
            return name
    return None


def next_working_time(calendars: Sequence[Calendar], at: datetime, time_zone: str) -> datetime | None:
    """The wall time of `at` in the job's zone on the next date that is a working day in all calendars, as UTC.

    A working day is no weekend day of any calendar by its date in the job's zone, and no day off of any at the
    resulting instant. A wall time in a gap is right after it, one that occurs twice is the first. None when
    there is no working day within 400 days. Raises ValueError when `at` is naive.
    """
    _check_aware(at)
    zone = ZoneInfo(time_zone)
    weekend = frozenset[int]().union(*(calendar.weekend for calendar in calendars))
    wall = to_wall(zone, at)
    for _ in range(MAX_DAYS_MOVED):
        wall += DAY
        if wall.year > LAST_YEAR:
            return None
        if wall.isoweekday() % 7 in weekend:
            continue
        moved, _passage = resolve(zone, wall)
        # A zone that crossed the date line skipped a whole date; its times resolve to the next one.
        if to_wall(zone, moved).date() == wall.date() and day_off_at(calendars, moved, time_zone) is None:
            return moved
    return None


def _check_aware(at: datetime) -> None:
    if at.utcoffset() is None:
        raise ValueError(f"at {at.isoformat()} is naive: allowed a datetime with a time zone")


@lru_cache(maxsize=MAX_CACHED_YEARS)
def _names(calendar: Calendar, year: int) -> Mapping[date, str]:
    names: dict[date, str] = {}
    for day_off in calendar.days:
        day = max(day_off.starts_on, date(year, 1, 1))
        last = min(day_off.ends_on, date(year, 12, 31))
        for offset in range((last - day).days + 1):
            names.setdefault(day + timedelta(days=offset), day_off.name)
    if calendar.country is not None:
        names = {**country_days_off(calendar.country, calendar.subdivision, year), **names}
    return MappingProxyType(names)
