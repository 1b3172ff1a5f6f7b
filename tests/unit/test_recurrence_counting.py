"""Counting agrees with walking, across every kind of clock change, and stays quick over years."""

from datetime import UTC, datetime, timedelta

import pytest

from recurrence import Rule, count_occurrences, last_occurrences, occurrences, parse_rule
from tests.recurrence_full.cases import cron_cases, simple_cases

MINUTE = timedelta(minutes=1)


def minutely(time_zone: str) -> Rule:
    return parse_rule("custom", {"cron_expression": "* * * * *"}, time_zone)


@pytest.mark.parametrize("seed", ["a", "b"])
@pytest.mark.parametrize("days", [0.02, 1.5, 3, 40])
def test_count_equals_a_walk(seed: str, days: float) -> None:
    for case in [*cron_cases(seed, 60), *simple_cases(seed, 60)]:
        until = case.start + timedelta(days=days)
        walked = [o.at for o in occurrences(case.rule, case.start, until)]
        assert count_occurrences(case.rule, case.start, until) == len(walked), case
        assert last_occurrences(case.rule, case.start, until, 7) == walked[-7:], case


@pytest.mark.parametrize("time_zone", ["Europe/London", "Australia/Lord_Howe", "Africa/Casablanca", "Africa/Cairo"])
def test_minutes_of_years_follow_real_time(time_zone: str) -> None:
    start, until = datetime(2024, 1, 1, 0, 0, 30, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    minutes = (until - start) // MINUTE + 1
    assert count_occurrences(minutely(time_zone), start, until) == minutes
    assert last_occurrences(minutely(time_zone), start, until, 3) == [until - 2 * MINUTE, until - MINUTE, until]


def test_the_lost_day_of_apia_is_one_run_late() -> None:
    rule = parse_rule("daily", {"hour": 9, "minute": 0}, "Pacific/Apia")
    start, until = datetime(2011, 12, 1, tzinfo=UTC), datetime(2012, 1, 20, tzinfo=UTC)
    assert count_occurrences(rule, start, until) == len(list(occurrences(rule, start, until)))


def test_ends_are_after_exclusive_and_until_inclusive() -> None:
    at = datetime(2025, 3, 10, 12, tzinfo=UTC)
    rule = minutely("UTC")
    assert count_occurrences(rule, at, at) == 0
    assert count_occurrences(rule, at, at + MINUTE) == 1
    assert count_occurrences(rule, at - MINUTE, at) == 1
    assert last_occurrences(rule, at, at, 5) == []


def test_rare_rule_is_counted_and_its_last_ones_found() -> None:
    rule = parse_rule("custom", {"cron_expression": "0 0 29 2 *"}, "Europe/Berlin")
    start, until = datetime(2000, 1, 1, tzinfo=UTC), datetime(2033, 1, 1, tzinfo=UTC)
    assert count_occurrences(rule, start, until) == 9
    assert [at.year for at in last_occurrences(rule, start, until, 2)] == [2028, 2032]
