"""Which instants a rule names, away from daylight saving, and how far the search goes."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from recurrence import Occurrence, Rule, next_occurrence, occurrences, parse_rule

AFTER = datetime(2025, 1, 15, 12, 0, tzinfo=UTC)  # a Wednesday


def cron(expression: str, time_zone: str = "UTC") -> Rule:
    return parse_rule("custom", {"cron_expression": expression}, time_zone)


def monthly(day: int | str) -> Rule:
    return parse_rule("monthly", {"day": day, "hour": 6, "minute": 0}, "UTC")


def dates(rule: Rule, limit: int, after: datetime = AFTER) -> list[str]:
    return [f"{occurrence.local:%Y-%m-%d}" for occurrence in occurrences(rule, after, limit=limit)]


def test_occurrence_is_strictly_after() -> None:
    rule = cron("0 12 * * *")
    at_noon = datetime(2025, 1, 15, 12, 0, tzinfo=UTC)
    assert next_occurrence(rule, at_noon - timedelta(microseconds=1)) == at_noon
    assert next_occurrence(rule, at_noon) == at_noon + timedelta(days=1)
    assert next_occurrence(rule, at_noon + timedelta(microseconds=1)) == at_noon + timedelta(days=1)


def test_occurrence_of_a_star_rule_is_strictly_after() -> None:
    rule = cron("*/15 * * * *")
    assert next_occurrence(rule, AFTER - timedelta(microseconds=1)) == AFTER
    assert next_occurrence(rule, AFTER) == AFTER + timedelta(minutes=15)
    assert next_occurrence(rule, AFTER + timedelta(microseconds=1)) == AFTER + timedelta(minutes=15)


def test_occurrence_is_utc_whatever_zone_it_is_asked_in() -> None:
    rule = parse_rule("daily", {"hour": 2, "minute": 0}, "Asia/Kolkata")
    found = next_occurrence(rule, AFTER.astimezone(timezone(timedelta(hours=-7))))
    assert str(found) == "2025-01-15 20:30:00+00:00"


def test_occurrence_holds_instant_and_local_time() -> None:
    (occurrence,) = occurrences(cron("0 9 * * *", "Europe/Paris"), AFTER, limit=1)
    assert isinstance(occurrence, Occurrence)
    assert occurrence.at.isoformat() == "2025-01-16T08:00:00+00:00"
    assert occurrence.local.isoformat() == "2025-01-16T09:00:00+01:00"
    assert occurrence.note == ""


def test_occurrences_end_with_until_inclusive() -> None:
    rule = cron("0 * * * *")
    until = AFTER + timedelta(hours=2)
    assert [o.at for o in occurrences(rule, AFTER, until=until)] == [AFTER + timedelta(hours=1), until]
    assert list(occurrences(rule, AFTER, until=AFTER)) == []
    assert len(list(occurrences(rule, AFTER, until=until, limit=1))) == 1
    assert list(occurrences(rule, AFTER, limit=0)) == []


def test_occurrences_refuse_naive_times_at_once() -> None:
    naive = AFTER.replace(tzinfo=None)
    with pytest.raises(ValueError, match="after 2025-01-15T12:00:00 is naive"):
        next_occurrence(cron("* * * * *"), naive)
    with pytest.raises(ValueError, match="after 2025-01-15T12:00:00 is naive"):
        occurrences(cron("* * * * *"), naive)
    with pytest.raises(ValueError, match="until 2025-01-15T12:00:00 is naive"):
        occurrences(cron("* * * * *"), AFTER, until=naive)


def test_weekly_runs_on_each_listed_day() -> None:
    rule = parse_rule("weekly", {"day_of_week": [1, 5, 7], "hour": 9, "minute": 0}, "UTC")
    assert dates(rule, 4) == ["2025-01-17", "2025-01-19", "2025-01-20", "2025-01-24"]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (15, ["2025-02-15", "2025-03-15", "2025-04-15"]),
        (29, ["2025-01-29", "2025-02-28", "2025-03-29"]),
        (30, ["2025-01-30", "2025-02-28", "2025-03-30"]),
        (31, ["2025-01-31", "2025-02-28", "2025-03-31"]),
        ("last", ["2025-01-31", "2025-02-28", "2025-03-31"]),
    ],
)
def test_monthly_runs_every_month(day: int | str, expected: list[str]) -> None:
    assert dates(monthly(day), 3) == expected


def test_monthly_day_29_in_a_leap_year() -> None:
    assert dates(monthly(29), 1, datetime(2024, 2, 1, tzinfo=UTC)) == ["2024-02-29"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # Either day field when neither starts with a star, both when one does.
        ("0 0 13 * 5", ["2025-01-17", "2025-01-24", "2025-01-31", "2025-02-07", "2025-02-13"]),
        ("0 0 */2 * 1", ["2025-01-27", "2025-02-03", "2025-02-17", "2025-03-03"]),
        ("0 0 1-31/2 * 1", ["2025-01-17", "2025-01-19", "2025-01-20", "2025-01-21"]),
        ("0 0 13 * */2", ["2025-02-13", "2025-03-13", "2025-04-13", "2025-05-13", "2025-07-13"]),
        ("0 0 *,13 * 1", ["2025-01-20", "2025-01-27", "2025-02-03"]),
        ("0 0 13,* * 1", ["2025-01-16", "2025-01-17", "2025-01-18"]),
        ("0 0 31 * *", ["2025-01-31", "2025-03-31", "2025-05-31"]),
        ("0 0 L * *", ["2025-01-31", "2025-02-28", "2025-03-31"]),
        ("0 0 15,L * *", ["2025-01-31", "2025-02-15", "2025-02-28"]),
        ("0 0 L * 5", ["2025-01-17", "2025-01-24", "2025-01-31", "2025-02-07"]),
        ("0 0 LW * *", ["2025-01-31", "2025-02-28", "2025-03-31", "2025-04-30", "2025-05-30"]),
        ("0 0 15W * *", ["2025-02-14", "2025-03-14", "2025-04-15", "2025-05-15", "2025-06-16"]),
        ("0 0 1W 2,3 *", ["2025-02-03", "2025-03-03", "2026-02-02", "2026-03-02", "2027-02-01"]),
        ("0 0 31W 8,9 *", ["2025-08-29", "2025-09-30", "2026-08-31", "2026-09-30"]),
        ("0 0 15W * 1", ["2025-01-20", "2025-01-27", "2025-02-03", "2025-02-10", "2025-02-14"]),
        ("0 0 * * 5L", ["2025-01-31", "2025-02-28", "2025-03-28"]),
        ("0 0 * * 7L", ["2025-01-26", "2025-02-23", "2025-03-30"]),
        ("0 0 * * 1#2", ["2025-02-10", "2025-03-10", "2025-04-14"]),
        ("0 0 * * 1#5", ["2025-03-31", "2025-06-30", "2025-09-29"]),
        ("0 0 * * 1#2,5L,3", ["2025-01-22", "2025-01-29", "2025-01-31", "2025-02-05", "2025-02-10"]),
        ("0 0 * * 5-7", ["2025-01-17", "2025-01-18", "2025-01-19", "2025-01-24"]),
        ("0 0 * */5 mon", ["2025-01-20", "2025-01-27", "2025-06-02"]),
        ("0 0 29 2 *", ["2028-02-29", "2032-02-29", "2036-02-29"]),
    ],
)
def test_custom_days(expression: str, expected: list[str]) -> None:
    assert dates(cron(expression), len(expected)) == expected


def test_leap_day_waits_out_the_year_2100() -> None:
    late = datetime(2096, 3, 1, tzinfo=UTC)
    assert dates(cron("0 0 29 2 *"), 2, late) == ["2104-02-29", "2108-02-29"]
    assert dates(cron("*/30 0 29 2 *"), 1, late) == ["2104-02-29"]
    assert dates(cron("0 0 */28 2 0#5"), 1, datetime(2088, 3, 1, tzinfo=UTC)) == ["2128-02-29"]


def test_star_rule_within_an_hour_that_never_comes_ends() -> None:
    rule = cron("*/10 2 * 3 0#2", "America/New_York")
    assert next_occurrence(rule, AFTER) is None
    assert list(occurrences(rule, AFTER)) == []


@pytest.mark.parametrize("expression", ["0 0 * * *", "* * * * *"])
@pytest.mark.parametrize("time_zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"])
def test_search_ends_with_the_calendar(expression: str, time_zone: str) -> None:
    rule = cron(expression, time_zone)
    assert next_occurrence(rule, datetime.max.replace(tzinfo=UTC)) is None
    assert len(list(occurrences(rule, datetime(9998, 12, 31, 23, 58, tzinfo=UTC), limit=3_000))) < 3_000
    with pytest.raises(ValueError, match="too early: allowed from year 2"):
        next_occurrence(rule, datetime.min.replace(tzinfo=UTC))
