"""Which wall times a canonical cron expression names, with no time zone in sight.

A `WallCalendar` answers one question, the first matching wall time at or after another. Datetimes here
are naive on purpose.
"""

import calendar
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache

from croniter import croniter

from recurrence.cron_syntax import FIELDS, Field
from recurrence.errors import InvalidScheduleError

# 29 February on a given weekday can be 40 years away (it skips 2100); nothing is rarer.
SEARCH_YEARS = 50
LAST_YEAR = 9998  # one short of datetime's own, so that zone arithmetic never overflows

SUNDAY, SATURDAY = 0, 6
LONGEST_MONTH = 31
LAST = -1  # in place of 1-5: the last one of the month


# Compared by identity: one object per expression, so that caches keyed by it hash in no time.
@dataclass(frozen=True, slots=True, eq=False)
class WallCalendar:
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: frozenset[int]
    days: frozenset[int]
    has_last_day: bool
    clamped_day: int | None  # this day, or the last one of a month that lacks it
    nearest_weekdays_to: frozenset[int]  # days whose nearest Monday to Friday in the month; LW is that of 31
    weekdays: frozenset[int]  # 0 = Sunday
    nth_weekdays: frozenset[tuple[int, int]]  # (weekday, 1-5 or LAST)
    needs_both_days: bool  # day of month AND day of week; otherwise either will do
    follows_real_time: bool  # minute or hour starts with "*"

    def at_or_after(self, wall: datetime) -> datetime | None:
        """The first matching wall time at or after `wall`, or None within the next 50 years."""
        if wall.second or wall.microsecond:
            wall = wall.replace(second=0, microsecond=0) + timedelta(minutes=1)
        for day in self._dates_from(wall.date()):
            found = self._time_at_or_after(wall.hour, wall.minute) if day == wall.date() else self._first_time
            if found is not None:
                return datetime.combine(day, time(*found))
        return None

    @property
    def _first_time(self) -> tuple[int, int]:
        return self.hours[0], self.minutes[0]

    def _time_at_or_after(self, hour: int, minute: int) -> tuple[int, int] | None:
        position = bisect_left(self.hours, hour)
        if position < len(self.hours) and self.hours[position] == hour:
            minute_position = bisect_left(self.minutes, minute)
            if minute_position < len(self.minutes):
                return hour, self.minutes[minute_position]
            position += 1
        if position < len(self.hours):
            return self.hours[position], self.minutes[0]
        return None

    def _dates_from(self, start: date) -> Iterator[date]:
        year, month, first_day = start.year, start.month, start.day
        end_year = min(start.year + SEARCH_YEARS, LAST_YEAR)
        while year <= end_year:
            if month in self.months:
                first_weekday, length = calendar.monthrange(year, month)
                for day in matching_days(self, length, (first_weekday + 1) % 7):
                    if day >= first_day:
                        yield date(year, month, day)
            year, month, first_day = (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)


@lru_cache(maxsize=32_768)
def matching_days(wall_calendar: WallCalendar, length: int, first_weekday: int) -> tuple[int, ...]:
    """The matching days of any month with `length` days that begins on `first_weekday` (0 = Sunday)."""
    return tuple(day for day in range(1, length + 1) if _matches(wall_calendar, day, length, first_weekday))


def _matches(wall_calendar: WallCalendar, day: int, length: int, first_weekday: int) -> bool:
    weekday = (first_weekday + day - 1) % 7
    by_date = (
        day in wall_calendar.days
        or (wall_calendar.has_last_day and day == length)
        or (wall_calendar.clamped_day is not None and day == min(wall_calendar.clamped_day, length))
        or any(day == _nearest_weekday(target, length, first_weekday) for target in wall_calendar.nearest_weekdays_to)
    )
    by_weekday = (
        weekday in wall_calendar.weekdays
        or (weekday, (day + 6) // 7) in wall_calendar.nth_weekdays
        or ((weekday, LAST) in wall_calendar.nth_weekdays and day + 7 > length)
    )
    return by_date and by_weekday if wall_calendar.needs_both_days else by_date or by_weekday


def _nearest_weekday(target: int, length: int, first_weekday: int) -> int:
    """The Monday to Friday nearest `target`, or nearest the last day where the month ends before.

    Never in another month: from Saturday the 1st it is Monday the 3rd. As Quartz and croniter have it.
    """
    target = min(target, length)
    weekday = (first_weekday + target - 1) % 7
    if weekday == SATURDAY:
        return target - 1 if target > 1 else target + 2
    if weekday == SUNDAY:
        return target + 1 if target < length else target - 2
    return target


@lru_cache(maxsize=4096)
def wall_calendar_of(expression: str) -> WallCalendar:
    """The calendar of a canonical expression.

    Its day field may also be `~30`: day 30, or the last day of a month that has none. Raises
    InvalidScheduleError when no month of any year has a matching day.
    """
    tokens = expression.split(" ")
    minutes, hours, days, months, weekdays = _expanded(tokens)
    minute_token, hour_token, day_token, _, weekday_token = tokens
    day_terms, weekday_terms = day_token.split(","), weekday_token.split(",")
    wall_calendar = WallCalendar(
        minutes=minutes,
        hours=hours,
        months=frozenset(months),
        days=frozenset(days),
        has_last_day="L" in day_terms,
        clamped_day=int(day_token[1:]) if day_token.startswith("~") else None,
        nearest_weekdays_to=frozenset(
            LONGEST_MONTH if term == "LW" else int(term[:-1]) for term in day_terms if term.endswith("W")
        ),
        weekdays=frozenset(day % 7 for day in weekdays),
        nth_weekdays=frozenset(_nth_weekday(term) for term in weekday_terms if not _is_plain(term)),
        # crontab(5): a leading star, "*/2" included, restricts nothing that the other field allows.
        needs_both_days=day_token.startswith("*") or weekday_token.startswith("*"),
        follows_real_time=minute_token.startswith("*") or hour_token.startswith("*"),
    )
    if not _ever_fires(wall_calendar):
        raise InvalidScheduleError(f'never fires: "{expression}" names days that none of its months has')
    return wall_calendar


def _expanded(tokens: list[str]) -> list[tuple[int, ...]]:
    """The sorted values of each field, leaving out terms that croniter has no plain values for."""
    plain = [[term for term in token.split(",") if _is_plain(term)] for token in tokens]
    expanded = croniter.expand(" ".join(",".join(terms) or "*" for terms in plain))[0]
    return [
        _values(field, values) if terms else () for field, terms, values in zip(FIELDS, plain, expanded, strict=True)
    ]


def _values(field: Field, values: Sequence[int | str]) -> tuple[int, ...]:
    if "*" in values:  # croniter keeps it beside the others in a list such as "*,5"
        return tuple(range(field.low, field.high + 1))
    return tuple(sorted(int(value) for value in values))


def _is_plain(term: str) -> bool:
    return not any(mark in term for mark in "L#~W")


def _nth_weekday(term: str) -> tuple[int, int]:
    weekday, _, nth = term.replace("L", f"#{LAST}").partition("#")
    return int(weekday), int(nth)


def _ever_fires(wall_calendar: WallCalendar) -> bool:
    """Exact: over the Gregorian cycle every month, of every length it has, begins on every weekday."""
    lengths = {month: {calendar.monthrange(year, month)[1] for year in (2023, 2024)} for month in range(1, 13)}
    return any(
        matching_days(wall_calendar, length, first_weekday)
        for month in wall_calendar.months
        for length in lengths[month]
        for first_weekday in range(7)
    )
