"""What people read: one wording per rule, the same for rules that fire alike, and for no others."""

import contextlib
import random
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise

import pytest

from recurrence import InvalidScheduleError, Rule, describe, next_occurrence, occurrences, parse_rule


@pytest.mark.parametrize(
    ("schedule_type", "config", "words"),
    [
        ("daily", {"hour": 2, "minute": 0}, "Every day at 02:00"),
        ("weekly", {"day_of_week": 1, "hour": 9, "minute": 0}, "Every Monday at 09:00"),
        ("weekly", {"day_of_week": 7, "hour": 9, "minute": 5}, "Every Sunday at 09:05"),
        (
            "weekly",
            {"day_of_week": [5, 3, 1], "hour": 12, "minute": 0},
            "Mondays, Wednesdays and Fridays at 12:00",
        ),
        ("weekly", {"day_of_week": [0, 6], "hour": 12, "minute": 0}, "Saturdays and Sundays at 12:00"),
        ("weekly", {"day_of_week": [1, 2, 3, 4, 5], "hour": 8, "minute": 0}, "Mondays to Fridays at 08:00"),
        ("weekly", {"day_of_week": [0, 1, 2, 3, 4, 5, 6], "hour": 8, "minute": 0}, "Every day at 08:00"),
        ("monthly", {"day": 1, "hour": 6, "minute": 0}, "On day 1 of every month at 06:00"),
        ("monthly", {"day": 31, "hour": 6, "minute": 0}, "On day 31 (or the last day) of every month at 06:00"),
        ("monthly", {"day": "last", "hour": 6, "minute": 0}, "On the last day of every month at 06:00"),
    ],
)
def test_description_of_simple_types(schedule_type: str, config: dict[str, object], words: str) -> None:
    rule = parse_rule(schedule_type, config, "Europe/London")
    assert describe(rule) == f"{words} (Europe/London)"
    assert describe(rule, with_zone=False) == words


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        # In the words of the simple types.
        ("0 12 * * 1,3,5", "Mondays, Wednesdays and Fridays at 12:00"),
        ("0 9 * * MON", "Every Monday at 09:00"),
        ("@daily", "Every day at 00:00"),
        ("0 0 * * 0-7", "Every day at 00:00"),
        ("0 0 1-31 * 1", "Every day at 00:00"),
        ("0 6 1 * *", "On day 1 of every month at 06:00"),
        ("0 6 L * *", "On the last day of every month at 06:00"),
        ("0 6 31 * *", "On day 31 of every month (if it has one) at 06:00"),
        ("0 6 LW * *", "On the last weekday (Monday to Friday) of every month at 06:00"),
        ("0 6 15W * *", "On the weekday (Monday to Friday) nearest day 15 of every month at 06:00"),
        (
            "0 6 30W * *",
            "On the weekday (Monday to Friday) nearest day 30, or nearest the last day, of every month at 06:00",
        ),
        ("0 9,17 * * *", "Every day at 09:00 and 17:00"),
        ("0 */6 * * 1-5", "Mondays to Fridays at 00:00, 06:00, 12:00 and 18:00"),
        # Frequencies.
        ("* * * * *", "Every minute"),
        ("*/15 * * * *", "Every 15 minutes"),
        ("@hourly", "Every hour"),
        ("0 */2 * * *", "Every 2 hours from 00:00 to 22:00"),
        ("30 * * * *", "At 30 minutes past every hour"),
        ("*/5 9-17 * * 1-5", "Every 5 minutes, between 09:00 and 17:59, on Mondays to Fridays"),
        ("0 9-17 * * *", "Every hour from 09:00 to 17:00"),
        # What cron-descriptor would say wrongly: "every 40 minutes", "every 5 hours", "every 3 days".
        ("*/40 * * * *", "At 0 and 40 minutes past every hour"),
        ("*/7 * * * *", "Every 7 minutes from 0 to 56 minutes past every hour"),
        ("* */5 * * *", "Every minute, in the hours 00, 05, 10 and so on to 20"),
        ("*/15 9-11,14 * * *", "Every 15 minutes, between 09:00 and 11:59 and between 14:00 and 14:59"),
        ("0 0 */3 * *", "On days 1, 4, 7 and so on to 31 of every month at 00:00"),
        # Or, when neither day field starts with a star; and, when one does.
        ("0 12 1 * 1", "On day 1 of every month, and also on Mondays, at 12:00"),
        ("0 0 13,15 * 5", "On days 13 and 15 of every month, and also on Fridays, at 00:00"),
        ("0 0 */2 * 1", "On Mondays, but only on days 1, 3, 5 and so on to 31 of every month, at 00:00"),
        ("0 0 1,L * *", "On day 1 and the last day of every month at 00:00"),
        ("0 0 L * 5L", "On the last day of every month, and also on the last Friday of every month, at 00:00"),
        ("0 0 * * 5L", "On the last Friday of every month at 00:00"),
        ("0 0 * * 1#2", "On the second Monday of every month at 00:00"),
        ("0 0 * * 1,5#2", "On Mondays and the second Friday of every month at 00:00"),
        ("0 0 1 1 *", "On day 1 of January at 00:00"),
        ("0 0 * 1-3,6 *", "Every day in January, February, March and June at 00:00"),
        ("0 0 * 6-8 *", "Every day from June to August at 00:00"),
        ("0 0 1 6-8 *", "On day 1 of every month from June to August at 00:00"),
        ("0 0 1 */3 *", "On day 1 of January, April, July and October at 00:00"),
        ("0 0 * 12 1-5", "Mondays to Fridays in December at 00:00"),
        ("0 0 1 1 0", "On day 1 of January, and also on Sundays in January, at 00:00"),
        ("0 0 29 2 *", "On day 29 of February (in leap years) at 00:00"),
        ("0 0 29 2,3 *", "On day 29 of February and March (if it has one) at 00:00"),
        ("0 0 31 1,3 *", "On day 31 of January and March at 00:00"),
        ("0 0 * * 1#1,1#3", "On the first and third Monday of every month at 00:00"),
        (
            "0 0 */10 * 1#2",
            "On the second Monday of the month, but only on days 1, 11, 21 and 31 of every month, at 00:00",
        ),
        ("0 0 * * 1-6", "Mondays to Saturdays at 00:00"),
        ("0 0 * * 5-7", "Fridays to Sundays at 00:00"),
        ("*/15 * * 1 *", "Every 15 minutes, every day in January"),
        ("*/5 9-17 13 * 5", "Every 5 minutes, between 09:00 and 17:59, on day 13 of every month, and also on Fridays"),
        # One way of writing a pattern reads like another.
        ("0,30 * * * *", "Every 30 minutes"),
        ("0,15,30,45 9-17 * * *", "Every 15 minutes, between 09:00 and 17:59"),
        ("5-59/15 * * * *", "At 5, 20, 35 and 50 minutes past every hour"),
        ("1 * * * *", "At 1 minute past every hour"),
        ("1-59/2 * * * *", "Every 2 minutes from 1 to 59 minutes past every hour"),
        ("0-10 * * * *", "Every minute from 0 to 10 minutes past every hour"),
        ("10-20,40 * * * *", "At minutes 10 to 20 and 40 of every hour"),
        ("0-29 9 * * *", "Every minute from 09:00 to 09:29"),
        ("* 9 * * *", "Every minute from 09:00 to 09:59"),
        ("15,45 8-11 * * *", "At 15 and 45 minutes past the hour, between 08:00 and 11:59"),
        ("30 */2 * * *", "Every 2 hours from 00:30 to 22:30"),
        ("0 1-23/2 * * *", "Every 2 hours from 01:00 to 23:00"),
        ("0 8-11,13-17 * * *", "Every hour from 08:00 to 11:00 and from 13:00 to 17:00"),
        ("5 0,2,9-13,20 * * *", "Every hour from 09:05 to 13:05, and at 00:05, 02:05 and 20:05"),
        ("0 0,1,3,4,6,7,9 * * *", "At 00:00, 01:00, 03:00, 04:00, 06:00, 07:00 and 09:00"),
        ("* */2 * * *", "Every minute, in the hours 00, 02, 04 and so on to 22"),
    ],
)
def test_description_of_custom(expression: str, words: str) -> None:
    rule = parse_rule("custom", {"cron_expression": expression}, "Europe/London")
    assert describe(rule) == f"{words} (Europe/London)"


@pytest.mark.parametrize(
    ("schedule_type", "config", "words"),
    [
        ("daily", {"hour": 0, "minute": 5}, "Every day at 12:05 AM"),
        ("daily", {"hour": 12, "minute": 0}, "Every day at 12:00 PM"),
        ("weekly", {"day_of_week": 1, "hour": 9, "minute": 0}, "Every Monday at 9:00 AM"),
        ("weekly", {"day_of_week": [5, 3, 1], "hour": 12, "minute": 30}, "Mondays, Wednesdays and Fridays at 12:30 PM"),
        ("monthly", {"day": "last", "hour": 18, "minute": 0}, "On the last day of every month at 6:00 PM"),
        ("custom", {"cron_expression": "0 9,17 * * *"}, "Every day at 9:00 AM and 5:00 PM"),
        ("custom", {"cron_expression": "0 9-17 * * *"}, "Every hour from 9:00 AM to 5:00 PM"),
        (
            "custom",
            {"cron_expression": "*/5 9-17 * * 1-5"},
            "Every 5 minutes, between 9:00 AM and 5:59 PM, on Mondays to Fridays",
        ),
        (
            "custom",
            {"cron_expression": "*/15 9-11,14 * * *"},
            "Every 15 minutes, between 9:00 AM and 11:59 AM and between 2:00 PM and 2:59 PM",
        ),
        ("custom", {"cron_expression": "0 12 1 * 1"}, "On day 1 of every month, and also on Mondays, at 12:00 PM"),
        ("custom", {"cron_expression": "*/20 * * * *"}, "Every 20 minutes"),
        ("custom", {"cron_expression": "0 */2 * * *"}, "Every 2 hours from 12:00 AM to 10:00 PM"),
        ("custom", {"cron_expression": "* */6 * * *"}, "Every minute, in the hours 12 AM, 6 AM, 12 PM and 6 PM"),
    ],
)
def test_description_by_a_12_hour_clock(schedule_type: str, config: dict[str, object], words: str) -> None:
    rule = parse_rule(schedule_type, config, "Europe/London")
    assert describe(rule, clock=12) == f"{words} (Europe/London)"
    assert describe(rule, with_zone=False, clock=12) == words


# Few values a field, and neighbours of one another, so that many of the rules come close to reading alike.
MINUTES = (
    "* 0-59 0 30 59 0,30 */30 0-59/30 */15 0,15,30,45 5-59/15 0-45/15 1-46/15 */2 1-59 1-59/2 */7 0-56/7 */40 0,40 "
    "0-10 0-10,20 0-9,20 0-6 0,1,2,3,4,5,6 0-12/2"
)
HOURS = (
    "* 0-23 0 9 12 21 9-17 9-17/2 9-17/4 1-22 22-23 */2 1-23/2 */3 */5 0-20/5 */6 0,6,12,18 0-12/12 8-11,13-17 "
    "8-11,13,15-17 8-10,12,13,17 0,1,3,4,6,7,9 0,1,3,4,6,7,10"
)
DAYS = (
    "* * * 1 15 29 30 31 1,15 1-7 1-30 1-31 28-31 29-31 30,31 */2 1-31/2 2-30/2 1-29/2 */10 */30 1,3,5,7,9 1,3,5,7,31 "
    "L 1,L LW L,LW 15W 15,LW 30W 31W"
)
MONTHS = "* * * 1 2 2,3 6,7 1-3 1,2,3 6-8 1-11 2-12 */2 2-12/2 */3 1,3,5,7,11"
WEEKDAYS = (
    "* * * 0 7 1 5 0,6 1-5 1-6 0-6 2-6 5-7 */2 */7 1,3,5 5L 1L 1#1 1#5 1#1,1#3 1,5L 1#1,5 1-5,5L 1#5,1L 1,2#1 1#1,2"
)


def rules_that_nearly_read_alike() -> list[Rule]:
    chance = random.Random("words")
    fields = [values.split() for values in (MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS)]
    expressions = {f"{minute} {hour} * * *" for minute in fields[0] for hour in fields[1]}
    expressions |= {" ".join(["0 9", *map(chance.choice, fields[2:])]) for _ in range(2_500)}
    expressions |= {" ".join(map(chance.choice, fields)) for _ in range(1_500)}
    rules = [parse_rule("monthly", {"day": day, "hour": 9, "minute": 0}, "UTC") for day in (*range(1, 32), "last")]
    for expression in sorted(expressions):
        with contextlib.suppress(InvalidScheduleError):  # never fires
            rules.append(parse_rule("custom", {"cron_expression": expression}, "UTC"))
    return rules


def fires_on(rule: Rule) -> tuple[list[date], list[time]]:
    """In UTC, where all days are alike: the days of a leap year and the one after, and the times of any such day."""
    start, end = datetime(2027, 12, 31, 23, 59, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    first = at = next_occurrence(rule, start)
    assert first is not None
    days: list[date] = []
    while at is not None and at < end:
        days.append(at.date())
        at = next_occurrence(rule, datetime.combine(at, time.max, UTC))
    same_day = occurrences(rule, first - timedelta(minutes=1), until=datetime.combine(first, time.max, UTC))
    return days, [occurrence.at.time() for occurrence in same_day]


def test_rules_that_read_alike_fire_alike() -> None:
    alike: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules_that_nearly_read_alike():
        alike[describe(rule)].append(rule)
        alike[f"by 12 hours: {describe(rule, clock=12)}"].append(rule)
    pairs = [(words, one, other) for words, rules in alike.items() for one, other in pairwise(rules)]
    assert len(pairs) > 1_000
    remembered = cache(fires_on)
    for words, one, other in pairs:
        assert remembered(one) == remembered(other), (words, one.expression, other.expression)
