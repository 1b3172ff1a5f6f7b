"""The repeating rules of calendar files (RRULE, RFC 5545), expanded by day within bounds.

dateutil, which calendar libraries use, follows a rule that never fires (30 February) from its start to the year
9999; here every file has a budget of days and repeats.
"""

from calendar import isleap, monthrange
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from recurrence.errors import quoted

MAX_REPEATS = 20_000  # of a file, before exceptions and duplicates are taken out
MAX_DAYS_EXAMINED = 2_000_000  # of a file; a few seconds

DAY = timedelta(days=1)

# The parts of an RRULE.
FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
TIMES = ("BYHOUR", "BYMINUTE", "BYSECOND")
SINGLE = ("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", *TIMES)
LISTS = ("BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYDAY", "BYSETPOS")
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


class InvalidCalendarFileError(ValueError):
    """The file is no calendar that can be read; the message says what was found and what is allowed."""


@dataclass(slots=True)
class Work:
    """What expanding the rules of one file has cost so far."""

    days_examined: int = 0
    repeats: int = 0

    def examine(self, days: int) -> None:
        self.days_examined += days
        if self.days_examined > MAX_DAYS_EXAMINED:
            raise InvalidCalendarFileError(
                f"the repeating events go through more than {MAX_DAYS_EXAMINED:,} days: "
                "allowed fewer events that repeat, or later starts of those that repeat a number of times"
            )

    def repeat(self) -> None:
        self.repeats += 1
        if self.repeats > MAX_REPEATS:
            raise InvalidCalendarFileError(
                f"the events repeat more than {MAX_REPEATS:,} times: allowed fewer or rarer ones"
            )


@dataclass(frozen=True, slots=True)
class RepeatRule:
    """An RRULE with what it leaves out taken from the event's start. Weekdays: 0 = Monday."""

    frequency: str
    interval: int
    count: int | None
    until: date | None  # the last date on which it may start
    week_start: int
    at: time
    months: frozenset[int]
    month_days: frozenset[int]  # negative: from the end, as in all of these
    year_days: frozenset[int]
    weeks: frozenset[int]
    weekdays: frozenset[tuple[int, int]]  # (which one, weekday); 0 is all of them
    positions: frozenset[int]


def read_rule(parts: Mapping[str, Sequence[Any]], start: date) -> RepeatRule:
    """`parts` as icalendar has them, of an event that starts at `start` (a date or a datetime).

    Raises InvalidCalendarFileError for a rule that is wrong, or that repeats more than once a day.
    """
    for name, values in parts.items():
        _check_part(name, values)
    single = {name: parts[name][0] for name in SINGLE if name in parts}
    frequency = str(single.get("FREQ", "")).upper()
    if frequency not in FREQUENCIES:
        raise InvalidCalendarFileError(f"repeats {quoted(frequency)}: allowed {', '.join(FREQUENCIES)}")
    months, month_days, year_days, weeks, positions = (
        frozenset(int(number) for number in parts.get(name, ()))
        for name in ("BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS")
    )
    weekdays = frozenset(_weekday(str(value)) for value in parts.get("BYDAY", ()))
    if not (month_days or year_days or weeks or weekdays):
        if frequency == "YEARLY":
            months = months or frozenset({start.month})
        if frequency in ("YEARLY", "MONTHLY"):
            month_days = frozenset({start.day})
        if frequency == "WEEKLY":
            weekdays = frozenset({(0, start.weekday())})
    return RepeatRule(
        frequency=frequency,
        interval=_at_least_one("INTERVAL", single.get("INTERVAL", 1)),
        count=_at_least_one("COUNT", single["COUNT"]) if "COUNT" in single else None,
        until=_last_date(single["UNTIL"], start) if "UNTIL" in single else None,
        week_start=_weekday(str(single.get("WKST", "MO")))[1],
        at=_time_of_day(single, start),
        months=months,
        month_days=month_days,
        year_days=year_days,
        weeks=weeks,
        weekdays=weekdays,
        positions=positions,
    )


def days_of_rule(rule: RepeatRule, start: date, first: date, last: date, work: Work) -> Iterator[date]:
    """The dates from `first` to `last`, in order, on which an event that starts on `start` repeats.

    `start` itself is only among them if the rule names it. Raises InvalidCalendarFileError when `work` is used up.
    """
    left = rule.count
    last = last if rule.until is None else min(last, rule.until)
    # Only a rule that counts has to be followed from its start.
    for period in _periods(rule, start, start if left is not None else max(start, first), last, work):
        for day in _selected(rule, period):
            if day < start:
                continue
            if day > last or left == 0:
                return
            left = None if left is None else left - 1
            if day >= first:
                work.repeat()
                yield day


def _check_part(name: str, values: Sequence[Any]) -> None:
    if name not in SINGLE and name not in LISTS:
        raise InvalidCalendarFileError(f"rule part {quoted(name)} is unknown: allowed {', '.join((*SINGLE, *LISTS))}")
    if name in SINGLE and len(values) != 1:
        found = ",".join(str(value) for value in values[:10])
        why = "repeats several times a day, " if name in TIMES else ""
        raise InvalidCalendarFileError(f"{why}{name} {quoted(found)}: allowed one value")


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise InvalidCalendarFileError(f"{name} {value}: allowed at least 1")
    return int(value)


def _weekday(text: str) -> tuple[int, int]:
    nth, name = text[:-2], text[-2:].upper()
    if name not in WEEKDAYS:
        raise InvalidCalendarFileError(f"weekday {quoted(text)}: allowed {', '.join(WEEKDAYS)}")
    return int(nth or 0), WEEKDAYS.index(name)


def _time_of_day(single: Mapping[str, Any], start: date) -> time:
    at = start.time() if isinstance(start, datetime) else time()
    try:
        hour, minute, second = (int(single.get(name, getattr(at, name[2:].lower()))) for name in TIMES)
        return time(hour, minute, second)
    except ValueError as error:
        found = ", ".join(f"{name} {single[name]}" for name in TIMES if name in single)
        raise InvalidCalendarFileError(f"{found}: allowed a time of day") from error


def _last_date(until: date, start: date) -> date:
    """UNTIL as a date: a time of day before the event's own excludes that day."""
    if not isinstance(until, datetime):
        return until
    if not isinstance(start, datetime):
        return until.date()
    if until.tzinfo is not None and start.tzinfo is not None:
        until = until.astimezone(start.tzinfo)
    return until.date() if start.time() <= until.time() else until.date() - DAY


def _periods(rule: RepeatRule, start: date, first: date, last: date, work: Work) -> Iterator[list[date]]:
    """The days of every day, week, month or year that the rule looks at, from the one with `first`."""
    for number in _period_numbers(rule, start, first, last):
        if rule.frequency in ("DAILY", "WEEKLY"):
            length = 1 if rule.frequency == "DAILY" else 7
            days = [date.fromordinal(number + offset) for offset in range(length)]
        else:
            months = [number] if rule.frequency == "MONTHLY" else range(12 * number, 12 * number + 12)
            days = [
                day for month in months if not rule.months or month % 12 + 1 in rule.months for day in _month(month)
            ]
        work.examine(len(days) + 1)
        yield days


def _period_numbers(rule: RepeatRule, start: date, first: date, last: date) -> range:
    """Ordinals of the first day for days and weeks, months since year 0, or years; in steps of the interval."""
    match rule.frequency:
        case "DAILY":
            begin, from_, to, step = start.toordinal(), first.toordinal(), last.toordinal(), rule.interval
        case "WEEKLY":
            begin = start.toordinal() - (start.weekday() - rule.week_start) % 7
            from_, to, step = first.toordinal(), last.toordinal(), 7 * rule.interval
        case "MONTHLY":
            begin, from_, to = (12 * day.year + day.month - 1 for day in (start, first, last))
            step = rule.interval
        case _:
            begin, from_, to, step = start.year, first.year, last.year, rule.interval
    return range(begin + (from_ - begin) // step * step, to + 1, step)


def _month(number: int) -> list[date]:
    year, month = divmod(number, 12)
    return [date(year, month + 1, day) for day in range(1, monthrange(year, month + 1)[1] + 1)]


def _selected(rule: RepeatRule, period: list[date]) -> list[date]:
    days = [day for day in period if _matches(rule, day)]
    if not rule.positions:
        return days
    count = len(days)
    wanted = {position - 1 if position > 0 else count + position for position in rule.positions}
    return [day for index, day in enumerate(days) if index in wanted]


def _matches(rule: RepeatRule, day: date) -> bool:
    if rule.months and day.month not in rule.months:
        return False
    if rule.month_days and not _is_among(rule.month_days, day.day, monthrange(day.year, day.month)[1]):
        return False
    if rule.year_days and not _is_among(rule.year_days, _day_of_year(day), 365 + isleap(day.year)):
        return False
    if rule.weeks and not _is_among(rule.weeks, *_week(day, rule.week_start)):
        return False
    return not rule.weekdays or _is_weekday(rule, day)


def _is_among(wanted: frozenset[int], number: int, count: int) -> bool:
    """Whether the number is wanted, counted from the front or, negative, from the end."""
    return number in wanted or number - count - 1 in wanted


def _is_weekday(rule: RepeatRule, day: date) -> bool:
    weekday = day.weekday()
    if (0, weekday) in rule.weekdays:
        return True
    if rule.frequency in ("DAILY", "WEEKLY"):  # RFC 5545 gives numbers no meaning here
        return any(weekday == wanted for _, wanted in rule.weekdays)
    if rule.frequency == "YEARLY" and not rule.months:
        number, count = _day_of_year(day), 365 + isleap(day.year)
    else:
        number, count = day.day, monthrange(day.year, day.month)[1]
    from_front, from_end = (number - 1) // 7 + 1, -((count - number) // 7 + 1)
    return (from_front, weekday) in rule.weekdays or (from_end, weekday) in rule.weekdays


def _day_of_year(day: date) -> int:
    return day.timetuple().tm_yday


def _week(day: date, week_start: int) -> tuple[int, int]:
    """The week's number and how many its year has; a week belongs to the year that has most of its days."""
    middle = day + timedelta(days=3 - (day.weekday() - week_start) % 7)
    number = (_day_of_year(middle) - 1) // 7 + 1
    return number, number + (365 + isleap(middle.year) - _day_of_year(middle)) // 7
