"""The same instants as two independent readings of Debian cron, on random rules near clock changes.

`cronsim` is the reference. Its walk for `*` rules steps by whole hours from local midnight, so where clocks
change at midnight or by other than whole hours it misses or invents runs (and once in a while never
returns); there the reference is the definition itself: every minute of UTC, matched by its local time.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError

from recurrence import InvalidScheduleError, Rule, describe, occurrences, parse_rule

PLAIN_ZONES = ("America/New_York", "Europe/London", "Europe/Dublin", "Asia/Kolkata", "UTC", "Antarctica/Troll")
ODD_ZONES = (
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Asia/Beirut",
    "America/Santiago",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Pacific/Chatham",
    "America/Havana",
    "America/St_Johns",
)
COMPARED = 20  # occurrences per rule


@cache
def clock_changes(time_zone: str) -> list[datetime]:
    """Instants within six hours after each change of offset, 2010 to 2031; one date where there is none."""
    zone = ZoneInfo(time_zone)
    moments = [datetime(2010, 1, 1, tzinfo=UTC) + timedelta(hours=6 * step) for step in range(4 * 365 * 21)]
    offsets = [moment.astimezone(zone).utcoffset() for moment in moments]
    changes = [moments[i] for i in range(1, len(moments)) if offsets[i] != offsets[i - 1]]
    return changes or [datetime(2024, 3, 10, tzinfo=UTC)]


def random_term(chance: random.Random, low: int, high: int) -> str:
    first, last = sorted(chance.choices(range(low, high + 1), k=2))
    if first == last or chance.random() < 0.5:
        return str(first)
    return f"{first}-{last}" + (f"/{chance.randint(1, 6)}" if chance.random() < 0.4 else "")


def random_field(chance: random.Random, low: int, high: int, star: float, special: tuple[str, ...] = ()) -> str:
    kind = chance.random()
    if kind < star:
        return "*"
    if kind < star + 0.15:
        return f"*/{chance.randint(1, high + 2)}"
    if special and kind < star + 0.25:
        return chance.choice(special)
    return ",".join(random_term(chance, low, high) for _ in range(chance.choice((1, 1, 1, 2, 3))))


def random_expression(chance: random.Random) -> str:
    night = random_field(chance, 0, 4, 0.1)  # the hours in which clocks change
    return " ".join(
        (
            random_field(chance, 0, 59, 0.15),
            chance.choice((night, random_field(chance, 0, 23, 0.2), str(chance.choice((0, 1, 2, 23))))),
            random_field(chance, 1, 31, 0.6, ("L", "1,L")),
            random_field(chance, 1, 12, 0.8),
            random_field(chance, 0, 7, 0.6, ("5L", "1#2", "sun#1,3#5", "7L", "4#4")),
        )
    )


def cases(
    seed: int, count: int, time_zones: tuple[str, ...], stars: bool | None
) -> Iterator[tuple[str, Rule, datetime]]:
    """`count` random rules with a start near a clock change; `stars` picks rules that follow real time."""
    chance = random.Random(seed)
    made = 0
    while made < count:
        expression = random_expression(chance)
        minute, hour = expression.split()[:2]
        if stars is not None and stars != (minute.startswith("*") or hour.startswith("*")):
            continue
        time_zone = chance.choice(time_zones)
        start = chance.choice(clock_changes(time_zone)) + timedelta(
            minutes=chance.randint(-3_000, 800), seconds=chance.choice((0, 0, chance.randint(0, 59)))
        )
        try:
            rule = parse_rule("custom", {"cron_expression": expression}, time_zone)
        except InvalidScheduleError as error:
            if not str(error).startswith("never fires"):
                raise
            assert cronsim_instants(expression, datetime(2024, 1, 1, tzinfo=UTC), "UTC") == []
            continue
        made += 1
        yield expression, rule, start


def cronsim_instants(expression: str, start: datetime, time_zone: str) -> list[datetime]:
    found: list[datetime] = []
    try:
        for local in CronSim(expression, start.astimezone(ZoneInfo(time_zone))):
            # From within the second pass of an overlap, cronsim first names times of the first pass.
            if local.astimezone(UTC) > start:
                found.append(local.astimezone(UTC))
            if len(found) == COMPARED:
                break
    except CronSimError:  # its way of saying that a rule never fires
        return []
    return found


def walked_instants(expression: str, start: datetime, until: datetime, time_zone: str) -> list[datetime]:
    fields = CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC))
    zone = ZoneInfo(time_zone)
    found: list[datetime] = []
    moment = start.replace(second=0) + timedelta(minutes=1)
    while moment <= until:
        local = moment.astimezone(zone)
        if (
            local.minute in fields.minutes
            and local.hour in fields.hours
            and local.month in fields.months
            and fields.match_day(local.date())
        ):
            found.append(moment)
        moment += timedelta(minutes=1)
    return found


@pytest.mark.parametrize(
    ("seed", "count", "time_zones", "stars"),
    [
        pytest.param(1, 1_500, PLAIN_ZONES, None, id="any-rule-in-plain-zones"),
        pytest.param(2, 1_500, PLAIN_ZONES + ODD_ZONES, False, id="fixed-times-in-all-zones"),
    ],
)
def test_occurrences_equal_cronsim(seed: int, count: int, time_zones: tuple[str, ...], stars: bool | None) -> None:
    for expression, rule, start in cases(seed, count, time_zones, stars):
        found = [occurrence.at for occurrence in occurrences(rule, start, limit=COMPARED)]
        assert found == cronsim_instants(expression, start, rule.time_zone), f"{expression} {rule.time_zone} {start}"


def test_occurrences_of_star_rules_equal_a_walk_through_every_minute() -> None:
    for expression, rule, start in cases(3, 300, ODD_ZONES, True):
        until = start + timedelta(minutes=3_000)
        found = [occurrence.at for occurrence in occurrences(rule, start, until=until)]
        assert found == walked_instants(expression, start, until, rule.time_zone), f"{expression} {rule}  {start}"


def test_every_valid_rule_has_a_description() -> None:
    for _, rule, _ in cases(4, 1_000, ("UTC",), None):
        assert describe(rule).endswith(" (UTC)")
