"""What a job's schedule columns mean: `parse_rule` checks them and makes one comparable value of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from recurrence.cron_syntax import canonical_expression
from recurrence.errors import InvalidScheduleError, quoted
from recurrence.wall_calendar import wall_calendar_of
from recurrence.zones import checked_time_zone

__all__ = ["InvalidScheduleError", "Rule", "parse_rule"]

KEYS = {
    "daily": ("hour", "minute"),
    "weekly": ("day_of_week", "hour", "minute"),
    "monthly": ("day", "hour", "minute"),
    "custom": ("cron_expression",),
}
ALLOWED = {
    "hour": "0-23",
    "minute": "0-59",
    "day": '1-31 or "last"',
    "day_of_week": "0-7 (0 and 7 = Sunday) or a list of them",
    "cron_expression": "5 fields as in crontab(5)",
}
KINDS: dict[type, str] = {
    bool: "a boolean",
    dict: "an object",
    float: "a fraction",
    list: "a list",
    str: "text",
    type(None): "nothing",
}
SHORTEST_MONTH = 28


@dataclass(frozen=True, slots=True)
class Rule:
    """A valid schedule. Equal rules fire at the same instants, so it serves as a cache key.

    Made by `parse_rule` only. `expression` is canonical cron, with `~30` as the day of month for a monthly
    rule on day 30 that runs on the last day of shorter months.
    """

    schedule_type: str
    expression: str
    time_zone: str


def parse_rule(schedule_type: str, schedule_config: Mapping[str, object], time_zone: str) -> Rule:
    """Check a schedule as stored in `schedule_type`, `schedule_config` and `time_zone`.

    Raises InvalidScheduleError, whatever the arguments hold. Nothing is assumed: a missing key is an error.
    """
    config = _checked_config(schedule_type, schedule_config)
    expression = _expression(schedule_type, config)
    wall_calendar_of(expression)  # refuses a rule that can never fire
    return Rule(schedule_type, expression, checked_time_zone(time_zone))


def _checked_config(schedule_type: object, config: object) -> Mapping[str, object]:
    if not isinstance(schedule_type, str) or schedule_type not in KEYS:
        raise InvalidScheduleError(f"unknown schedule_type {quoted(schedule_type)}: allowed {', '.join(KEYS)}")
    keys = KEYS[schedule_type]
    if not isinstance(config, Mapping):
        raise InvalidScheduleError(
            f"schedule_config {quoted(config)} is not an object: {schedule_type} needs {', '.join(keys)}"
        )
    if not config:
        raise InvalidScheduleError(f"schedule_config is empty: {schedule_type} needs {', '.join(keys)}")
    found = cast(Mapping[str, object], config)
    for key in found:
        if key not in keys:
            raise InvalidScheduleError(
                f"unknown key {quoted(key)} in schedule_config: {schedule_type} allows {', '.join(keys)}"
            )
    for key in keys:
        if key not in found:
            raise InvalidScheduleError(f"{key} is missing; allowed {ALLOWED[key]}")
    return found


def _expression(schedule_type: str, config: Mapping[str, object]) -> str:
    if schedule_type == "custom":
        text = config["cron_expression"]
        if not isinstance(text, str):
            raise InvalidScheduleError(
                f"cron_expression {quoted(text)} is not text: allowed {ALLOWED['cron_expression']}"
            )
        return canonical_expression(text)
    # Checked in the order in which the keys are shown, so that the first message is about the first mistake.
    days = "* * *"
    if schedule_type == "weekly":
        days = f"* * {_weekdays(config['day_of_week'])}"
    elif schedule_type == "monthly":
        days = f"{_day(config['day'])} * *"
    hour = _whole_number("hour", config["hour"], 0, 23)
    minute = _whole_number("minute", config["minute"], 0, 59)
    return f"{minute} {hour} {days}"


def _day(value: object) -> str:
    if value == "last":
        return "L"
    day = _whole_number("day", value, 1, 31)
    return str(day) if day <= SHORTEST_MONTH else f"~{day}"


def _weekdays(value: object) -> str:
    days = list(cast("list[object]", value)) if isinstance(value, list | tuple) else [value]
    if not days:
        raise InvalidScheduleError(f"day_of_week is an empty list; allowed {ALLOWED['day_of_week']}")
    numbers = {_whole_number("day_of_week", day, 0, 7) % 7 for day in days}
    return ",".join(str(number) for number in sorted(numbers))


def _whole_number(key: str, value: object, low: int, high: int) -> int:
    # bool is an int to Python, but "hour": true in JSON is a mistake.
    if isinstance(value, bool) or not isinstance(value, int):
        kind = KINDS.get(type(value), "something else")
        raise InvalidScheduleError(f"{key} {quoted(value)} is {kind}, not a whole number: allowed {ALLOWED[key]}")
    if not low <= value <= high:
        raise InvalidScheduleError(f"{key} {quoted(value)}: allowed {ALLOWED[key]}")
    return value
