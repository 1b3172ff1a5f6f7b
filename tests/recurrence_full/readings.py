"""Three readings of a schedule that share no code with the product, and the rule for which one decides.

`by_cronsim` is Debian cron as cronsim has it, `by_walk` the definition of a rule that follows real time,
`by_calendar` the daily, weekly and monthly types in plain datetime arithmetic.
"""

import calendar
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim

from tests.recurrence_full.cases import DAY, MINUTE, SCANNED_UNTIL, Case, ClockChange, clock_changes

MINUTES_A_DAY = 1440


def is_cronsim_sound(case: Case, until: datetime) -> bool:
    """Whether cronsim can be trusted from the case's start until `until`.

    Fixed times: always; it takes them from naive wall times, as Debian does. Rules with a star: it steps in
    whole hours and restarts at local midnight, so only where every change of the clock leads from a full
    hour to a full hour and neither skips, repeats nor touches midnight.
    """
    if case.is_fixed_time:
        return True
    if until + DAY >= SCANNED_UNTIL:
        return False
    changes = clock_changes(case.rule.time_zone)
    return all(_suits_cronsim(change) for change in changes if case.start - DAY <= change.at <= until + DAY)


def _suits_cronsim(change: ClockChange) -> bool:
    first, last = sorted((change.wall_before, change.wall_after))
    touches_midnight = first.date() != last.date() or first.time() == time()
    return first.minute == last.minute == 0 and not touches_midnight


def by_cronsim(case: Case, count: int) -> list[datetime]:
    found: list[datetime] = []
    for local in CronSim(case.expression, case.start.astimezone(ZoneInfo(case.rule.time_zone))):
        at = local.astimezone(UTC)
        # From within the second pass of an overlap, cronsim first names times of the first pass.
        if at > case.start:
            found.append(at)
        if len(found) == count:
            break
    return found


def by_walk(case: Case, until: datetime) -> list[datetime]:
    """Every minute of UTC after the start whose local time the rule names.

    Minutes with the same offset are looked up together; the unit tests check that against single steps.
    """
    fields = CronSim(case.expression, datetime(2024, 1, 1, tzinfo=UTC))
    minutes_of_day = [hour * 60 + minute for hour in sorted(fields.hours) for minute in sorted(fields.minutes)]
    found: list[datetime] = []
    day = case.start.date()
    while day <= until.date():
        matching = [shift for shift in (-1, 0, 1) if _names_date(fields, day + shift * DAY)]
        if matching:
            midnight = datetime.combine(day, time(), UTC)
            for first, end, offset in _offsets_of_day(case.rule.time_zone, day):
                named = (shift * MINUTES_A_DAY + minute - offset for shift in matching for minute in minutes_of_day)
                found.extend(midnight + minute * MINUTE for minute in named if first <= minute < end)
        day += DAY
    return [at for at in found if case.start < at <= until]


def _names_date(fields: CronSim, day: date) -> bool:
    return day.month in fields.months and fields.match_day(day)


@lru_cache(maxsize=200_000)
def _offsets_of_day(time_zone: str, day: date) -> tuple[tuple[int, int, int], ...]:
    """A UTC day as (first minute, end minute, offset in minutes), read from the zone hour by hour.

    Where two hours differ, minute by minute.
    """
    zone = ZoneInfo(time_zone)
    midnight = datetime.combine(day, time(), UTC)

    def offset(minute: int) -> int:
        return ((midnight + minute * MINUTE).astimezone(zone).utcoffset() or timedelta(0)) // MINUTE

    if len({offset(hour * 60) for hour in range(25)}) == 1:
        return ((0, MINUTES_A_DAY, offset(0)),)
    offsets = [offset(minute) for minute in range(MINUTES_A_DAY)]
    starts = [minute for minute in range(MINUTES_A_DAY) if minute == 0 or offsets[minute] != offsets[minute - 1]]
    return tuple((first, end, offsets[first]) for first, end in zip(starts, [*starts[1:], MINUTES_A_DAY], strict=True))


def by_calendar(case: Case, count: int) -> list[datetime]:
    """The first `count` runs of a daily, weekly or monthly schedule, date after date."""
    zone = ZoneInfo(case.rule.time_zone)
    at_time = time(int(str(case.config["hour"])), int(str(case.config["minute"])))
    found: list[datetime] = []
    day = case.start.date() - 3 * DAY
    while len(found) < count:
        if _runs_on(case, day):
            at = _first_passing(zone, datetime.combine(day, at_time))
            if at > case.start and at not in found[-2:]:
                found.append(at)
        day += DAY
    return found


def _runs_on(case: Case, day: date) -> bool:
    if case.schedule_type == "daily":
        return True
    if case.schedule_type == "weekly":
        wanted = case.config["day_of_week"]
        weekdays = wanted if isinstance(wanted, list) else [wanted]
        return day.isoweekday() in weekdays or (day.isoweekday() == 7 and 0 in weekdays)
    length = calendar.monthrange(day.year, day.month)[1]
    wanted = case.config["day"]
    return day.day == (length if wanted == "last" else min(int(str(wanted)), length))


def _first_passing(zone: ZoneInfo, wall: datetime) -> datetime:
    """The instant at which a clock first shows `wall`, or the first time after it that the clock shows."""
    while True:
        at = wall.replace(tzinfo=zone).astimezone(UTC)
        if at.astimezone(zone).replace(tzinfo=None) == wall:
            return at
        wall += MINUTE
