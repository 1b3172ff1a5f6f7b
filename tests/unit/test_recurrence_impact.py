"""What an edit of a schedule does to the runs of the next 30 days."""

from datetime import UTC, datetime, timedelta

import pytest

from recurrence import Rule, occurrences, parse_rule
from recurrence.impact import HORIZON, Impact, Moved, compare_instants, summarise

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)  # a Wednesday


def cron(expression: str, time_zone: str = "Europe/London") -> Rule:
    return parse_rule("custom", {"cron_expression": expression}, time_zone)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}Z")


def compare_schedules(before: Rule | None, after: Rule | None, now: datetime) -> Impact:
    """By the rules' occurrences in the 30 days after now."""
    until = now + HORIZON
    old, new = ([o.at for o in occurrences(rule, now, until)] if rule else [] for rule in (before, after))
    rule = after or before
    return compare_instants(old, new, rule.time_zone if rule else "UTC", until, is_cut=False)


def compared(before: list[str], after: list[str], time_zone: str = "UTC") -> Impact:
    return compare_instants([at(text) for text in before], [at(text) for text in after], time_zone, NOW, False)


def counts(impact: Impact) -> tuple[int, int, int, int]:
    return len(impact.moved), len(impact.appears), len(impact.disappears), impact.unchanged


def test_impact_of_the_same_schedule_is_none() -> None:
    impact = compare_schedules(cron("0 9 * * *"), parse_rule("daily", {"hour": 9, "minute": 0}, "Europe/London"), NOW)
    assert impact == Impact((), (), (), 30, NOW + HORIZON, False)


def test_impact_of_a_first_schedule_and_of_a_pause() -> None:
    rule = cron("0 9 * * MON")
    mondays = tuple(at(f"2026-{day}T09:00") for day in ("11-30", "12-07", "12-14", "12-21"))
    assert compare_schedules(None, rule, NOW) == Impact(mondays, (), (), 0, NOW + HORIZON, False)
    assert compare_schedules(rule, None, NOW) == Impact((), mondays, (), 0, NOW + HORIZON, False)
    assert compare_schedules(None, None, NOW) == Impact((), (), (), 0, NOW + HORIZON, False)


def test_impact_of_another_hour_moves_every_run_on_its_date() -> None:
    impact = compare_schedules(cron("0 9 * * *"), cron("0 10 * * *"), NOW)
    assert counts(impact) == (30, 0, 0, 0)
    assert impact.moved[0] == Moved(at("2026-11-26T09:00"), at("2026-11-26T10:00"))


def test_impact_of_another_weekday_moves_the_weekly_run() -> None:
    impact = compare_schedules(cron("0 9 * * MON"), cron("30 8 * * TUE"), NOW)
    assert counts(impact) == (4, 0, 0, 0)
    assert impact.moved[-1] == Moved(at("2026-12-21T09:00"), at("2026-12-22T08:30"))


def test_impact_of_daily_to_weekly_keeps_the_date_that_both_have() -> None:
    impact = compare_schedules(cron("0 9 * * *"), cron("0 10 * * MON"), NOW)
    assert counts(impact) == (4, 0, 26, 0)
    assert all(move.after - move.before == timedelta(hours=1) for move in impact.moved)


def test_impact_of_one_more_day_leaves_the_others_alone() -> None:
    impact = compare_schedules(cron("0 9 * * MON"), cron("0 9 * * MON,THU"), NOW)
    assert counts(impact) == (0, 5, 0, 4)
    assert impact.appears[0] == at("2026-11-26T09:00")


def test_impact_of_another_zone_pairs_by_dates_of_the_new_one() -> None:
    new_york, tokyo = cron("0 1 * * *", "America/New_York"), cron("0 2 * * *", "Asia/Tokyo")
    # 06:00Z is 15:00 in Tokyo, on the date that began there with the run at 17:00Z.
    assert compare_schedules(new_york, tokyo, NOW).moved[0] == Moved(at("2026-11-26T06:00"), at("2026-11-25T17:00"))
    assert compare_schedules(tokyo, new_york, NOW).moved[0] == Moved(at("2026-11-26T17:00"), at("2026-11-26T06:00"))
    assert compare_schedules(None, tokyo, NOW).appears[0] == at("2026-11-25T17:00")


def test_impact_pairs_the_kth_run_of_a_date_with_the_kth() -> None:
    impact = compared(
        ["2026-12-01T08:00", "2026-12-01T12:00", "2026-12-01T20:00"], ["2026-12-01T09:00", "2026-12-01T21:00"]
    )
    assert impact.moved == (
        Moved(at("2026-12-01T08:00"), at("2026-12-01T09:00")),
        Moved(at("2026-12-01T12:00"), at("2026-12-01T21:00")),
    )
    assert impact.disappears == (at("2026-12-01T20:00"),)


def test_impact_pairs_by_date_only_what_is_not_unchanged() -> None:
    impact = compared(["2026-12-01T08:00", "2026-12-01T12:00"], ["2026-12-01T08:00", "2026-12-01T06:00"])
    assert impact.unchanged == 1
    assert impact.moved == (Moved(at("2026-12-01T12:00"), at("2026-12-01T06:00")),)


def test_impact_dates_are_those_of_the_zone() -> None:
    before, after = ["2026-12-01T23:00", "2026-12-09T12:00"], ["2026-12-02T01:00"]
    assert counts(compared(before, after, "UTC")) == (0, 1, 2, 0)
    assert counts(compared(before, after, "America/New_York")) == (1, 0, 1, 0)


def test_impact_pairs_what_is_left_in_order_when_every_shift_is_under_a_week() -> None:
    before = ["2026-12-01T09:00", "2026-12-08T09:00"]
    assert counts(compared(before, ["2026-12-08T08:59", "2026-12-15T08:59"])) == (1, 1, 1, 0)
    assert counts(compared(before, ["2026-12-07T09:00", "2026-12-14T09:00"])) == (2, 0, 0, 0)
    assert counts(compared(before, ["2026-12-07T09:00", "2026-12-15T09:00"])) == (0, 2, 2, 0)
    assert counts(compared(before, ["2026-12-07T09:00", "2026-12-13T09:00", "2026-12-14T09:00"])) == (0, 3, 2, 0)
    assert counts(compared(["2026-12-15T09:00"], ["2026-12-08T09:00"])) == (0, 1, 1, 0)


def test_impact_of_another_weekday_is_moves_though_one_twin_lies_beyond_the_end() -> None:
    mondays = ["2026-12-07T09:00", "2026-12-14T09:00", "2026-12-21T09:00"]
    assert counts(compared(mondays, ["2026-12-08T10:00", "2026-12-15T10:00"])) == (2, 0, 1, 0)
    assert counts(compared(["2026-12-08T10:00", "2026-12-15T10:00"], mondays)) == (2, 1, 0, 0)
    assert counts(compared(mondays, ["2026-12-08T10:00", "2026-12-16T10:00"])) == (0, 2, 3, 0)
    assert counts(compared(mondays, ["2026-12-08T10:00"])) == (0, 1, 3, 0)


def test_impact_is_in_order_however_the_instants_come() -> None:
    before = ["2026-12-20T09:00", "2026-12-09T09:00", "2026-12-01T09:00"]
    after = ["2026-12-21T09:00", "2026-12-09T08:00", "2026-12-02T09:00"]
    assert [(move.before.day, move.after.day) for move in compared(before, after).moved] == [(1, 2), (9, 9), (20, 21)]


@pytest.mark.parametrize(
    ("moved", "appears", "disappears", "expected"),
    [
        (4, 2, 1, "4 runs move, 2 appear, 1 disappears in the next 30 days"),
        (1, 0, 11, "1 run moves, 11 disappear in the next 30 days"),
        (11, 1, 0, "11 runs move, 1 appears in the next 30 days"),
        (0, 1, 0, "1 run appears in the next 30 days"),
        (0, 0, 30, "30 runs disappear in the next 30 days"),
        (0, 0, 0, "nothing changes in the next 30 days"),
    ],
)
def test_impact_summary(moved: int, appears: int, disappears: int, expected: str) -> None:
    impact = Impact((NOW,) * appears, (NOW,) * disappears, (Moved(NOW, NOW),) * moved, 7, NOW + HORIZON, False)
    assert summarise(impact) == expected


def test_impact_summary_tells_how_far_it_looked() -> None:
    until = at("2026-11-27T09:05")
    cut = " until Fri 27 Nov, 09:05 UTC (too many runs to compare further)"
    assert summarise(Impact((NOW,), (), (), 0, until, True)) == "1 run appears" + cut
    assert summarise(Impact((), (), (), 0, until, True)) == "nothing changes" + cut
    week = Impact((), (), (), 0, until, False)
    assert summarise(week, timedelta(days=7)) == "nothing changes in the next 7 days"
    assert summarise(week, timedelta(days=1)) == "nothing changes in the next day"
