"""A rule in English, for people who do not read cron."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from cron_descriptor import Options, get_description  # pyright: ignore[reportMissingTypeStubs]

from recurrence.cron_syntax import DAY, MONTH, WEEKDAY
from recurrence.rules import SHORTEST_MONTH, Rule
from recurrence.wall_calendar import LAST, LONGEST_MONTH, WallCalendar, wall_calendar_of

Clock = Literal[12, 24]

MAX_TIMES_LISTED = 6
WEEKDAY_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
HOUR_NAMES: dict[Clock, tuple[str, ...]] = {
    24: tuple(f"{hour:02}" for hour in range(24)),
    12: tuple(f"{hour % 12 or 12} {'AM' if hour < 12 else 'PM'}" for hour in range(24)),
}
LEADING_ZERO = re.compile(r"\b0(?=\d:\d\d [AP]M)")
DAY_NAMES = tuple(str(day) for day in range(32))
MONTH_NAMES = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", LAST: "last"}
WORKING_DAYS = frozenset({1, 2, 3, 4, 5})


def describe(rule: Rule, with_zone: bool = True, clock: Clock = 24) -> str:
    """One line such as "Every Monday at 09:00 (Europe/London)", or "at 9:00 AM" by a 12 hour clock.

    The zone in parentheses can be left out. Different rules that fire alike read alike where they are simple.
    """
    wall_calendar = wall_calendar_of(rule.expression)
    times = _times(wall_calendar, clock)
    simple_days = _simple_days(wall_calendar)
    if times and simple_days:
        words = f"{simple_days} at {times}"
    else:
        parts = [f"At {times}" if times else _frequency(rule.expression, wall_calendar, clock), _days(wall_calendar)]
        words = ", ".join(part for part in parts if part)
    return f"{words} ({rule.time_zone})" if with_zone else words


def _times(wall_calendar: WallCalendar, clock: Clock) -> str:
    """Clock times one by one, or nothing when they are too many to read."""
    if len(wall_calendar.hours) * len(wall_calendar.minutes) > MAX_TIMES_LISTED:
        return ""
    return _listed(_time(hour, minute, clock) for hour in wall_calendar.hours for minute in wall_calendar.minutes)


def _time(hour: int, minute: int, clock: Clock) -> str:
    if clock == 24:
        return f"{hour:02}:{minute:02}"
    return f"{hour % 12 or 12}:{minute:02} {'AM' if hour < 12 else 'PM'}"


def _simple_days(wall_calendar: WallCalendar) -> str:
    """Days as the daily, weekly and monthly types say them, or nothing when it takes more words."""
    if len(wall_calendar.months) < MONTH.high:
        return ""
    any_date, any_weekday = _allows_any_day(wall_calendar)
    if any_date and any_weekday:
        return "Every day"
    if any_date and not wall_calendar.nth_weekdays:
        return _weekdays(wall_calendar, alone="Every ")
    if any_weekday and (day := _only_day(wall_calendar)):
        return f"On {day}"
    return ""


def _allows_any_day(wall_calendar: WallCalendar) -> tuple[bool, bool]:
    """Whether the date and the weekday leave every day open; in an either-or, one is enough for both."""
    any_date = len(wall_calendar.days) == DAY.high
    any_weekday = len(wall_calendar.weekdays) == WEEKDAY.high
    if not wall_calendar.needs_both_days and (any_date or any_weekday):
        return True, True
    return any_date, any_weekday


def _only_day(wall_calendar: WallCalendar) -> str:
    if wall_calendar.clamped_day is not None:
        return f"day {wall_calendar.clamped_day} (or the last day) of every month"
    special = _special_dates(wall_calendar)
    if len(special) == 1 and not wall_calendar.days:
        return f"{special[0]} of every month"
    if special or len(wall_calendar.days) != 1:
        return ""
    (day,) = wall_calendar.days
    return f"day {day} of every month" + (" that has one" if day > SHORTEST_MONTH else "")


def _days(wall_calendar: WallCalendar) -> str:
    any_date, any_weekday = _allows_any_day(wall_calendar)
    dates = "" if any_date else f"on {_dates(wall_calendar)} of the month"
    weekdays = "" if any_weekday else f"on {_weekdays(wall_calendar, alone='')}"
    if dates and weekdays:
        joined = f"{weekdays}, but only {dates}" if wall_calendar.needs_both_days else f"{dates} or {weekdays}"
    else:
        joined = dates or weekdays
    if len(wall_calendar.months) == MONTH.high:
        return joined
    months = _spans(MONTH_NAMES, (month - 1 for month in wall_calendar.months))
    return f"{joined}, in {months}" if joined else f"every day in {months}"


def _dates(wall_calendar: WallCalendar) -> str:
    special = _special_dates(wall_calendar)
    if not wall_calendar.days:
        return _listed(special)
    plural = "s" if len(wall_calendar.days) > 1 else ""
    return _listed([f"day{plural} {_spans(DAY_NAMES, wall_calendar.days)}", *special])


def _special_dates(wall_calendar: WallCalendar) -> list[str]:
    words = ["the last day"] if wall_calendar.has_last_day else []
    for day in wall_calendar.nearest_weekdays_to:
        if day == LONGEST_MONTH:
            words.append("the last weekday (Monday to Friday)")
        else:
            short_months = ", or nearest the last day," if day > SHORTEST_MONTH else ""
            words.append(f"the weekday (Monday to Friday) nearest day {day}{short_months}")
    return words


def _weekdays(wall_calendar: WallCalendar, alone: str) -> str:
    """`alone` goes before a single weekday: "Every Monday", but "on Mondays"."""
    days = wall_calendar.weekdays
    if alone and len(days) == 1:
        return alone + WEEKDAY_NAMES[min(days)]
    if days == WORKING_DAYS:
        plain = ["Mondays to Fridays"]
    else:
        plain = [f"{WEEKDAY_NAMES[day]}s" for day in sorted(days, key=lambda day: (day - 1) % 7)]
    nth = [f"the {ORDINALS[nth]} {WEEKDAY_NAMES[day]} of the month" for day, nth in sorted(wall_calendar.nth_weekdays)]
    return _listed([*plain, *nth])


def _frequency(expression: str, wall_calendar: WallCalendar, clock: Clock) -> str:
    """Times too many to list. cron-descriptor speaks only where it cannot mislead.

    It calls `*/40` "every 40 minutes" and drops hours that follow no pattern from sight.
    """
    minute, hour = expression.split(" ")[:2]
    minute = minute if _is_even(minute, 60) else _pattern(wall_calendar.minutes)
    if len(wall_calendar.hours) == 24:
        return _described(f"{minute} * * * *", clock)
    first, last = wall_calendar.hours[0], wall_calendar.hours[-1]
    if len(wall_calendar.hours) == last - first + 1:
        if len(wall_calendar.minutes) == 1:
            only = wall_calendar.minutes[0]
            return f"Every hour from {_time(first, only, clock)} to {_time(last, only, clock)}"
        return _described(f"{minute} {first}-{last} * * *", clock)
    if len(wall_calendar.minutes) == 1 and hour.startswith("*") and _is_even(hour, 24):
        return _described(f"{minute} {hour} * * *", clock)
    return f"{_described(f'{minute} * * * *', clock)}, in the hours {_spans(HOUR_NAMES[clock], wall_calendar.hours)}"


def _is_even(field: str, cycle: int) -> bool:
    """Whether a field is `*`, or `*/n` with steps of one length all around the clock."""
    if field == "*":
        return True
    star, _, step = field.partition("/")
    return star == "*" and step.isdigit() and int(step) < cycle and cycle % int(step) == 0


def _pattern(values: Sequence[int]) -> str:
    """Values as a cron field, a stepped range when they are many and evenly spaced."""
    if len(values) > MAX_TIMES_LISTED and (step := _step(values)):
        return f"{values[0]}-{values[-1]}" + (f"/{step}" if step > 1 else "")
    return ",".join(map(str, values))


def _step(values: Sequence[int]) -> int:
    """The distance between neighbours when it is the same for all, otherwise 0."""
    steps = {later - earlier for earlier, later in pairwise(values)}
    return steps.pop() if len(steps) == 1 else 0


@lru_cache(maxsize=4096)
def _described(expression: str, clock: Clock) -> str:
    options = Options()
    options.locale_code = "en_US"
    options.use_24hour_time_format = clock == 24
    return LEADING_ZERO.sub("", get_description(expression, options))


def _spans(names: Sequence[str], positions: Iterable[int]) -> str:
    """Runs of three or more as "1 to 7", five or more in equal steps as "1, 3, 5 and so on to 31"."""
    ordered = sorted(positions)
    if _step(ordered) > 1 and len(ordered) >= 5:
        return f"{', '.join(names[position] for position in ordered[:3])} and so on to {names[ordered[-1]]}"
    runs: list[list[int]] = []
    for position in ordered:
        if runs and position == runs[-1][-1] + 1:
            runs[-1].append(position)
        else:
            runs.append([position])
    words: list[str] = []
    for run in runs:
        if len(run) > 2:
            words.append(f"{names[run[0]]} to {names[run[-1]]}")
        else:
            words.extend(names[position] for position in run)
    return _listed(words)


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
