"""What a rule does on calendars with days off: which occurrences run, which are left out, which move.

An occurrence on a day off is left out, or moves to the same wall time on the next working day. Several
that move to one instant, or to one of an ordinary occurrence, are one run.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from recurrence.days_off import Calendar, day_off_at, next_working_time
from recurrence.occurrences import Occurrence, next_occurrence, occurrences
from recurrence.rules import Rule
from recurrence.zones import resolve, to_wall

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
MAX_DAYS_OFF_IN_A_ROW = 800


@dataclass(frozen=True, slots=True)
class Coming:
    """An instant of the schedule. With `day_off` it does not run then, but at `moved_to` if there is one.

    `is_moved` tells a run that only stands in for occurrences on days off. `at` is UTC, `local` in the rule's
    zone, `note` on daylight saving or empty.
    """

    at: datetime
    local: datetime
    note: str = ""
    day_off: str | None = None
    moved_to: datetime | None = None
    is_moved: bool = False

    @property
    def runs(self) -> bool:
        return self.day_off is None


def coming(
    rule: Rule,
    after: datetime,
    calendars: tuple[Calendar, ...] = (),
    *,
    moves: bool = False,
    pending: Iterable[datetime] = (),
    until: datetime | None = None,
    limit: int | None = None,
) -> Iterator[Coming]:
    """What the schedule does strictly after `after`, in order, up to `until`, at most `limit` of them.

    `pending` are moved runs that earlier days off left. Raises ValueError as `occurrences` does.
    """
    return islice(_coming(rule, after, calendars, moves, pending, until), limit)


def next_on_ordinary_day(
    rule: Rule,
    after: datetime,
    calendars: tuple[Calendar, ...],
    *,
    moves: bool = False,
    pending: Iterable[datetime] = (),
) -> datetime | None:
    """When the schedule runs next, strictly after `after`, in UTC; None when days off go on for years."""
    zone = ZoneInfo(rule.time_zone)
    found = [at for at in pending if at > after and day_off_at(calendars, at, rule.time_zone) is None]
    at = next_occurrence(rule, after)
    for _ in range(MAX_DAYS_OFF_IN_A_ROW):
        if at is None or day_off_at(calendars, at, rule.time_zone) is None:
            break
        # The first time of a day is also the first of those that move with it.
        if moves and (moved_to := next_working_time(calendars, at, rule.time_zone)):
            found.append(moved_to)
        at = next_occurrence(rule, _end_of_day_off(zone, rule, calendars, at))
    else:
        at = None
    return min([*found, *([at] if at is not None else [])], default=None)


def _coming(
    rule: Rule,
    after: datetime,
    calendars: tuple[Calendar, ...],
    moves: bool,
    pending: Iterable[datetime],
    until: datetime | None,
) -> Iterator[Coming]:
    zone = ZoneInfo(rule.time_zone)
    moved = sorted({at for at in pending if at > after})
    for occurrence in occurrences(rule, after, until):
        while moved and moved[0] < occurrence.at:
            yield _stand_in(heapq.heappop(moved), zone)
        if moved and moved[0] == occurrence.at:
            heapq.heappop(moved)
        item = _place(rule, occurrence, calendars, moves)
        if item.moved_to is not None and item.moved_to not in moved:
            heapq.heappush(moved, item.moved_to)
        yield item
    while moved and (until is None or moved[0] <= until):
        yield _stand_in(heapq.heappop(moved), zone)


def _place(rule: Rule, occurrence: Occurrence, calendars: tuple[Calendar, ...], moves: bool) -> Coming:
    day_off = day_off_at(calendars, occurrence.at, rule.time_zone) if calendars else None
    moved_to = next_working_time(calendars, occurrence.at, rule.time_zone) if day_off is not None and moves else None
    return Coming(occurrence.at, occurrence.local, occurrence.note, day_off, moved_to)


def _stand_in(at: datetime, zone: ZoneInfo) -> Coming:
    return Coming(at, at.astimezone(zone), is_moved=True)


def _end_of_day_off(zone: ZoneInfo, rule: Rule, calendars: tuple[Calendar, ...], at: datetime) -> datetime:
    """Where to go on looking: the last instant of that local day, if all of the rest of it is off as well."""
    tomorrow = datetime.combine(to_wall(zone, at.astimezone(UTC)).date() + DAY, time())
    end = resolve(zone, tomorrow).instant - TICK
    return end if end > at and day_off_at(calendars, end, rule.time_zone) is not None else at
