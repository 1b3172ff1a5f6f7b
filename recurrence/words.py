"""A rule in English, for people who do not read cron.

Words tell which times of the clock on which days, and rules that differ in these never read alike. What a
change of the clock does to a rule is told by the notes of its occurrences.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from cron_descriptor import Options, get_description  # pyright: ignore[reportMissingTypeStubs]

from recurrence.cron_syntax import DAY, HOUR, MINUTE, MONTH, WEEKDAY
from recurrence.rules import SHORTEST_MONTH, Rule
from recurrence.wall_calendar import LAST, LONGEST_MONTH, WallCalendar, wall_calendar_of

Clock = Literal[12, 24]

MAX_TIMES_LISTED = 6
MAX_RUNS_OF_HOURS = 3
WEEKDAY_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
PLURAL_WEEKDAYS = (*(f"{name}s" for name in WEEKDAY_NAMES[1:]), "Sundays")  # the week as people list it
HOUR_NAMES: dict[Clock, tuple[str, ...]] = {
    24: tuple(f"{hour:02}" for hour in range(24)),
    12: tuple(f"{hour % 12 or 12} {'AM' if hour < 12 else 'PM'}" for hour in range(24)),
}
LEADING_ZERO = re.compile(r"\b0(?=\d:\d\d [AP]M)")
NUMBERS = tuple(str(number) for number in range(60))
MONTH_NAMES = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
FEBRUARY = frozenset({2})
MONTHS_LACKING = {29: FEBRUARY, 30: FEBRUARY, 31: frozenset({2, 4, 6, 9, 11})}  # 29 February in most years
ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", LAST: "last"}
MINUTES_AN_HOUR, HOURS_A_DAY = MINUTE.high + 1, HOUR.high + 1


def describe(rule: Rule, with_zone: bool = True, clock: Clock = 24) -> str:
    """One line such as "Every Monday at 09:00 (Europe/London)", or "at 9:00 AM" by a 12 hour clock.

    The zone in parentheses can be left out. Different rules that fire alike read alike where they are simple.
    """
    wall_calendar = wall_calendar_of(rule.expression)
    if times := _times(wall_calendar, clock):
        words = f"{_days(wall_calendar)} at {times}"
    else:
        days = _days(wall_calendar, opening=False).rstrip(",")
        words = ", ".join(part for part in (_frequency(wall_calendar, clock), days) if part)
    words = words[0].upper() + words[1:]
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


def _days(wall_calendar: WallCalendar, opening: bool = True) -> str:
    """The days to open a sentence with, or to go after a frequency; with a comma where more must not run on."""
    any_date, any_weekday = _allows_any_day(wall_calendar)
    in_months, of_months = _months(wall_calendar)
    if any_date and any_weekday:
        return f"every day{in_months}" if opening or in_months else ""
    if any_date and not wall_calendar.nth_weekdays:
        if opening and len(wall_calendar.weekdays) == 1:
            return f"every {WEEKDAY_NAMES[min(wall_calendar.weekdays)]}{in_months}"
        return ("" if opening else "on ") + _weekdays(wall_calendar) + in_months
    weekday_months = f" {of_months}" if wall_calendar.nth_weekdays else in_months
    if any_date:
        return f"on {_weekdays(wall_calendar)}{weekday_months}"
    dates = f"on {_dates(wall_calendar)} {of_months}{_if_there_is_one(wall_calendar)}"
    if any_weekday:
        return dates
    if wall_calendar.needs_both_days:
        which = " of the month" if wall_calendar.nth_weekdays else ""
        return f"on {_weekdays(wall_calendar)}{which}, but only {dates},"
    return f"{dates}, and also on {_weekdays(wall_calendar)}{weekday_months},"


def _allows_any_day(wall_calendar: WallCalendar) -> tuple[bool, bool]:
    """Whether the date and the weekday leave every day open; in an either-or, one is enough for both."""
    any_date = len(wall_calendar.days) == DAY.high
    any_weekday = len(wall_calendar.weekdays) == WEEKDAY.high
    if not wall_calendar.needs_both_days and (any_date or any_weekday):
        return True, True
    return any_date, any_weekday


def _months(wall_calendar: WallCalendar) -> tuple[str, str]:
    """The months as they go after a day of the week, and after a day of the month."""
    months = sorted(wall_calendar.months)
    if len(months) == MONTH.high:
        return "", "of every month"
    if len(months) > 2 and _step(months) == 1:
        span = f"from {MONTH_NAMES[months[0] - 1]} to {MONTH_NAMES[months[-1] - 1]}"
        return f" {span}", f"of every month {span}"
    names = _listed(MONTH_NAMES[month - 1] for month in months)
    return f" in {names}", f"of {names}"


def _dates(wall_calendar: WallCalendar) -> str:
    special = _special_dates(wall_calendar)
    if not wall_calendar.days:
        return _listed(special)
    plural = "s" if len(wall_calendar.days) > 1 else ""
    return _listed([f"day{plural} {_spans(NUMBERS, wall_calendar.days)}", *special])


def _special_dates(wall_calendar: WallCalendar) -> list[str]:
    words = ["the last day"] if wall_calendar.has_last_day else []
    if wall_calendar.clamped_day is not None:
        words.append(f"day {wall_calendar.clamped_day} (or the last day)")
    for day in sorted(wall_calendar.nearest_weekdays_to):
        if day == LONGEST_MONTH:
            words.append("the last weekday (Monday to Friday)")
        else:
            short_months = ", or nearest the last day," if day > SHORTEST_MONTH else ""
            words.append(f"the weekday (Monday to Friday) nearest day {day}{short_months}")
    return words


def _if_there_is_one(wall_calendar: WallCalendar) -> str:
    """For a lone day that some of the rule's months lack."""
    if len(wall_calendar.days) != 1 or _special_dates(wall_calendar):
        return ""
    (day,) = wall_calendar.days
    if not MONTHS_LACKING.get(day, frozenset()) & wall_calendar.months:
        return ""
    return " (in leap years)" if wall_calendar.months == FEBRUARY else " (if it has one)"


def _weekdays(wall_calendar: WallCalendar) -> str:
    plain = (
        [_spans(PLURAL_WEEKDAYS, ((day - 1) % 7 for day in wall_calendar.weekdays))] if wall_calendar.weekdays else []
    )
    nth: list[str] = []
    for weekday in sorted({weekday for weekday, _ in wall_calendar.nth_weekdays}):
        ordinals = [ORDINALS[nth] for nth in ORDINALS if (weekday, nth) in wall_calendar.nth_weekdays]
        nth.append(f"the {_listed(ordinals)} {WEEKDAY_NAMES[weekday]}")
    return _listed([*plain, *nth])


def _frequency(wall_calendar: WallCalendar, clock: Clock) -> str:
    """Times too many to list. cron-descriptor speaks only where it cannot mislead.

    It calls `*/40` "every 40 minutes" and drops hours that follow no pattern from sight.
    """
    minutes, hours = wall_calendar.minutes, wall_calendar.hours
    if len(minutes) == 1:
        return _hourly(hours, minutes[0], clock)
    is_all_day = len(hours) == HOURS_A_DAY
    runs = _runs(hours)
    step = _step(minutes)
    if len(hours) == 1 and step:
        first, last = (_time(hours[0], minute, clock) for minute in (minutes[0], minutes[-1]))
        return f"Every {_unit(step, 'minute')} from {first} to {last}"
    if _is_even(minutes) and len(runs) == 1:
        field = "*" if is_all_day else f"{hours[0]}-{hours[-1]}"
        return _described(f"*/{MINUTES_AN_HOUR // len(minutes)} {field} * * *", clock)
    words = _minutes(minutes, "every hour" if is_all_day else "the hour")
    if is_all_day:
        return words
    if len(runs) > MAX_RUNS_OF_HOURS:
        return f"{words}, in the hours {_spans(HOUR_NAMES[clock], hours)}"
    spans = [f"between {_time(run[0], MINUTE.low, clock)} and {_time(run[-1], MINUTE.high, clock)}" for run in runs]
    return f"{words}, {_listed(spans)}"


def _hourly(hours: Sequence[int], minute: int, clock: Clock) -> str:
    """One minute of more hours than can be listed."""
    if len(hours) == HOURS_A_DAY:
        return f"At {minute} minute{'' if minute == 1 else 's'} past every hour" if minute else "Every hour"
    if step := _step(hours):
        return f"Every {_unit(step, 'hour')} from {_time(hours[0], minute, clock)} to {_time(hours[-1], minute, clock)}"
    times = {hour: _time(hour, minute, clock) for hour in hours}
    long_runs = [run for run in _runs(hours) if len(run) > 2]
    others = [times[hour] for run in _runs(hours) if len(run) <= 2 for hour in run]
    if not long_runs:
        return f"At {_listed(others)}"
    spans = _listed(f"from {times[run[0]]} to {times[run[-1]]}" for run in long_runs)
    return f"Every hour {spans}" + (f", and at {_listed(others)}" if others else "")


def _minutes(minutes: Sequence[int], hour: str) -> str:
    """Two minutes or more of an hour; `hour` names it."""
    if _is_even(minutes):
        return f"Every {_unit(MINUTES_AN_HOUR // len(minutes), 'minute')}"
    if len(minutes) <= MAX_TIMES_LISTED:
        return f"At {_listed(map(str, minutes))} minutes past {hour}"
    if step := _step(minutes):
        return f"Every {_unit(step, 'minute')} from {minutes[0]} to {minutes[-1]} minutes past {hour}"
    return f"At minutes {_spans(NUMBERS, minutes)} of {hour}"


def _is_even(minutes: Sequence[int]) -> bool:
    """Whether minutes are of one distance all around the clock, from minute 0."""
    return list(minutes) == list(range(0, MINUTES_AN_HOUR, max(1, MINUTES_AN_HOUR // len(minutes))))


def _unit(number: int, noun: str) -> str:
    """What comes after "every": "minute", "2 minutes"."""
    return noun if number == 1 else f"{number} {noun}s"


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
    words: list[str] = []
    for run in _runs(ordered):
        if len(run) > 2:
            words.append(f"{names[run[0]]} to {names[run[-1]]}")
        else:
            words.extend(names[position] for position in run)
    return _listed(words)


def _runs(ordered: Sequence[int]) -> list[list[int]]:
    """Neighbours that follow one another without a gap."""
    runs: list[list[int]] = []
    for position in ordered:
        if runs and position == runs[-1][-1] + 1:
            runs[-1].append(position)
        else:
            runs.append([position])
    return runs


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
