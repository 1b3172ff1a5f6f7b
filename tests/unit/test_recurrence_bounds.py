"""No rule keeps the search going: rare rules, rules that never come, zones that change decades from now."""

import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from types import FrameType

import pytest

from recurrence import InvalidScheduleError, occurrences, parse_rule
from tests.recurrence_full.cases import ZONES, Case, clock_changes
from tests.recurrence_full.readings import by_calendar

WATCHDOG_SECONDS = 20
AFTER = datetime(2025, 1, 15, 12, tzinfo=UTC)
RARE = (
    "0 0 29 2 *",
    "*/7 */5 29 2 *",
    "0 0 29 2 0#5",
    "0 0 */28 2 0#5",
    "0 0 */28 2 1",
    "*/10 2 * 3 0#2",  # within the hour that New York skips
    "59 23 31 12 *",
    "0 0 31W 2 *",
    "0 0 L 2 1#5",
)


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    def bark(_signal: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"still searching after {WATCHDOG_SECONDS} s in {frame}")

    previous = signal.signal(signal.SIGALRM, bark)
    signal.alarm(WATCHDOG_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("expression", RARE)
def test_rare_rule_ends_in_every_zone(expression: str) -> None:
    for time_zone in ZONES:
        rule = parse_rule("custom", {"cron_expression": expression}, time_zone)
        found = [occurrence.at for occurrence in occurrences(rule, AFTER, limit=12)]
        assert found == sorted(set(found))


@pytest.mark.parametrize(
    ("expression", "years"),
    [
        ("0 0 29 2 *", [2096, 2104, 2108]),
        ("0 0 */28 2 0#5", [2128, 2156, 2184]),  # 29 February on a Sunday
    ],
)
def test_rule_once_in_many_years(expression: str, years: list[int]) -> None:
    rule = parse_rule("custom", {"cron_expression": expression}, "UTC")
    after = datetime(2092, 3, 1, tzinfo=UTC)
    assert [occurrence.at.year for occurrence in occurrences(rule, after, limit=3)] == years


@pytest.mark.parametrize(
    "expression", ["0 0 31 2 *", "* * 30 2 *", "*/5 * 31 4,6,9,11 *", "0 0 31 2,4 *", "0 0 */29 4 1#4"]
)
def test_rule_that_never_fires_is_refused_at_once(expression: str) -> None:
    with pytest.raises(InvalidScheduleError, match="never fires"):
        parse_rule("custom", {"cron_expression": expression}, "America/New_York")


def test_zone_whose_rules_change_in_the_future() -> None:
    changes = Counter(change.at.year for change in clock_changes("Asia/Gaza"))
    assert (changes[2086], changes[2087]) == (4, 2)  # Ramadan is tabled until then, and not afterwards
    config: dict[str, object] = {"hour": 2, "minute": 30}
    rule = parse_rule("daily", config, "Asia/Gaza")
    case = Case("daily", config, rule, datetime(2086, 1, 1, tzinfo=UTC))
    assert [occurrence.at for occurrence in occurrences(rule, case.start, limit=800)] == by_calendar(case, 800)
