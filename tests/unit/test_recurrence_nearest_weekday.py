"""`15W` and `LW` equal croniter's and cronsim's reading, in every month that a calendar can have."""

import calendar
from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter
from cronsim import CronSim

from recurrence import occurrences, parse_rule

CYCLE = range(2024, 2052)  # 28 years: every length of every month begins on every weekday
BEFORE = datetime(2023, 12, 31, 12, tzinfo=UTC)
MONTHS = len(CYCLE) * 12


def dates(expression: str) -> list[str]:
    rule = parse_rule("custom", {"cron_expression": expression}, "UTC")
    return [f"{occurrence.at:%F}" for occurrence in occurrences(rule, BEFORE, limit=MONTHS)]


def nearest_by_trying(year: int, month: int, day: int) -> str:
    length = calendar.monthrange(year, month)[1]
    wanted = datetime(year, month, min(day, length), tzinfo=UTC)
    candidates = [wanted + timedelta(days=days) for days in (0, -1, 1, -2, 2)]
    return next(f"{c:%F}" for c in candidates if c.month == month and c.isoweekday() <= 5)


@pytest.mark.parametrize("day", [1, 2, 15, 27, 28, 29, 30, 31])
def test_nearest_weekday_equals_croniter_and_the_definition(day: int) -> None:
    found = dates(f"0 0 {day}W * *")
    assert found == [nearest_by_trying(year, month, day) for year in CYCLE for month in range(1, 13)]
    steps = croniter(f"0 0 {day}W * *", BEFORE.replace(tzinfo=None))
    assert found == [f"{steps.get_next(datetime):%F}" for _ in range(MONTHS)]


def test_last_weekday_equals_cronsim() -> None:
    steps = CronSim("0 0 LW * *", BEFORE)
    assert dates("0 0 LW * *") == [f"{next(steps):%F}" for _ in range(MONTHS)]
