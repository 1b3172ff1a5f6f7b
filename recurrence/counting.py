"""How often a rule fires in a span of time, and its last occurrences, without walking through all of them.

An outage of months of a minutely schedule is counted by whole days; only days near a change of the clock
and the two ends are walked through.
"""

import calendar
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from recurrence.occurrences import next_occurrence, occurrences
from recurrence.rules import Rule
from recurrence.wall_calendar import WallCalendar, matching_days, wall_calendar_of
from recurrence.zones import resolve, to_wall

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
FIRST_SPAN = timedelta(hours=1)


def count_occurrences(rule: Rule, after: datetime, until: datetime) -> int:
    """How many occurrences lie strictly after `after` and up to and including `until` (both aware)."""
    zone = ZoneInfo(rule.time_zone)
    wall_calendar = wall_calendar_of(rule.expression)
    per_day = len(wall_calendar.hours) * len(wall_calendar.minutes)
    first = to_wall(zone, after.astimezone(UTC)).date() + DAY
    last = to_wall(zone, until.astimezone(UTC)).date()  # this day and the one of `after` are walked through
    count = 0
    walked_from = after
    day = first
    while day < last:
        if _is_quiet(zone, day):
            begin = _midnight(zone, day) - TICK
            count += _walk(rule, walked_from, begin)
            while day < last and _is_quiet(zone, day):
                count += per_day if _matches(wall_calendar, day) else 0
                day += DAY
            walked_from = _midnight(zone, day) - TICK
        else:
            day += DAY
    return count + _walk(rule, walked_from, until)


def last_occurrences(rule: Rule, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """The newest `limit` occurrences strictly after `after` and up to `until`, oldest first, in UTC."""
    span = FIRST_SPAN
    start = max(after, until - span)
    while start > after and count_occurrences(rule, start, until) < limit:
        span *= 2
        start = max(after, until - span)
    return [occurrence.at for occurrence in occurrences(rule, start, until)][-limit:]


def _walk(rule: Rule, after: datetime, until: datetime) -> int:
    count = 0
    at = next_occurrence(rule, after)
    while at is not None and at <= until:
        count += 1
        at = next_occurrence(rule, at)
    return count


def _is_quiet(zone: ZoneInfo, day: date) -> bool:
    """Whether the clock does not change on the day, nor on the day before or after."""
    offsets = {datetime.combine(day + shift * DAY, time(), zone).utcoffset() for shift in (-1, 0, 1, 2)}
    return len(offsets) == 1


def _matches(wall_calendar: WallCalendar, day: date) -> bool:
    if day.month not in wall_calendar.months:
        return False
    first_weekday, length = calendar.monthrange(day.year, day.month)
    return day.day in matching_days(wall_calendar, length, (first_weekday + 1) % 7)


def _midnight(zone: ZoneInfo, day: date) -> datetime:
    return resolve(zone, datetime.combine(day, time())).instant
