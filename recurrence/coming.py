"""What a rule does on calendars with days off: which occurrences run, which are left out, which move.

An occurrence on a day off is left out, or moves to the same wall time on the next working day. Several
that move to one instant, or to one of an ordinary occurrence, are one run. One that moved to a day that was
made a day off since is treated as an occurrence of its own.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from recurrence.days_off import Calendar, day_off_at, next_working_time
from recurrence.occurrences import next_occurrence, occurrences
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
    """When the schedule runs next, strictly after `after`, in UTC; None when days off go on for years.

    The first of `coming` that runs, without walking through all of a minutely schedule's days off.
    """
    zones = {ZoneInfo(name) for name in (rule.time_zone, *(calendar.time_zone for calendar in calendars)) if name}
    placed = [_place(rule, at, calendars, moves) for at in pending if at > after]
    first = min((at for item in placed if (at := item.at if item.day_off is None else item.moved_to)), default=None)
    at = next_occurrence(rule, after)
    for _ in range(MAX_DAYS_OFF_IN_A_ROW * len(zones)):
        if at is None or (first is not None and first <= at):
            return first
        place = _place(rule, at, calendars, moves)
        if place.day_off is None:
            return at
        first = min((moved for moved in (first, place.moved_to) if moved is not None), default=None)
        # Among times that share their dates in all zones, the first is also the first of those that move, unless
        # the clocks of the zones do not go alike until then.
        is_first = place.moved_to is None or len({to_wall(z, place.moved_to) - to_wall(z, at) for z in zones}) == 1
        at = next_occurrence(rule, _last_of_the_same_dates(zones, at) if is_first else at)
    return first


class _Place(NamedTuple):
    at: datetime
    day_off: str | None
    moved_to: datetime | None


def _coming(
    rule: Rule,
    after: datetime,
    calendars: tuple[Calendar, ...],
    moves: bool,
    pending: Iterable[datetime],
    until: datetime | None,
) -> Iterator[Coming]:
    zone = ZoneInfo(rule.time_zone)
    waiting = {at for at in pending if at > after}
    moved = sorted(waiting)  # a heap of what `waiting` holds
    upcoming = occurrences(rule, after, until)
    occurrence = next(upcoming, None)
    while occurrence is not None or (moved and (until is None or moved[0] <= until)):
        is_moved = occurrence is None or (bool(moved) and moved[0] < occurrence.at)
        at = moved[0] if occurrence is None or is_moved else occurrence.at
        if at in waiting:
            waiting.remove(heapq.heappop(moved))
        _, day_off, moved_to = _place(rule, at, calendars, moves)
        if moved_to is not None and moved_to not in waiting:
            waiting.add(moved_to)
            heapq.heappush(moved, moved_to)
        if occurrence is None or is_moved:
            yield Coming(at, at.astimezone(zone), "", day_off, moved_to, is_moved=True)
        else:
            yield Coming(at, occurrence.local, occurrence.note, day_off, moved_to)
            occurrence = next(upcoming, None)


def _place(rule: Rule, at: datetime, calendars: tuple[Calendar, ...], moves: bool) -> _Place:
    """On which day off the instant falls, if on one, and where it goes."""
    day_off = day_off_at(calendars, at, rule.time_zone)
    is_moving = day_off is not None and moves
    return _Place(at, day_off, next_working_time(calendars, at, rule.time_zone) if is_moving else None)


def _last_of_the_same_dates(zones: Iterable[ZoneInfo], at: datetime) -> datetime:
    """The last instant at which it is the same date as at `at` in all the zones; `at` where that is hard to tell."""
    ends = [
        resolve(zone, datetime.combine(to_wall(zone, at.astimezone(UTC)).date() + DAY, time())).instant
        for zone in zones
    ]
    # A clock that goes back over midnight passes it twice: beyond the first passing, the date may still be the old one.
    return max(at, min(ends) - TICK)
