"""The same instants as independent readings of Debian cron: a fixed part of what `make test-recurrence` runs."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from recurrence import describe, next_occurrence, occurrences, parse_rule
from tests.recurrence_full.__main__ import CASES
from tests.recurrence_full.cases import ZONES, Case, clock_changes, cron_cases, simple_cases
from tests.recurrence_full.comparison import (
    BOTH,
    CALENDAR,
    COMPARED,
    FIXED,
    WALK_ONLY,
    Tally,
    compare_cron,
    compare_simple,
)
from tests.recurrence_full.readings import by_walk, is_cronsim_sound

MINUTE = timedelta(minutes=1)


DEMANDED_ZONES = {
    "America/New_York", "Europe/London", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Beirut",
    "America/Santiago", "Pacific/Apia", "Africa/Casablanca", "Asia/Kolkata", "UTC",
}  # fmt: skip


def test_what_is_compared_is_what_was_demanded() -> None:
    """Issue 3: 60 occurrences each of 200,000 triples and more, in these zones at least, whoever draws them."""
    assert set(ZONES) >= DEMANDED_ZONES
    assert COMPARED == 60
    assert CASES >= 200_000
    assert {case.rule.time_zone for case in cron_cases("a", 250)} >= DEMANDED_ZONES


@pytest.mark.parametrize("seed", ["a", "b", "c", "d"])
def test_occurrences_of_cron_rules_equal_the_readings(seed: str) -> None:
    tally = compare_cron(seed, 250)
    assert tally.differences == []
    assert tally.instants > 250 * COMPARED * 0.9
    assert set(tally.cases) == {FIXED, BOTH, WALK_ONLY}


def test_occurrences_of_simple_types_equal_plain_dates() -> None:
    tally = compare_simple("e", 500)
    assert tally.differences == []
    assert tally.cases[CALENDAR] == 500


def test_next_occurrence_equals_occurrences_wherever_it_is_asked_from() -> None:
    """From on an occurrence, from just before the next one, and from anywhere between."""
    for case in (*cron_cases("i", 300), *simple_cases("j", 100)):
        found = [occurrence.at for occurrence in occurrences(case.rule, case.start, limit=12)]
        for earlier, later in pairwise([case.start, *found]):
            between = earlier + (later - earlier) / 3
            for after in (earlier, between, later - timedelta(microseconds=1)):
                assert next_occurrence(case.rule, after) == later, (case, after)


def test_walk_equals_single_steps_through_every_minute() -> None:
    for case in cron_cases("f", 60):
        until = case.start + timedelta(minutes=3_000)
        assert by_walk(case, until) == single_steps(case, until), case


def single_steps(case: Case, until: datetime) -> list[datetime]:
    fields = CronSim(case.expression, datetime(2024, 1, 1, tzinfo=UTC))
    zone = ZoneInfo(case.rule.time_zone)
    found: list[datetime] = []
    moment = case.start.replace(second=0, microsecond=0) + MINUTE
    while moment <= until:
        local = moment.astimezone(zone)
        if (
            local.minute in fields.minutes
            and local.hour in fields.hours
            and local.month in fields.months
            and fields.match_day(local.date())
        ):
            found.append(moment)
        moment += MINUTE
    return found


@pytest.mark.parametrize(
    ("time_zone", "is_sound"),
    [
        ("America/New_York", True),
        ("Europe/Dublin", True),
        ("Africa/Casablanca", True),  # 02:00 to 03:00 and back
        ("Australia/Lord_Howe", False),  # half an hour
        ("Africa/Cairo", False),  # 24:00 to 23:00
        ("America/Havana", False),  # 01:00 to 00:00
        ("Pacific/Chatham", False),  # 02:45 to 03:45
        ("UTC", True),
    ],
)
def test_who_decides_follows_from_the_clock_changes(time_zone: str, is_sound: bool) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    until = datetime(2025, 1, 1, tzinfo=UTC)
    for expression, expected in (("*/5 2 * * *", is_sound), ("30 2 * * *", True)):
        config: dict[str, object] = {"cron_expression": expression}
        case = Case("custom", config, parse_rule("custom", config, time_zone), start)
        assert is_cronsim_sound(case, until) is expected


def test_clock_changes_include_the_lost_day_of_apia() -> None:
    (lost,) = [change for change in clock_changes("Pacific/Apia") if change.shift > timedelta(hours=3)]
    assert (lost.at.isoformat(), lost.shift) == ("2011-12-30T10:00:00+00:00", timedelta(days=1))


def test_a_difference_is_told_with_its_case_and_both_instants() -> None:
    (case,) = cron_cases("g", 1)
    tally = Tally()
    tally.record(case, "cronsim", [case.start], [case.start, case.start + MINUTE])
    (difference,) = tally.differences
    assert difference.endswith(f"number 2 is nothing, cronsim has {case.start + MINUTE}")
    assert case.expression in difference


def test_every_valid_rule_has_a_description() -> None:
    for case in cron_cases("h", 600):
        assert describe(case.rule).endswith(f" ({case.rule.time_zone})")
