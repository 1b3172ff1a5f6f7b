"""When a zone's clock next changes, and what a rule does then, for the preview of a schedule.

The words are read off `occurrences` and the rule's wall times; no rule about daylight saving is made here.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from recurrence.occurrences import occurrences
from recurrence.rules import Rule
from recurrence.wall_calendar import LAST_YEAR, WallCalendar, wall_calendar_of
from recurrence.zones import SECOND, constant_offsets

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
HORIZON = timedelta(days=3 * 365 + 1)
LAST_STARTING_YEAR = LAST_YEAR - 4  # the search from there still ends before LAST_YEAR does
# Runs "go on" after a gap when the next one comes in less than this, and otherwise were simply left out.
GOES_ON_WITHIN = timedelta(hours=1)
MAX_TIMES_NAMED = 3


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A change of a zone's offset from UTC.

    `at`, aware UTC, is the first instant with the new offset. The walls are naive: what the clock would have
    shown then by the old offset, and what it shows.
    """

    at: datetime
    wall_before: datetime
    wall_after: datetime

    @property
    def shift(self) -> timedelta:
        return self.wall_after - self.wall_before

    @property
    def is_forward(self) -> bool:
        """Whether the clock skips times; otherwise it shows some twice."""
        return self.wall_after > self.wall_before


def clock_changes(time_zone: str, after: datetime, limit: int = 2) -> list[ClockChange]:
    """The zone's first changes strictly after `after` (aware) and within three years, at most `limit`.

    Empty for a zone without daylight saving, and before year 2 or after 9994. Raises ValueError when `after` is
    naive.
    """
    if after.utcoffset() is None:
        raise ValueError(f"after {after.isoformat()} is naive: allowed a datetime with a time zone")
    if not 2 <= after.year <= LAST_STARTING_YEAR:
        return []
    start = after.astimezone(UTC)
    changes = _changes_from(time_zone, start.date())
    return [change for change in changes if start < change.at <= start + HORIZON][:limit]


@lru_cache(maxsize=1024)
def _changes_from(time_zone: str, day: date) -> tuple[ClockChange, ...]:
    """All changes after the start of that day of UTC, as far as any instant of the day needs them.

    Day by day: larger steps would jump over Casablanca's Ramadan, five weeks between two changes.
    """
    zone = ZoneInfo(time_zone)
    start = datetime.combine(day, time(), UTC)
    found: list[ClockChange] = []
    for stop in (start + DAY * number for number in range(1, HORIZON.days + 2)):
        for (_, _, before), (at, _, after) in pairwise(constant_offsets(zone, stop - DAY, stop)):
            wall = at.replace(tzinfo=None)
            found.append(ClockChange(at, wall + before, wall + after))
    return tuple(found)


def effect_of(rule: Rule, change: ClockChange) -> str:
    """What the rule does at a change of its own zone's clock, in one line for a person.

    Every date other than the first one is in the words.
    """
    first, last = sorted((change.wall_before, change.wall_after))
    span = f"{first:%H:%M} to {_moment(last, first)}"
    if change.is_forward:
        return f"on {_date(first)} the clock skips {span}: {_effect_of_gap(rule, change)}"
    return f"on {_date(first)} the clock shows {span} twice: {_effect_of_overlap(rule, change)}"


def _effect_of_gap(rule: Rule, change: ClockChange) -> str:
    wall_calendar = wall_calendar_of(rule.expression)
    skipped = _walls(wall_calendar, change.wall_before, change.wall_after)
    if not skipped:
        return "nothing of this schedule falls into it"
    names, is_one = _named(skipped, change.wall_before), len(skipped) == 1
    upcoming = next(occurrences(rule, change.at - SECOND, limit=1), None)
    if wall_calendar.follows_real_time:
        if upcoming and upcoming.at < change.at + GOES_ON_WITHIN:
            end = _moment(change.wall_after, change.wall_before)
            return f"runs go on in real time, none between {change.wall_before:%H:%M} and {end}"
        return f"{names} {'does not exist, does' if is_one else 'do not exist, do'} not run"
    assert upcoming is not None, "a fixed time in a gap runs right after it"
    resumed = upcoming.local.replace(tzinfo=None)
    end = _moment(resumed, change.wall_before)
    if _walls(wall_calendar, resumed, resumed + MINUTE):
        return f"{names} {'does not exist, falls' if is_one else 'do not exist, fall'} together with the run at {end}"
    return f"{names} {'does not exist, runs' if is_one else 'do not exist, one run'} at {end}"


def _effect_of_overlap(rule: Rule, change: ClockChange) -> str:
    length = -change.shift
    runs = list(occurrences(rule, change.at - length - SECOND, until=change.at + length - SECOND))
    if not runs:
        return "nothing of this schedule falls into it"
    walls = sorted({run.local.replace(tzinfo=None, fold=0) for run in runs})
    times = "both times" if any(run.local.fold for run in runs) else "once, the first time"
    return f"{_named(walls, change.wall_after)} {'runs' if len(walls) == 1 else 'run'} {times}"


def _walls(wall_calendar: WallCalendar, start: datetime, stop: datetime) -> list[datetime]:
    """The wall times that the calendar names in [start, stop)."""
    found: list[datetime] = []
    wall = wall_calendar.at_or_after(start)
    while wall is not None and wall < stop:
        found.append(wall)
        wall = wall_calendar.at_or_after(wall + MINUTE)
    return found


def _named(walls: list[datetime], context: datetime) -> str:
    """ "01:00, 01:15, 01:30 and 4 more", with the date of those that are not on the context's."""
    names = [_moment(wall, context) for wall in walls[:MAX_TIMES_NAMED]]
    if len(walls) > MAX_TIMES_NAMED:
        names.append(f"{len(walls) - MAX_TIMES_NAMED} more")
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _moment(wall: datetime, context: datetime) -> str:
    return f"{wall:%H:%M}" if wall.date() == context.date() else f"{wall:%H:%M} on {_date(wall)}"


def _date(wall: datetime) -> str:
    return f"{wall:%a} {wall.day} {wall:%b %Y}"
