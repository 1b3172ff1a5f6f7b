"""Random schedules, zones and starts, all from one seed; starts lie near changes of the zone's clock."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from recurrence import InvalidScheduleError, Rule, next_occurrence, parse_rule

ZONES = (
    "America/New_York",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Dublin",  # negative daylight saving in winter
    "Africa/Casablanca",  # negative daylight saving in Ramadan, until 2026
    "Antarctica/Troll",  # two hours at a time
    "Australia/Lord_Howe",  # half an hour at a time
    "Africa/Cairo",  # at midnight
    "Asia/Beirut",
    "Asia/Gaza",  # tabled year by year until 2086, by a rule from then on
    "America/Santiago",
    "America/Asuncion",
    "America/Havana",
    "America/St_Johns",  # at one minute past midnight until 2011
    "Pacific/Chatham",  # at 02:45
    "Pacific/Apia",  # no 30 December 2011
    "Asia/Kolkata",
    "UTC",
)
SCANNED_FROM, SCANNED_UNTIL = datetime(2000, 1, 1, tzinfo=UTC), datetime(2150, 1, 1, tzinfo=UTC)
STARTS_UNTIL = datetime(2045, 1, 1, tzinfo=UTC)
DAY, MINUTE, ZERO = timedelta(days=1), timedelta(minutes=1), timedelta(0)
DATE_LINE = timedelta(hours=12)  # a shift this large is one across the date line
MINUTES_AROUND_CHANGE = ((-90, 90), (-1_500, 800), (-8_000, 100), (-60_000, 0))
MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class ClockChange(NamedTuple):
    at: datetime
    wall_before: datetime  # where the clock would have gone on
    wall_after: datetime  # where it does

    @property
    def shift(self) -> timedelta:
        return self.wall_after - self.wall_before


class Case(NamedTuple):
    schedule_type: str
    config: dict[str, object]
    rule: Rule
    start: datetime

    @property
    def expression(self) -> str:
        return str(self.config["cron_expression"])

    @property
    def is_fixed_time(self) -> bool:
        """By crontab(5), from the text as written: neither minute nor hour starts with a star."""
        minute, hour = self.expression.split()[:2]
        return not minute.startswith("*") and not hour.startswith("*")


@cache
def clock_changes(time_zone: str) -> tuple[ClockChange, ...]:
    """Every change of offset from 2000 to 2150, to the minute."""
    zone = ZoneInfo(time_zone)
    found: list[ClockChange] = []
    day = SCANNED_FROM
    while day < SCANNED_UNTIL:
        low, high = day, day + DAY
        before, after = _offset(zone, low), _offset(zone, high)
        if before != after:
            while high - low > MINUTE:
                middle = low + (high - low) // MINUTE // 2 * MINUTE
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            wall = high.replace(tzinfo=None)
            found.append(ClockChange(high, wall + before, wall + after))
        day += DAY
    return tuple(found)


def cron_cases(seed: str, count: int, time_zones: tuple[str, ...] = ZONES) -> Iterator[Case]:
    chance = random.Random(seed)
    made = 0
    while made < count:
        expression = _expression(chance)
        time_zone = chance.choice(time_zones)
        config: dict[str, object] = {"cron_expression": expression}
        try:
            rule = parse_rule("custom", config, time_zone)
        except InvalidScheduleError as error:
            if not str(error).startswith("never fires") or _fires_in_cronsim(expression):
                raise
            continue
        made += 1
        yield Case("custom", config, rule, _start(chance, rule))


def simple_cases(seed: str, count: int, time_zones: tuple[str, ...] = ZONES) -> Iterator[Case]:
    chance = random.Random(seed)
    for _ in range(count):
        time_zone = chance.choice(time_zones)
        schedule_type, config = _simple_schedule(chance)
        rule = parse_rule(schedule_type, config, time_zone)
        yield Case(schedule_type, config, rule, _start(chance, rule))


def _simple_schedule(chance: random.Random) -> tuple[str, dict[str, object]]:
    hour = chance.choice((chance.randint(0, 4), chance.randint(0, 23), 23))
    config: dict[str, object] = {"hour": hour, "minute": chance.choice((0, 15, 30, chance.randint(0, 59)))}
    schedule_type = chance.choice(("daily", "weekly", "monthly"))
    if schedule_type == "weekly":
        days = [chance.randint(0, 7) for _ in range(chance.randint(1, 4))]
        config["day_of_week"] = days[0] if len(days) == 1 else days
    elif schedule_type == "monthly":
        config["day"] = chance.choice((chance.randint(1, 31), chance.randint(28, 31), "last"))
    return schedule_type, config


def _start(chance: random.Random, rule: Rule) -> datetime:
    """Near a change of the zone's clock; on or within a second, and one time in six exactly on an occurrence."""
    changes = [change for change in clock_changes(rule.time_zone) if change.at < STARTS_UNTIL]
    across_date_line = [change for change in changes if abs(change.shift) > DATE_LINE]
    if across_date_line and chance.random() < 0.25:
        changes = across_date_line
    if changes:
        moment = chance.choice(changes).at
    else:
        moment = datetime(chance.randint(2000, 2044), chance.choice((1, 2, 3, 12)), 28, tzinfo=UTC)
    minutes = chance.randint(*chance.choice(MINUTES_AROUND_CHANGE))
    moment += timedelta(
        minutes=minutes,
        seconds=chance.choice((0, 0, chance.randint(0, 59))),
        microseconds=chance.choice((0, 0, 0, 1, 999_999)),
    )
    return (next_occurrence(rule, moment) or moment) if chance.random() < 1 / 6 else moment


def _expression(chance: random.Random) -> str:
    night = _field(chance, 0, 4, 0.1)  # the hours in which clocks change
    return " ".join(
        (
            _field(chance, 0, 59, 0.15),
            chance.choice((night, _field(chance, 0, 23, 0.2), str(chance.choice((0, 1, 2, 23))))),
            _field(chance, 1, 31, 0.6, ("L", "1,L", "LW", "15,LW")),
            _field(chance, 1, 12, 0.8, names=MONTH_NAMES),
            _field(chance, 0, 7, 0.6, ("5L", "1#2", "sun#1,3#5", "7L", "4#4"), WEEKDAY_NAMES),
        )
    )


def _field(
    chance: random.Random,
    low: int,
    high: int,
    star: float,
    special: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
) -> str:
    kind = chance.random()
    if kind < star:
        return "*"
    if kind < star + 0.15:
        return f"*/{chance.randint(1, high + 2)}"
    if special and kind < star + 0.25:
        return chance.choice(special)
    return ",".join(_term(chance, low, high, names) for _ in range(chance.choice((1, 1, 1, 2, 3))))


def _term(chance: random.Random, low: int, high: int, names: tuple[str, ...]) -> str:
    if chance.random() < 0.05:  # in a list as well: "*,5" and "5,*" differ where a leading star means something
        return "*" + (f"/{chance.randint(1, high)}" if chance.random() < 0.5 else "")
    first, last = sorted(chance.choices(range(low, high + 1), k=2))
    if first == last or chance.random() < 0.5:
        return _value(chance, first, low, names)
    step = f"/{chance.randint(1, 6)}" if chance.random() < 0.4 else ""
    return f"{_value(chance, first, low, names)}-{_value(chance, last, low, names)}{step}"


def _value(chance: random.Random, value: int, low: int, names: tuple[str, ...]) -> str:
    if value - low >= len(names) or chance.random() < 0.6:  # 7 is Sunday by number only
        return str(value)
    return chance.choice((str.lower, str.upper, str.title))(names[value - low])


def _fires_in_cronsim(expression: str) -> bool:
    try:
        return next(CronSim(expression, SCANNED_FROM), None) is not None
    except CronSimError:  # its way of saying that a rule never fires
        return False


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or ZERO
