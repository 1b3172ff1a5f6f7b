"""What people read: one wording per rule, the same for rules that fire alike."""

import pytest

from recurrence import describe, parse_rule


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
        ("0 6 31 * *", "On day 31 of every month that has one at 06:00"),
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
        ("0 */2 * * *", "Every 2 hours"),
        ("30 * * * *", "At 30 minutes past the hour"),
        ("*/5 9-17 * * 1-5", "Every 5 minutes, between 09:00 and 17:59, on Mondays to Fridays"),
        ("0 9-17 * * *", "Every hour from 09:00 to 17:00"),
        # What cron-descriptor would say wrongly: "every 40 minutes", "every 5 hours", "every 3 days".
        ("*/40 * * * *", "At 0 and 40 minutes past the hour"),
        ("*/7 * * * *", "Every 7 minutes, minutes 0 through 56 past the hour"),
        ("* */5 * * *", "Every minute, in the hours 00, 05, 10 and so on to 20"),
        ("*/15 9-11,14 * * *", "Every 15 minutes, in the hours 09 to 11 and 14"),
        ("0 0 */3 * *", "At 00:00, on days 1, 4, 7 and so on to 31 of the month"),
        # Or, when neither day field starts with a star; and, when one does.
        ("0 12 1 * 1", "At 12:00, on day 1 of the month or on Mondays"),
        ("0 0 13,15 * 5", "At 00:00, on days 13 and 15 of the month or on Fridays"),
        ("0 0 */2 * 1", "At 00:00, on Mondays, but only on days 1, 3, 5 and so on to 31 of the month"),
        ("0 0 1,L * *", "At 00:00, on day 1 and the last day of the month"),
        ("0 0 L * 5L", "At 00:00, on the last day of the month or on the last Friday of the month"),
        ("0 0 * * 5L", "At 00:00, on the last Friday of the month"),
        ("0 0 * * 1#2", "At 00:00, on the second Monday of the month"),
        ("0 0 * * 1,5#2", "At 00:00, on Mondays and the second Friday of the month"),
        ("0 0 1 1 *", "At 00:00, on day 1 of the month, in January"),
        ("0 0 * 1-3,6 *", "At 00:00, every day in January to March and June"),
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
        ("custom", {"cron_expression": "*/15 9-11,14 * * *"}, "Every 15 minutes, in the hours 9 AM to 11 AM and 2 PM"),
        ("custom", {"cron_expression": "0 12 1 * 1"}, "At 12:00 PM, on day 1 of the month or on Mondays"),
        ("custom", {"cron_expression": "*/20 * * * *"}, "Every 20 minutes"),
    ],
)
def test_description_by_a_12_hour_clock(schedule_type: str, config: dict[str, object], words: str) -> None:
    rule = parse_rule(schedule_type, config, "Europe/London")
    assert describe(rule, clock=12) == f"{words} (Europe/London)"
    assert describe(rule, with_zone=False, clock=12) == words
