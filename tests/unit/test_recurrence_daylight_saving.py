"""Debian cron's rules on days whose wall clock skips or repeats a time, one zone per oddity.

Every instant is written out, so that neither the code nor another library can move it.
"""

from datetime import UTC, datetime

import pytest

from recurrence import Rule, occurrences, parse_rule

EVERY_15_FROM_1_TO_2 = "*/15 1-2 * * *"


def cron(expression: str, time_zone: str) -> Rule:
    return parse_rule("custom", {"cron_expression": expression}, time_zone)


def instants(rule: Rule, after: str, limit: int) -> list[str]:
    start = datetime.fromisoformat(after)
    return [f"{occurrence.at:%Y-%m-%dT%H:%M}Z" for occurrence in occurrences(rule, start, limit=limit)]


def notes(rule: Rule, after: str, limit: int) -> list[str]:
    return [occurrence.note for occurrence in occurrences(rule, datetime.fromisoformat(after), limit=limit)]


@pytest.mark.parametrize(
    ("expression", "time_zone", "after", "expected"),
    [
        # New York, 2024-03-10: 02:00 EST becomes 03:00 EDT at 07:00Z.
        pytest.param(
            "30 2 * * *",
            "America/New_York",
            "2024-03-09T00:00Z",
            ["2024-03-09T07:30Z", "2024-03-10T07:00Z", "2024-03-11T06:30Z"],
            id="fixed-time-in-gap-runs-right-after-it",
        ),
        pytest.param(
            "0,30 2 * * *",
            "America/New_York",
            "2024-03-10T05:00Z",
            ["2024-03-10T07:00Z", "2024-03-11T06:00Z", "2024-03-11T06:30Z"],
            id="two-fixed-times-in-gap-run-once",
        ),
        pytest.param(
            "0 2,3 * * *",
            "America/New_York",
            "2024-03-10T05:00Z",
            ["2024-03-10T07:00Z", "2024-03-11T06:00Z", "2024-03-11T07:00Z"],
            id="time-in-gap-and-the-one-after-it-run-once",
        ),
        pytest.param(
            "*/30 2 * * *",
            "America/New_York",
            "2024-03-10T05:00Z",
            ["2024-03-11T06:00Z", "2024-03-11T06:30Z"],
            id="star-minute-skips-gap",
        ),
        pytest.param(
            "30 * * * *",
            "America/New_York",
            "2024-03-10T05:45Z",
            ["2024-03-10T06:30Z", "2024-03-10T07:30Z"],
            id="star-hour-goes-on-through-gap",
        ),
        # New York, 2024-11-03: 02:00 EDT becomes 01:00 EST at 06:00Z.
        pytest.param(
            "30 1 * * *",
            "America/New_York",
            "2024-11-02T12:00Z",
            ["2024-11-03T05:30Z", "2024-11-04T06:30Z"],
            id="fixed-time-in-overlap-runs-the-first-time",
        ),
        pytest.param(
            "30 1 * * *",
            "America/New_York",
            "2024-11-03T06:10Z",
            ["2024-11-04T06:30Z"],
            id="fixed-time-does-not-run-from-within-second-pass",
        ),
        pytest.param(
            "*/30 1 * * *",
            "America/New_York",
            "2024-11-03T04:00Z",
            ["2024-11-03T05:00Z", "2024-11-03T05:30Z", "2024-11-03T06:00Z", "2024-11-03T06:30Z", "2024-11-04T06:00Z"],
            id="star-minute-runs-in-both-passes",
        ),
        pytest.param(
            "30 * * * *",
            "America/New_York",
            "2024-11-03T05:00Z",
            ["2024-11-03T05:30Z", "2024-11-03T06:30Z", "2024-11-03T07:30Z"],
            id="star-hour-runs-in-both-passes",
        ),
        pytest.param(
            "0 0-23 * * *",
            "America/New_York",
            "2024-11-03T04:30Z",
            ["2024-11-03T05:00Z", "2024-11-03T07:00Z"],
            id="all-hours-without-a-star-are-fixed-times",
        ),
        # Lord Howe moves by half an hour: 2024-10-06 02:00 becomes 02:30 at 15:30Z the day before.
        pytest.param(
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2024-10-04T20:00Z",
            ["2024-10-05T15:30Z", "2024-10-06T15:15Z"],
            id="half-hour-gap",
        ),
        pytest.param(
            "*/15 2 * * *",
            "Australia/Lord_Howe",
            "2024-10-05T15:00Z",
            ["2024-10-05T15:30Z", "2024-10-05T15:45Z", "2024-10-06T15:00Z"],
            id="half-hour-gap-star-minute",
        ),
        # Lord Howe, 2024-04-07: 02:00 becomes 01:30 at 15:00Z the day before.
        pytest.param(
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2024-04-06T00:00Z",
            ["2024-04-06T14:45Z", "2024-04-07T15:15Z"],
            id="half-hour-overlap",
        ),
        pytest.param(
            "45 * * * *",
            "Australia/Lord_Howe",
            "2024-04-06T14:00Z",
            ["2024-04-06T14:45Z", "2024-04-06T15:15Z", "2024-04-06T16:15Z"],
            id="half-hour-overlap-star-hour-runs-twice-within-it",
        ),
        # Cairo, Friday 2024-04-26: midnight becomes 01:00 at 22:00Z the day before.
        pytest.param(
            "0 0 * * *",
            "Africa/Cairo",
            "2024-04-24T23:00Z",
            ["2024-04-25T22:00Z", "2024-04-26T21:00Z"],
            id="midnight-that-does-not-exist",
        ),
        pytest.param(
            "30 0 * * FRI",
            "Africa/Cairo",
            "2024-04-24T00:00Z",
            ["2024-04-25T22:00Z", "2024-05-02T21:30Z"],
            id="weekday-of-a-missing-midnight",
        ),
        pytest.param(
            "*/30 0 * * FRI",
            "Africa/Cairo",
            "2024-04-24T00:00Z",
            ["2024-05-02T21:00Z", "2024-05-02T21:30Z"],
            id="star-minute-skips-missing-midnight",
        ),
        # Cairo, 2024-10-31: 24:00 becomes 23:00 at 21:00Z.
        pytest.param(
            "30 23 * * *",
            "Africa/Cairo",
            "2024-10-31T00:00Z",
            ["2024-10-31T20:30Z", "2024-11-01T21:30Z"],
            id="last-hour-of-the-day-occurs-twice",
        ),
        # Beirut, Sunday 2024-03-31: midnight becomes 01:00 at 22:00Z the day before.
        pytest.param(
            "0 0 * * *",
            "Asia/Beirut",
            "2024-03-30T00:00Z",
            ["2024-03-30T22:00Z", "2024-03-31T21:00Z"],
            id="beirut-missing-midnight",
        ),
        # Santiago, Sunday 2024-09-08: midnight becomes 01:00 at 04:00Z.
        pytest.param(
            "15 0 * * *",
            "America/Santiago",
            "2024-09-07T05:00Z",
            ["2024-09-08T04:00Z", "2024-09-09T03:15Z"],
            id="santiago-missing-midnight",
        ),
        # Santiago, Saturday 2024-04-06: 24:00 becomes 23:00 at 03:00Z the day after.
        pytest.param(
            "*/30 23 * * SAT",
            "America/Santiago",
            "2024-04-06T12:00Z",
            ["2024-04-07T02:00Z", "2024-04-07T02:30Z", "2024-04-07T03:00Z", "2024-04-07T03:30Z", "2024-04-14T03:00Z"],
            id="santiago-saturday-of-25-hours",
        ),
        # Apia had no 2011-12-30: it crossed the date line at 10:00Z.
        pytest.param(
            "0 2 * * *",
            "Pacific/Apia",
            "2011-12-28T13:00Z",
            ["2011-12-29T12:00Z", "2011-12-30T10:00Z", "2011-12-30T12:00Z", "2011-12-31T12:00Z"],
            id="a-whole-day-missing",
        ),
        pytest.param(
            "*/30 2 30 12 *",
            "Pacific/Apia",
            "2011-12-01T00:00Z",
            ["2012-12-29T12:00Z", "2012-12-29T12:30Z"],
            id="a-whole-day-missing-star-minute",
        ),
        # Casablanca is at +1 except in Ramadan: 2024-03-10 03:00 becomes 02:00, 2024-04-14 02:00 becomes 03:00.
        pytest.param(
            "30 2 * * *",
            "Africa/Casablanca",
            "2024-03-09T12:00Z",
            ["2024-03-10T01:30Z", "2024-03-11T02:30Z"],
            id="ramadan-overlap",
        ),
        pytest.param(
            "30 2 14 4 *",
            "Africa/Casablanca",
            "2024-03-09T12:00Z",
            ["2024-04-14T02:00Z", "2025-04-14T01:30Z"],
            id="ramadan-gap",
        ),
        pytest.param(
            "30 2 * * *",
            "Asia/Kolkata",
            "2024-03-09T00:00Z",
            ["2024-03-09T21:00Z", "2024-03-10T21:00Z"],
            id="no-daylight-saving-half-hour-offset",
        ),
        pytest.param(
            "30 2 * * *",
            "UTC",
            "2024-03-09T00:00Z",
            ["2024-03-09T02:30Z", "2024-03-10T02:30Z"],
            id="utc",
        ),
    ],
)
def test_daylight_saving_instants(expression: str, time_zone: str, after: str, expected: list[str]) -> None:
    assert instants(cron(expression, time_zone), after, len(expected)) == expected


@pytest.mark.parametrize("second", range(0, 60, 5))
def test_fixed_time_in_a_gap_of_odd_seconds_waits_for_the_whole_minute(second: int) -> None:
    """Monrovia, 1972-01-07: at 00:44:30Z the clock went from 00:00:00 to 00:44:30."""
    rule = cron("30 0 * * *", "Africa/Monrovia")
    assert instants(rule, f"1972-01-07T00:44:{second:02}Z", 2) == ["1972-01-07T00:45Z", "1972-01-08T00:30Z"]


def test_daylight_saving_simple_types_follow_the_same_rules() -> None:
    daily = parse_rule("daily", {"hour": 2, "minute": 30}, "America/New_York")
    weekly = parse_rule("weekly", {"day_of_week": 7, "hour": 1, "minute": 30}, "America/New_York")
    monthly = parse_rule("monthly", {"day": "last", "hour": 1, "minute": 30}, "Europe/London")
    assert instants(daily, "2024-03-10T00:00Z", 1) == ["2024-03-10T07:00Z"]
    assert instants(weekly, "2024-11-03T00:00Z", 2) == ["2024-11-03T05:30Z", "2024-11-10T06:30Z"]
    assert instants(monthly, "2024-03-01T00:00Z", 1) == ["2024-03-31T01:00Z"]


def test_daylight_saving_gap_is_noted() -> None:
    rule = cron("30 2 * * *", "America/New_York")
    assert notes(rule, "2024-03-09T00:00Z", 3) == ["", "02:30 does not exist on this day: runs at 03:00", ""]


def test_daylight_saving_missing_day_is_noted_with_its_date() -> None:
    rule = cron("0 2 * * *", "Pacific/Apia")
    assert notes(rule, "2011-12-29T13:00Z", 2) == ["2011-12-30 02:00 does not exist: runs at 2011-12-31 00:00", ""]


def test_daylight_saving_overlap_is_noted() -> None:
    rule = cron("30 1 * * *", "America/New_York")
    assert notes(rule, "2024-11-03T00:00Z", 2) == ["01:30 occurs twice on this day: runs once, the first time", ""]


def test_daylight_saving_overlap_of_a_star_rule_notes_each_pass() -> None:
    rule = cron("30 * * * *", "America/New_York")
    assert notes(rule, "2024-11-03T05:00Z", 3) == [
        "01:30 occurs twice on this day: runs both times, this is the first",
        "01:30 occurs twice on this day: runs both times, this is the second",
        "",
    ]


def test_daylight_saving_local_time_carries_its_offset() -> None:
    rule = cron("30 * * * *", "America/New_York")
    after = datetime(2024, 11, 3, 5, 0, tzinfo=UTC)
    assert [occurrence.local.isoformat() for occurrence in occurrences(rule, after, limit=2)] == [
        "2024-11-03T01:30:00-04:00",
        "2024-11-03T01:30:00-05:00",
    ]
