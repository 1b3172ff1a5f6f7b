"""What a schedule does on calendars with days off, against a plain reading of the rules one by one."""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from recurrence import (
    Calendar,
    Coming,
    DayOff,
    Rule,
    coming,
    country_days_off,
    next_on_ordinary_day,
    occurrences,
    parse_rule,
)

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
CASES = 100
ZONES = ("UTC", "Europe/London", "America/New_York", "Pacific/Auckland", "Australia/Lord_Howe", "Africa/Cairo")
CRONS = (
    "0 9 * * *",
    "30 2 * * *",
    "30 1 * * 0",
    "0 8,22 * * 1",
    "15 */6 * * *",
    "0 23 * * 5",
    "0 0 1 * *",
    "0 12 * * 1-5",
    "45 23 L * *",
    "*/40 * * * *",
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cron(expression: str, time_zone: str = "UTC") -> Rule:
    return parse_rule("custom", {"cron_expression": expression}, time_zone)


def off(*days: str, **options: object) -> Calendar:
    listed = tuple(DayOff(date.fromisoformat(day), date.fromisoformat(day), "Holiday") for day in days)
    return Calendar("bank", listed, **options)  # type: ignore[arg-type]


# A plain reading: nothing cached, nothing skipped over


def plain_wall(zone: ZoneInfo, at: datetime) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def plain_instant(zone: ZoneInfo, wall: datetime) -> datetime:
    at = wall.replace(tzinfo=zone).astimezone(UTC)
    while plain_wall(zone, at - MINUTE) > wall:  # in a gap: back to its end
        at -= MINUTE
    return at


def plain_day_off(calendars: Sequence[Calendar], at: datetime, job_zone: str) -> str | None:
    for calendar in calendars:
        day = plain_wall(ZoneInfo(calendar.time_zone or job_zone), at).date()
        for listed in calendar.days:
            if listed.starts_on <= day <= listed.ends_on:
                return listed.name
        if calendar.country is not None:
            holidays = country_days_off(calendar.country, calendar.subdivision, day.year)
            if day in holidays:
                return holidays[day]
    return None


def plain_working_time(calendars: Sequence[Calendar], at: datetime, job_zone: str) -> datetime | None:
    zone = ZoneInfo(job_zone)
    for days in range(1, 401):
        wall = plain_wall(zone, at) + days * DAY
        if any(wall.isoweekday() % 7 in calendar.weekend for calendar in calendars):
            continue
        moved = plain_instant(zone, wall)
        if plain_wall(zone, moved).date() == wall.date() and plain_day_off(calendars, moved, job_zone) is None:
            return moved
    return None


def plain_coming(
    rule: Rule,
    after: datetime,
    until: datetime,
    calendars: Sequence[Calendar],
    moves: bool,
    pending: Sequence[datetime],
) -> list[tuple[datetime, str | None, datetime | None]]:
    agenda = {occurrence.at for occurrence in occurrences(rule, after, until)} | {at for at in pending if at > after}
    found: list[tuple[datetime, str | None, datetime | None]] = []
    while agenda:
        at = min(agenda)
        agenda.remove(at)
        if at > until:
            break
        name = plain_day_off(calendars, at, rule.time_zone)
        moved_to = plain_working_time(calendars, at, rule.time_zone) if name and moves else None
        if moved_to is not None:
            agenda.add(moved_to)
        found.append((at, name, moved_to))
    return found


def draw_calendar(chance: random.Random, near: date) -> Calendar:
    days: list[DayOff] = []
    for number in range(chance.choice([1, 2, 5, 12])):
        starts_on = near + timedelta(days=chance.randrange(-3, 30))
        days.append(DayOff(starts_on, starts_on + timedelta(days=chance.choice([0, 0, 0, 1, 6])), f"day {number}"))
    return Calendar(
        f"calendar {chance.randrange(10**9)}",
        tuple(sorted(days, key=lambda day: (day.starts_on, day.name))),
        chance.choice([None, None, *ZONES]),
        frozenset(chance.choice([{0, 6}, {5, 6}, {0}, set()])),
        chance.choice([None, None, "GB"]),
    )


def draw_case(number: int) -> tuple[Rule, datetime, tuple[Calendar, ...], bool, list[datetime]]:
    chance = random.Random(f"coming {number}")
    rule = cron(chance.choice(CRONS), chance.choice(ZONES))
    # Many starts are near a change of the clock.
    day = chance.choice([date(2025, 3, 20), date(2025, 4, 1), date(2025, 10, 20), date(2025, 12, 20)])
    after = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=chance.randrange(0, 10 * 1440))
    calendars = tuple(draw_calendar(chance, after.date()) for _ in range(chance.choice([0, 1, 1, 2, 3])))
    pending = [after + timedelta(minutes=15 * chance.randrange(-50, 700)) for _ in range(chance.choice([0, 0, 3]))]
    return rule, after, calendars, chance.random() < 0.6, pending


@pytest.mark.parametrize("part", range(3))
def test_coming_is_what_a_plain_reading_says(part: int) -> None:
    for number in range(part * CASES, (part + 1) * CASES):
        rule, after, calendars, moves, pending = draw_case(number)
        until = after + 21 * DAY
        found = list(coming(rule, after, calendars, moves=moves, pending=pending, until=until))
        wanted = plain_coming(rule, after, until, calendars, moves, pending)
        assert [(item.at, item.day_off, item.moved_to) for item in found] == wanted, number


def test_later_run_may_move_to_an_earlier_day_because_clocks_change_on_different_days() -> None:
    """A drawn case: Cairo puts its clocks back on 31 October, so a day off there ends an hour later on Lord Howe."""
    rule, after, calendars, moves, pending = draw_case(10_075)
    items = islice(coming(rule, after, calendars, moves=moves, pending=pending), 100)
    first = next(item.at for item in items if item.runs)
    assert next_on_ordinary_day(rule, after, calendars, moves=moves, pending=pending) == first


@pytest.mark.parametrize("part", range(3))
def test_next_on_ordinary_day_is_the_first_of_coming_that_runs(part: int) -> None:
    for number in range(part * CASES, (part + 1) * CASES):
        rule, after, calendars, moves, pending = draw_case(number)
        items = islice(coming(rule, after, calendars, moves=moves, pending=pending), 5000)
        first = next((item.at for item in items if item.runs), None)
        assert next_on_ordinary_day(rule, after, calendars, moves=moves, pending=pending) == first, number


def test_coming_tells_local_times_notes_and_stand_ins() -> None:
    rule = cron("30 1 * * *", "Europe/London")
    calendar = off("2025-03-28", weekend=frozenset({6}))
    friday, saturday, sunday = coming(rule, utc("2025-03-27T12:00"), (calendar,), moves=True, limit=3)
    # Friday moves to Sunday, where 01:30 does not exist and where the rule runs anyway.
    assert friday == Coming(
        utc("2025-03-28T01:30"),
        friday.local,
        day_off="Holiday",
        moved_to=utc("2025-03-30T01:00"),
    )
    assert saturday.runs
    assert (sunday.at, sunday.note) == (
        utc("2025-03-30T01:00"),
        "01:30 does not exist on this day: runs at 02:00",
    )
    assert not sunday.is_moved
    assert sunday.local.isoformat() == "2025-03-30T02:00:00+01:00"


def test_coming_without_calendars_is_the_rule() -> None:
    rule = cron("0 9 * * 1", "Asia/Kolkata")
    found = list(coming(rule, utc("2025-03-01T00:00"), limit=5))
    assert [(item.at, item.local, item.note) for item in found] == [
        (o.at, o.local, o.note) for o in occurrences(rule, utc("2025-03-01T00:00"), limit=5)
    ]
    assert all(item.runs and not item.is_moved for item in found)


def test_moved_run_stands_in_once_for_several_days_off() -> None:
    rule = cron("0 9 * * 4,5")
    calendar = off("2025-03-13", "2025-03-14")  # Thursday and Friday
    items = list(coming(rule, utc("2025-03-12T00:00"), (calendar,), moves=True, until=utc("2025-03-20T00:00")))
    monday = utc("2025-03-17T09:00")
    assert [(item.at, item.moved_to, item.is_moved) for item in items] == [
        (utc("2025-03-13T09:00"), monday, False),
        (utc("2025-03-14T09:00"), monday, False),
        (monday, None, True),
    ]


def test_pending_run_whose_day_was_made_a_day_off_moves_on() -> None:
    rule = cron("0 9 * * 5")
    pending, calendar = [utc("2025-03-17T09:00")], off("2025-03-17")
    after = utc("2025-03-14T09:00")
    items = list(coming(rule, after, (calendar,), moves=True, pending=pending, limit=2))
    assert [(item.at, item.day_off, item.is_moved) for item in items] == [
        (utc("2025-03-17T09:00"), "Holiday", True),
        (utc("2025-03-18T09:00"), None, True),
    ]
    assert next_on_ordinary_day(rule, after, (calendar,), moves=True, pending=pending) == utc("2025-03-18T09:00")
    # Since then the job leaves out what falls on days off: the pending one as well.
    assert next_on_ordinary_day(rule, after, (calendar,), pending=pending) == utc("2025-03-21T09:00")


def test_ordinary_hours_between_two_days_off_of_other_zones_are_found() -> None:
    """The 14th in London begins as the 13th in Honolulu and ends as the 15th in Auckland."""
    rule = cron("0 * * * *", "Europe/London")
    calendars = (
        off("2025-03-13", time_zone="Pacific/Honolulu"),
        off("2025-03-15", time_zone="Pacific/Auckland"),
    )
    assert next_on_ordinary_day(rule, utc("2025-03-14T03:30"), calendars) == utc("2025-03-14T10:00")


def test_run_every_minute_is_found_behind_a_day_off_that_ends_amid_the_local_day() -> None:
    rule = cron("* * * * *", "Europe/London")
    calendar = off("2025-03-14", time_zone="Pacific/Auckland")
    # Friday in Auckland ends on Friday 11:00 in London: 24 hours of minutes, all off.
    assert next_on_ordinary_day(rule, utc("2025-03-13T11:00"), (calendar,)) == utc("2025-03-14T11:00")


def test_next_run_is_never_before_a_midnight_that_passes_twice() -> None:
    """In St. John's, clocks went back from 00:01 to 23:01 of the day before until 2011."""
    rule, calendar = cron("*/10 * * * *", "America/St_Johns"), off("2010-11-06")
    after = utc("2010-11-07T02:41")  # 23:11 for the second time
    assert next_on_ordinary_day(rule, after, (calendar,)) == utc("2010-11-07T03:30")


def test_later_run_of_a_day_may_move_to_an_earlier_day() -> None:
    """The 08:00 in Auckland is still the day before in New York, where the next day is off as well."""
    rule = cron("0 8,22 * * 2", "Pacific/Auckland")
    calendar = off("2025-07-07", "2025-07-08", time_zone="America/New_York")
    after = utc("2025-07-07T12:00")
    items = list(coming(rule, after, (calendar,), moves=True, limit=4))
    first = next(item.at for item in items if item.runs)
    assert next_on_ordinary_day(rule, after, (calendar,), moves=True) == first == utc("2025-07-09T10:00")


def test_next_on_ordinary_day_is_none_when_days_off_go_on() -> None:
    closed = Calendar("closed", (DayOff(date(2020, 1, 1), date(2100, 1, 1), "Closed"),))
    after = utc("2025-03-10T12:00")
    assert next_on_ordinary_day(cron("* * * * *"), after, (closed,)) is None
    assert next_on_ordinary_day(cron("* * * * *"), after, (closed,), moves=True) is None


def test_next_on_ordinary_day_is_strictly_after() -> None:
    rule, calendar = cron("0 9 * * *"), off("2025-03-11")
    assert next_on_ordinary_day(rule, utc("2025-03-10T09:00"), (calendar,)) == utc("2025-03-12T09:00")
    assert next_on_ordinary_day(
        rule, utc("2025-03-10T09:00"), (calendar,), pending=[utc("2025-03-10T09:00"), utc("2025-03-12T08:00")]
    ) == utc("2025-03-12T08:00")
