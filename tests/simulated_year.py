"""A year of schedules: 10,000 jobs on mixed rules in three zones whose clocks change, and what cron says of them.

Rules and jobs are drawn from one seed. Most rules name a time that a change of the clock skips or repeats,
on its date or on Sundays, when all three zones change. What they do comes from tests.recurrence_full.
"""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from db.models import CatchUp, Overlap
from recurrence import next_occurrence, parse_rule
from tests.recurrence_full.cases import Case, ClockChange, clock_changes
from tests.recurrence_full.readings import by_calendar, by_cronsim, by_walk, is_cronsim_sound

ZONES = ("America/New_York", "Europe/London", "Australia/Lord_Howe")
STARTS_AT, ENDS_AT = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)  # the first not, the last yes
NEXT_YEAR_ENDS_AT = datetime(2027, 1, 1, tzinfo=UTC)
JOBS = 10_000
QUARTER = timedelta(minutes=15)
START_WINDOWS = (None, None, 30, 600, 86_400)  # seconds

Draw = Callable[[random.Random, Sequence[ClockChange]], tuple[str, dict[str, object]]]


class YearJob(NamedTuple):
    id: str
    case: Case
    next_run: datetime | None
    catch_up: CatchUp
    overlap: Overlap
    misfire_grace_seconds: int | None


class Reading(NamedTuple):
    """When cron runs a rule: in the year, and for the first time after it."""

    in_year: list[datetime]
    following: datetime


def draw_jobs(seed: str, count: int = JOBS) -> list[YearJob]:
    """Jobs with their first occurrence of the year, on 72 rules of all four types."""
    chance = random.Random(seed)
    cases = {kind: _draw_cases(chance, kind) for kind in KINDS}
    firsts = {case.rule: next_occurrence(case.rule, STARTS_AT) for of_kind in cases.values() for case in of_kind}
    kinds = chance.choices(list(KINDS), [kind.share for kind in KINDS], k=count)
    drawn = [chance.choice(cases[kind]) for kind in kinds]
    return [
        YearJob(
            id=f"job-{number:05}",
            case=case,
            next_run=firsts[case.rule],
            catch_up=chance.choice(list(CatchUp)),
            overlap=chance.choice(list(Overlap)),
            misfire_grace_seconds=chance.choice(START_WINDOWS),
        )
        for number, case in enumerate(drawn)
    ]


def read_case(case: Case) -> Reading:
    """By the reading that decides: plain dates, cronsim where it is sound, and the walk elsewhere."""
    if case.schedule_type != "custom":
        found = _long_enough(by_calendar, case)
    elif is_cronsim_sound(case, NEXT_YEAR_ENDS_AT):
        found = _long_enough(by_cronsim, case)
    else:
        found = by_walk(case, NEXT_YEAR_ENDS_AT)
    return Reading([at for at in found if at <= ENDS_AT], next(at for at in found if at > ENDS_AT))


def changes_in_year(time_zone: str) -> list[ClockChange]:
    return [change for change in clock_changes(time_zone) if STARTS_AT < change.at <= ENDS_AT]


def _long_enough(reading: Callable[[Case, int], list[datetime]], case: Case) -> list[datetime]:
    count = 64
    while (found := reading(case, count))[-1] <= ENDS_AT:
        count *= 4
    return found


def _draw_cases(chance: random.Random, kind: "Kind") -> list[Case]:
    drawn: dict[object, Case] = {}
    for time_zone in ZONES:
        wanted = len(drawn) + kind.rules_per_zone
        while len(drawn) < wanted:
            schedule_type, config = kind.draw(chance, changes_in_year(time_zone))
            rule = parse_rule(schedule_type, config, time_zone)
            drawn.setdefault(rule, Case(schedule_type, config, rule, STARTS_AT))
    return list(drawn.values())


def _daily(chance: random.Random, changes: Sequence[ClockChange]) -> tuple[str, dict[str, object]]:
    hour, minute = _disputed_time(chance, changes)
    return "daily", {"hour": hour, "minute": minute}


def _weekly(chance: random.Random, changes: Sequence[ClockChange]) -> tuple[str, dict[str, object]]:
    hour, minute = _disputed_time(chance, changes)
    return "weekly", {"day_of_week": chance.choice((0, 7, [0], [0, 3])), "hour": hour, "minute": minute}


def _monthly(chance: random.Random, changes: Sequence[ClockChange]) -> tuple[str, dict[str, object]]:
    hour, minute = _disputed_time(chance, changes)
    days = [change.wall_before.day for change in changes]
    return "monthly", {"day": chance.choice((*days, *days, 31, "last")), "hour": hour, "minute": minute}


def _few_days(chance: random.Random, changes: Sequence[ClockChange]) -> tuple[str, dict[str, object]]:
    hour, minute = _disputed_time(chance, changes)
    months, days = _months_and_days(changes)
    expression = chance.choice(
        (
            f"{minute} {hour} {days} {months} *",
            f"{minute} {hour} 1-7 {months} sun",  # either is enough
            f"{minute} {hour} * * sun#{chance.randint(1, 4)}",
            f"{minute} {hour} * * 7L",
            f"{minute} {hour} L * *",
            f"0,30 1-2 * {months} 0",  # several times of one gap are one run
            f"*/30 1-2 * {months} 7",  # real time: not in a gap, twice in an overlap
            f"*/20 {hour} {days} {months} *",
        )
    )
    return "custom", {"cron_expression": expression}


def _hourly(chance: random.Random, changes: Sequence[ClockChange]) -> tuple[str, dict[str, object]]:
    months, days = _months_and_days(changes)
    return "custom", {"cron_expression": f"{chance.choice((0, 15, 30, 45))} * {days} {months} *"}


def _quarter_hours(chance: random.Random, changes: Sequence[ClockChange]) -> tuple[str, dict[str, object]]:
    months, days = _months_and_days(changes)
    return "custom", {"cron_expression": f"*/15 * {days} {months} *"}


class Kind(NamedTuple):
    draw: Draw
    rules_per_zone: int
    share: float  # of the jobs; what fires often has few


KINDS = (
    Kind(_monthly, 7, 0.464),
    Kind(_weekly, 5, 0.10),
    Kind(_few_days, 9, 0.42),
    Kind(_hourly, 1, 0.008),
    Kind(_daily, 1, 0.006),
    Kind(_quarter_hours, 1, 0.002),
)


def _disputed_time(chance: random.Random, changes: Sequence[ClockChange]) -> tuple[int, int]:
    """A wall time that one of the changes skips or repeats, or up to half an hour beside it."""
    change = chance.choice(changes)
    first, last = sorted((change.wall_before, change.wall_after))
    quarters = (last - first) // QUARTER
    at = first + chance.randint(-2, quarters + 1) * QUARTER
    return at.hour, at.minute


def _months_and_days(changes: Sequence[ClockChange]) -> tuple[str, str]:
    """Lists for a cron expression that names the dates of the changes, and a few more."""
    months, days = {change.wall_before.month for change in changes}, {change.wall_before.day for change in changes}
    return ",".join(map(str, sorted(months))), ",".join(map(str, sorted(days)))
