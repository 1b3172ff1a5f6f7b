"""When a rule fires: instants in UTC, with Debian cron's treatment of daylight saving.

A rule with a fixed minute and hour runs once on a day whose wall clock skips or repeats that time. A rule
whose minute or hour starts with `*` follows real time: nothing in a gap, both passes of an overlap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from recurrence.rules import Rule
from recurrence.wall_calendar import LAST_YEAR, SEARCH_YEARS, WallCalendar, wall_calendar_of
from recurrence.zones import Passage, constant_offsets, passage_of, resolve, to_wall

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
# Two offsets of one zone, decades apart, differ by up to 25 hours (Pacific/Apia moved across the date line).
OFFSET_MARGIN = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One firing: `at` in UTC, `local` in the rule's zone, `note` on daylight saving or empty."""

    at: datetime
    local: datetime
    note: str


class _Firing(NamedTuple):
    at: datetime
    wall: datetime  # what the rule asked for; in a gap, not what the clock shows
    passage: Passage


def next_occurrence(rule: Rule, after: datetime) -> datetime | None:
    """The first instant, in UTC, strictly after `after` (aware) at which the rule fires.

    None when there is none within 50 years: for instance every 10 minutes of an hour that daylight saving
    always skips. Raises ValueError when `after` is naive.
    """
    firing = _next_firing(rule, _utc(after, "after"))
    return None if firing is None else firing.at


def occurrences(
    rule: Rule, after: datetime, until: datetime | None = None, limit: int | None = None
) -> Iterator[Occurrence]:
    """The rule's occurrences strictly after `after`, up to and including `until`, at most `limit` of them.

    Endless without `until` and `limit`. Raises ValueError when `after` or `until` is naive.
    """
    start = _utc(after, "after")
    end = None if until is None else _utc(until, "until")
    return islice(_occurrences(rule, start, end), limit)


def _occurrences(rule: Rule, after: datetime, until: datetime | None) -> Iterator[Occurrence]:
    zone = ZoneInfo(rule.time_zone)
    follows_real_time = wall_calendar_of(rule.expression).follows_real_time
    firing = _next_firing(rule, after)
    while firing is not None and (until is None or firing.at <= until):
        local = firing.at.astimezone(zone)
        yield Occurrence(firing.at, local, _note(firing, local, follows_real_time))
        firing = _next_firing(rule, firing.at)


def _utc(moment: datetime, name: str) -> datetime:
    if moment.utcoffset() is None:
        raise ValueError(f"{name} {moment.isoformat()} is naive: allowed a datetime with a time zone")
    if moment.year <= 1:
        raise ValueError(f"{name} {moment.isoformat()} is too early: allowed from year 2")
    return moment.astimezone(UTC) if moment.year <= LAST_YEAR else moment.replace(tzinfo=UTC)


def _next_firing(rule: Rule, after: datetime) -> _Firing | None:
    if after.year > LAST_YEAR:
        return None
    wall_calendar = wall_calendar_of(rule.expression)
    zone = ZoneInfo(rule.time_zone)
    if wall_calendar.follows_real_time:
        return _next_in_real_time(wall_calendar, zone, after)
    return _next_by_the_wall(wall_calendar, zone, after)


def _next_by_the_wall(wall_calendar: WallCalendar, zone: ZoneInfo, after: datetime) -> _Firing | None:
    wall = wall_calendar.at_or_after(_earliest_wall(zone, after))
    while wall is not None:
        at, passage = resolve(zone, wall)
        if at > after:
            return _Firing(at, wall, passage)
        # `after` lies in the second pass of an overlap: these times have run in the first. Or offsets have odd seconds.
        wall = wall_calendar.at_or_after(wall + MINUTE)
    return None


def _next_in_real_time(wall_calendar: WallCalendar, zone: ZoneInfo, after: datetime) -> _Firing | None:
    start = after.replace(microsecond=0) + timedelta(seconds=1)
    last_year = min(after.year + SEARCH_YEARS, LAST_YEAR)
    while start.year <= last_year:
        stop = start + DAY
        for begin, end, offset in constant_offsets(zone, start, stop):
            wall = wall_calendar.at_or_after((begin + offset).replace(tzinfo=None))
            if wall is None:
                return None
            at = (wall - offset).replace(tzinfo=UTC)
            if at < end:
                return _Firing(at, wall, passage_of(at.astimezone(zone)))
        # Nothing that day. Leap to where the next matching wall time comes near.
        nearby = to_wall(zone, stop) - OFFSET_MARGIN
        upcoming = wall_calendar.at_or_after(nearby)
        if upcoming is None:
            return None
        start = stop + max(timedelta(0), upcoming - nearby - 2 * OFFSET_MARGIN)
    return None


def _earliest_wall(zone: ZoneInfo, after: datetime) -> datetime:
    """A whole minute of the wall clock such that every fixed time before it has run by `after`.

    Offsets had odd seconds until 1972: a time that one skips runs up to a minute after the change, so look
    back to before it.
    """
    minute = after.replace(second=0, microsecond=0)
    wall = to_wall(zone, minute)
    if wall.second:
        wall = to_wall(zone, minute - MINUTE).replace(second=0)
    return wall + MINUTE


def _note(firing: _Firing, local: datetime, follows_real_time: bool) -> str:
    if firing.passage is Passage.ONCE:
        return ""
    wanted = f"{firing.wall:%H:%M}"
    if firing.passage is Passage.MISSING:
        if local.date() == firing.wall.date():
            return f"{wanted} does not exist on this day: runs at {local:%H:%M}"
        return f"{firing.wall:%Y-%m-%d} {wanted} does not exist: runs at {local:%Y-%m-%d %H:%M}"
    if follows_real_time:
        time = "second" if local.fold else "first"
        return f"{wanted} occurs twice on this day: runs both times, this is the {time}"
    return f"{wanted} occurs twice on this day: runs once, the first time"
