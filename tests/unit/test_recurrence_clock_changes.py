"""The next changes of a zone's clock, and whether the words on them agree with what the rule then does."""

import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from recurrence import Occurrence, Rule, occurrences, parse_rule
from recurrence.clock_changes import HORIZON, ClockChange, clock_changes, effect_of
from recurrence.wall_calendar import wall_calendar_of
from tests.recurrence_full import cases

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def cron(expression: str, time_zone: str) -> Rule:
    return parse_rule("custom", {"cron_expression": expression}, time_zone)


def changes(time_zone: str, after: str, limit: int = 2) -> list[str]:
    found = clock_changes(time_zone, datetime.fromisoformat(after), limit)
    return [f"{c.at:%Y-%m-%dT%H:%MZ} {c.wall_before:%H:%M}>{c.wall_after:%H:%M}" for c in found]


@pytest.mark.parametrize(
    ("time_zone", "after", "first", "second"),
    [
        ("Europe/London", "2026-01-01T00:00Z", "2026-03-29T01:00Z 01:00>02:00", "2026-10-25T01:00Z 02:00>01:00"),
        ("Europe/Dublin", "2026-01-01T00:00Z", "2026-03-29T01:00Z 01:00>02:00", "2026-10-25T01:00Z 02:00>01:00"),
        # Ramadan: two changes five weeks apart.
        ("Africa/Casablanca", "2026-01-01T00:00Z", "2026-02-15T02:00Z 03:00>02:00", "2026-03-22T02:00Z 02:00>03:00"),
        ("Australia/Lord_Howe", "2026-01-01T00:00Z", "2026-04-04T15:00Z 02:00>01:30", "2026-10-03T15:30Z 02:00>02:30"),
        ("Africa/Cairo", "2026-01-01T00:00Z", "2026-04-23T22:00Z 00:00>01:00", "2026-10-29T21:00Z 00:00>23:00"),
        # At midnight of UTC, where one probed day meets the next.
        ("Asia/Baghdad", "2001-03-31T12:00Z", "2001-04-01T00:00Z 03:00>04:00", "2001-10-01T00:00Z 04:00>03:00"),
    ],
)
def test_clock_changes_of_a_zone(time_zone: str, after: str, first: str, second: str) -> None:
    assert changes(time_zone, after) == [first, second]


def test_clock_changes_of_ramadan_are_found_from_every_day_before() -> None:
    starts = (datetime(2026, 2, 15, tzinfo=UTC) - timedelta(days=days) for days in range(90))
    found = {tuple(change.at.date() for change in clock_changes("Africa/Casablanca", start)) for start in starts}
    assert found == {(date(2026, 2, 15), date(2026, 3, 22))}


def test_clock_changes_across_the_date_line() -> None:
    (change,) = clock_changes("Pacific/Apia", datetime(2011, 12, 1, tzinfo=UTC), limit=1)
    assert change.at == datetime(2011, 12, 30, 10, tzinfo=UTC)
    assert (change.shift, change.wall_after) == (timedelta(days=1), datetime(2011, 12, 31))  # noqa: DTZ001


@pytest.mark.parametrize("time_zone", ["Asia/Kolkata", "UTC"])
def test_clock_changes_of_a_zone_without_daylight_saving(time_zone: str) -> None:
    assert changes(time_zone, "2026-01-01T00:00Z") == []


@pytest.mark.parametrize("time_zone", cases.ZONES)
def test_clock_changes_are_all_found(time_zone: str) -> None:
    start = datetime(2011, 12, 1, 13, 30, tzinfo=UTC)
    scanned = [tuple(c) for c in cases.clock_changes(time_zone) if start < c.at <= start + HORIZON]
    assert [(c.at, c.wall_before, c.wall_after) for c in clock_changes(time_zone, start, limit=99)] == scanned


def test_clock_changes_begin_strictly_after() -> None:
    assert changes("Europe/London", "2026-03-29T00:59:59Z", 1) == ["2026-03-29T01:00Z 01:00>02:00"]
    assert changes("Europe/London", "2026-03-29T02:59:59+02:00", 1) == ["2026-03-29T01:00Z 01:00>02:00"]
    assert changes("Europe/London", "2026-03-29T01:00Z", 1) == ["2026-10-25T01:00Z 02:00>01:00"]
    assert changes("Asia/Baghdad", "2001-04-01T00:00Z", 1) == ["2001-10-01T00:00Z 04:00>03:00"]


def test_clock_changes_are_none_further_than_three_years() -> None:
    forward = datetime(2026, 3, 29, 1, tzinfo=UTC)
    at_the_end = clock_changes("Europe/London", forward - HORIZON, limit=99)
    assert at_the_end[-1].at == forward
    assert clock_changes("Europe/London", forward - HORIZON - SECOND, limit=99)[-1].at < forward
    assert len(clock_changes("Europe/London", forward - HORIZON, limit=3)) == 3


def test_clock_changes_refuse_a_naive_time_and_end_with_the_calendar() -> None:
    with pytest.raises(ValueError, match="2026-01-01T00:00:00 is naive"):
        clock_changes("UTC", datetime(2026, 1, 1))  # noqa: DTZ001
    assert clock_changes("Europe/London", datetime.max.replace(tzinfo=UTC)) == []
    assert clock_changes("Europe/London", datetime.min.replace(tzinfo=UTC)) == []
    assert len(clock_changes("Europe/London", datetime(9994, 12, 31, 23, tzinfo=UTC))) == 2


def test_clock_changes_tell_their_direction() -> None:
    forward, back = clock_changes("Australia/Lord_Howe", datetime(2026, 9, 1, tzinfo=UTC))
    assert (forward.shift, forward.is_forward) == (timedelta(minutes=30), True)
    assert (back.shift, back.is_forward) == (timedelta(minutes=-30), False)


CLOCKS = {
    "london forward": ("Europe/London", "2026-01-01T00:00Z", "on Sun 29 Mar 2026 the clock skips 01:00 to 02:00"),
    "london back": ("Europe/London", "2026-05-01T00:00Z", "on Sun 25 Oct 2026 the clock shows 01:00 to 02:00 twice"),
    "new york forward": ("America/New_York", "2026-01-01T00:00Z", "on Sun 8 Mar 2026 the clock skips 02:00 to 03:00"),
    "dublin back": ("Europe/Dublin", "2026-05-01T00:00Z", "on Sun 25 Oct 2026 the clock shows 01:00 to 02:00 twice"),
    "casablanca back": (
        "Africa/Casablanca",
        "2026-01-01T00:00Z",
        "on Sun 15 Feb 2026 the clock shows 02:00 to 03:00 twice",
    ),
    "casablanca forward": (
        "Africa/Casablanca",
        "2026-03-01T00:00Z",
        "on Sun 22 Mar 2026 the clock skips 02:00 to 03:00",
    ),
    "lord howe forward": (
        "Australia/Lord_Howe",
        "2026-09-01T00:00Z",
        "on Sun 4 Oct 2026 the clock skips 02:00 to 02:30",
    ),
    "lord howe back": (
        "Australia/Lord_Howe",
        "2026-03-01T00:00Z",
        "on Sun 5 Apr 2026 the clock shows 01:30 to 02:00 twice",
    ),
    "cairo forward": ("Africa/Cairo", "2026-01-01T00:00Z", "on Fri 24 Apr 2026 the clock skips 00:00 to 01:00"),
    "cairo back": (
        "Africa/Cairo",
        "2026-05-01T00:00Z",
        "on Thu 29 Oct 2026 the clock shows 23:00 to 00:00 on Fri 30 Oct 2026 twice",
    ),
    "beirut forward": ("Asia/Beirut", "2026-01-01T00:00Z", "on Sun 29 Mar 2026 the clock skips 00:00 to 01:00"),
    "santiago back": (
        "America/Santiago",
        "2026-01-01T00:00Z",
        "on Sat 4 Apr 2026 the clock shows 23:00 to 00:00 on Sun 5 Apr 2026 twice",
    ),
    "havana back": ("America/Havana", "2025-10-01T00:00Z", "on Sun 2 Nov 2025 the clock shows 00:00 to 01:00 twice"),
    "st johns back": (
        "America/St_Johns",
        "2010-10-01T00:00Z",
        "on Sat 6 Nov 2010 the clock shows 23:01 to 00:01 on Sun 7 Nov 2010 twice",
    ),
    "apia forward": (
        "Pacific/Apia",
        "2011-12-01T00:00Z",
        "on Fri 30 Dec 2011 the clock skips 00:00 to 00:00 on Sat 31 Dec 2011",
    ),
}


@pytest.mark.parametrize(
    ("clock", "expression", "effect"),
    [
        ("london forward", "30 1 * * *", "01:30 does not exist, runs at 02:00"),
        ("london forward", "0,30 1 * * *", "01:00 and 01:30 do not exist, one run at 02:00"),
        ("london forward", "0-50/10 1 * * *", "01:00, 01:10, 01:20 and 3 more do not exist, one run at 02:00"),
        ("london forward", "30 1 * * MON", "nothing of this schedule falls into it"),
        ("london forward", "0 2 * * *", "nothing of this schedule falls into it"),
        ("london forward", "30 1,2 * * *", "01:30 does not exist, runs at 02:00"),
        ("london forward", "0 1,2 * * *", "01:00 does not exist, falls together with the run at 02:00"),
        ("london forward", "0,5 1,2 * * *", "01:00 and 01:05 do not exist, fall together with the run at 02:00"),
        ("london forward", "*/15 * * * *", "runs go on in real time, none between 01:00 and 02:00"),
        ("london forward", "59 * * * *", "runs go on in real time, none between 01:00 and 02:00"),
        ("london forward", "*/30 1 * * *", "01:00 and 01:30 do not exist, do not run"),
        ("london forward", "*/40 9 * * *", "nothing of this schedule falls into it"),
        ("new york forward", "30 */2 * * *", "02:30 does not exist, does not run"),
        ("new york forward", "0 2,4 * * */1", "02:00 does not exist, runs at 03:00"),
        ("london back", "30 1 * * *", "01:30 runs once, the first time"),
        ("london back", "0,20,40 1 * * *", "01:00, 01:20 and 01:40 run once, the first time"),
        ("london back", "30 * * * *", "01:30 runs both times"),
        ("london back", "*/15 1 * * *", "01:00, 01:15, 01:30 and 1 more run both times"),
        ("london back", "0 0,2 * * *", "nothing of this schedule falls into it"),
        ("dublin back", "30 1 * * *", "01:30 runs once, the first time"),
        ("casablanca back", "30 2 * * *", "02:30 runs once, the first time"),
        ("casablanca forward", "30 2 * * *", "02:30 does not exist, runs at 03:00"),
        ("lord howe forward", "15 2 * * *", "02:15 does not exist, runs at 02:30"),
        ("lord howe back", "45 * * * *", "01:45 runs both times"),
        ("cairo forward", "0 0 * * *", "00:00 does not exist, runs at 01:00"),
        ("cairo back", "30 23 * * *", "23:30 runs once, the first time"),
        ("beirut forward", "30 0 * * *", "00:30 does not exist, runs at 01:00"),
        ("santiago back", "*/30 23 * * SAT", "23:00 and 23:30 run both times"),
        ("havana back", "15 0 * * *", "00:15 runs once, the first time"),
        ("st johns back", "0 0 * * *", "00:00 on Sun 7 Nov 2010 runs once, the first time"),
        ("apia forward", "0 2 * * *", "02:00 does not exist, runs at 00:00 on Sat 31 Dec 2011"),
        ("apia forward", "0 */6 * * *", "runs go on in real time, none between 00:00 and 00:00 on Sat 31 Dec 2011"),
        ("apia forward", "*/30 2 30 12 *", "02:00 and 02:30 do not exist, do not run"),
    ],
)
def test_effect_of_a_clock_change(clock: str, expression: str, effect: str) -> None:
    time_zone, after, shown = CLOCKS[clock]
    (change,) = clock_changes(time_zone, datetime.fromisoformat(after), limit=1)
    assert effect_of(cron(expression, time_zone), change) == f"{shown}: {effect}"


def test_effect_of_random_rules_is_what_occurrences_do() -> None:
    seen = Counter[str]()
    drawn = [*cases.cron_cases("clock changes", 3_000), *cases.simple_cases("clock changes", 1_000)]
    for case in drawn:
        if not cases.clock_changes(case.rule.time_zone):
            continue
        nearest = min(cases.clock_changes(case.rule.time_zone), key=lambda change: abs(change.at - case.start))
        change = ClockChange(*nearest)
        _, effect = effect_of(case.rule, change).split(": ")
        kind = _expected_kind(case.rule, change)
        seen[kind] += 1
        assert re.fullmatch(_READS[kind], effect), (case.rule, change, kind, effect)
        assert effect.startswith(_expected_times(case.rule, change, kind)), (case.rule, change, effect)
    assert all(seen[kind] >= 3 for kind in _READS), seen


_READS = {
    "nothing": "nothing of this schedule falls into it",
    "moves": ".* (does not exist, runs|do not exist, one run) at .*",
    "coincides": ".* (does not exist, falls|do not exist, fall) together with the run at .*",
    "goes on": "runs go on in real time, none between .* and .*",
    "left out": ".* (does not exist, does|do not exist, do) not run",
    "once": ".* runs? once, the first time",
    "twice": ".* runs? both times",
}


def _expected_kind(rule: Rule, change: ClockChange) -> str:
    """By the instants and notes of the occurrences, a source that the words do not read."""
    if not change.is_forward:
        counts = Counter(run.local.replace(tzinfo=None, fold=0) for run in _runs_in_overlap(rule, change))
        assert len(set(counts.values())) <= 1, "a rule runs either once or both times"
        return {0: "nothing", 1: "once", 2: "twice"}[max(counts.values(), default=0)]
    runs = list(occurrences(rule, change.at - SECOND, until=change.at + HOUR - SECOND))
    if any(f"{change.wall_after:%H:%M}" in run.note and "does not exist" in run.note for run in runs):
        also_named = _named_by(rule, change.wall_after, change.wall_after + MINUTE)
        return "coincides" if also_named else "moves"
    if not _named_by(rule, change.wall_before, change.wall_after):
        return "nothing"
    assert wall_calendar_of(rule.expression).follows_real_time
    return "goes on" if runs else "left out"


def _expected_times(rule: Rule, change: ClockChange, kind: str) -> str:
    if kind in ("nothing", "goes on"):
        return ""
    if change.is_forward:
        walls = _named_by(rule, change.wall_before, change.wall_after)
    else:
        walls = sorted({run.local.replace(tzinfo=None, fold=0) for run in _runs_in_overlap(rule, change)})
    begins_on = min(change.wall_before, change.wall_after).date()
    names = [
        f"{wall:%H:%M}" if wall.date() == begins_on else f"{wall:%H:%M} on {wall:%a} {wall.day} {wall:%b %Y}"
        for wall in walls
    ]
    if len(names) > 3:
        names[3:] = [f"{len(names) - 3} more"]
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part) + " "


def _runs_in_overlap(rule: Rule, change: ClockChange) -> list[Occurrence]:
    runs = occurrences(rule, change.at + change.shift - SECOND, until=change.at - change.shift - SECOND)
    return [run for run in runs if "occurs twice" in run.note]


def _named_by(rule: Rule, start: datetime, stop: datetime) -> list[datetime]:
    """The wall times that the rule names in [start, stop), found in a zone whose clock never changes."""
    unchanging = occurrences(
        replace(rule, time_zone="UTC"), start.replace(tzinfo=UTC) - SECOND, stop.replace(tzinfo=UTC)
    )
    return [run.at.replace(tzinfo=None) for run in unchanging if run.at < stop.replace(tzinfo=UTC)]
