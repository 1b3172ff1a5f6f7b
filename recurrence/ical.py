"""Days off out of a calendar file (iCalendar, RFC 5545), such as other programs export as .ics.

Bounded: whatever bytes come in, the answer is a list or an InvalidCalendarFileError, within seconds. Hence only
the lines that matter reach the libraries, which are imported with the first file. Repeating rules are expanded
by `recurrence.ical_rules`; exceptions and moved occurrences are left to recurring-ical-events.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any, cast

from recurrence.days_off import DayOff
from recurrence.errors import quoted
from recurrence.ical_rules import DAY, InvalidCalendarFileError, Work, days_of_rule, read_rule
from recurrence.zones import known_names

MAX_FILE_BYTES = 1024 * 1024
MAX_EVENTS = 5_000
MAX_EVENT_LENGTH = timedelta(days=3660)
MAX_DAYS_OFF = 5_000
MAX_NAME_LENGTH = 200
UNNAMED = "Day off"

MICROSECOND = timedelta(microseconds=1)
MOVED = timedelta(days=31)  # an occurrence this far outside the years may have been moved into them
EXPECTED = "allowed an iCalendar file (.ics), whose first line is BEGIN:VCALENDAR"

# Time zones are left out on purpose: one defined in the file changes no date of its own events, but the libraries
# would follow its rules, however many instants they name.
COMPONENTS = {"VCALENDAR", "VEVENT"}
ONE_AT_MOST = {"DTSTART": date, "DTEND": date, "DURATION": timedelta, "RECURRENCE-ID": date}
PARSED = (*ONE_AT_MOST, "RRULE", "RDATE", "EXDATE", "SEQUENCE")
PROPERTIES = {"CALSCALE", "X-WR-TIMEZONE", "UID", "SUMMARY", "STATUS", *PARSED}
LINE_END = re.compile(r"\r\n|\n|\r")
FOLD = re.compile(r"(?:\r\n|\n|\r)[ \t]")
PROPERTY = re.compile(r"([A-Za-z0-9-]+)[;:]")
# Control characters, line and paragraph separators, overrides of the writing direction, lone surrogates.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


def read_ical(data: bytes, *, years: tuple[int, int]) -> list[DayOff]:
    """The days off of a calendar file within `years` (first and last, both included), sorted, each once.

    A whole-day event gives its dates, a timed one the dates it touches in its own time zone; both are cut at the
    ends of `years`. Cancelled events are left out. Raises InvalidCalendarFileError, whatever `data` holds.
    """
    first, last = date(years[0], 1, 1), date(years[1], 12, 31)
    text = _wanted_lines(_text(data))
    try:
        found = set(_days_off(text, first, last))
    except InvalidCalendarFileError:
        raise
    except Exception as error:
        raise InvalidCalendarFileError(f"the calendar file cannot be read: {quoted(str(error))}") from error
    if len(found) > MAX_DAYS_OFF:
        raise InvalidCalendarFileError(
            f"the calendar file has {len(found):,} days off from {years[0]} to {years[1]}: "
            f"allowed up to {MAX_DAYS_OFF:,}"
        )
    return sorted(found, key=lambda day_off: (day_off.starts_on, day_off.ends_on, day_off.name))


def _text(data: bytes) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise InvalidCalendarFileError(
            f"the calendar file has {len(data):,} bytes: allowed up to {MAX_FILE_BYTES:,} (1 MB)"
        )
    if not data.strip():
        raise InvalidCalendarFileError(f"the calendar file is empty: {EXPECTED}")
    try:
        text = data.decode("utf-8-sig").lstrip()
    except UnicodeDecodeError as error:
        found = f"byte {error.start + 1} (0x{data[error.start]:02x}) is not UTF-8 text"
        raise InvalidCalendarFileError(f"not a calendar file, {found}: {EXPECTED}") from error
    first_line = LINE_END.split(text, maxsplit=1)[0].strip()
    if first_line.upper() != "BEGIN:VCALENDAR":
        raise InvalidCalendarFileError(f"not a calendar file, it begins with {quoted(first_line)}: {EXPECTED}")
    return text


def _wanted_lines(text: str) -> str:
    """The unfolded lines of calendars and events that say when, and whether, there is which day off."""
    wanted: list[str] = []
    begun: Counter[str] = Counter()
    ended = unwanted_depth = 0
    for line in LINE_END.split(FOLD.sub("", text)):
        match = PROPERTY.match(line)
        name = match[1].upper() if match else ""
        is_boundary = name in ("BEGIN", "END")
        component = line[len(name) + 1 :].strip().upper() if is_boundary else ""
        if name == "BEGIN":
            begun[component] += 1
            if unwanted_depth or component not in COMPONENTS:
                unwanted_depth += 1
        if not unwanted_depth and (is_boundary or name in PROPERTIES):
            wanted.append(line)
        if name == "END":
            ended += 1
            unwanted_depth = max(0, unwanted_depth - 1)
    _check_components(begun, ended)
    return "\r\n".join([*wanted, ""])


def _check_components(begun: Counter[str], ended: int) -> None:
    if begun.total() != ended:
        raise InvalidCalendarFileError(
            f"the calendar file is damaged or cut off, {begun.total():,} BEGIN and {ended:,} END lines: "
            "allowed as many of one as of the other"
        )
    if not begun["VEVENT"]:
        others = ", ".join(f"{count:,} {quoted(name)}" for name, count in sorted(begun.items()) if name != "VCALENDAR")
        raise InvalidCalendarFileError(
            f"no events in the calendar file, found {others[:200] or 'an empty calendar'}: allowed at least one VEVENT"
        )
    if max(begun["VEVENT"], begun["VCALENDAR"]) > MAX_EVENTS:
        raise InvalidCalendarFileError(
            f"the calendar file has {begun['VEVENT']:,} events in {begun['VCALENDAR']:,} calendars: "
            f"allowed up to {MAX_EVENTS:,}"
        )


def _days_off(text: str, first: date, last: date) -> Iterator[DayOff]:
    import icalendar
    import recurring_ical_events  # pyright: ignore[reportMissingTypeStubs]

    work = Work()
    for calendar in cast("list[Any]", icalendar.Calendar.from_ical(text, multiple=True)):
        if calendar.get("X-WR-TIMEZONE") not in known_names():
            calendar.pop("X-WR-TIMEZONE", None)
        masters: set[tuple[str, str]] = set()
        for event in calendar.walk("VEVENT"):
            _check_event(event)
            _tell_apart(event, masters)
            _expand(event, first - MOVED, last + MOVED, work)
        for occurrence in cast("list[Any]", recurring_ical_events.of(calendar).between(first, last + DAY)):
            if str(occurrence.get("STATUS", "")).upper() == "CANCELLED":
                continue
            starts_on, ends_on = _dates_touched(occurrence["DTSTART"].dt, occurrence["DTEND"].dt)
            if starts_on <= last and ends_on >= first:
                yield DayOff(max(starts_on, first), min(ends_on, last), _name(occurrence))


def _check_event(event: Any) -> None:
    from icalendar.prop import vBroken

    for name in PARSED:
        for value in _values(event, name):
            if isinstance(value, vBroken):
                raise _refused(event, f"{name} {quoted(str(value))} is not valid, see RFC 5545")
    for name, kind in ONE_AT_MOST.items():
        values = _values(event, name)
        if len(values) > 1 or not all(isinstance(value.dt, kind) for value in values):
            found = ", ".join(_written(value) for value in values[:10])
            allowed = "duration" if kind is timedelta else "date, or date and time"
            raise _refused(event, f"{name} {quoted(found)}: allowed one {allowed}")
    if "DTSTART" not in event:
        raise _refused(event, "DTSTART is missing: allowed one date, or date and time")
    length = abs(_length(event))
    if length > MAX_EVENT_LENGTH:
        raise _refused(event, f"lasts {length.days:,} days: allowed up to {MAX_EVENT_LENGTH.days:,}")


def _tell_apart(event: Any, masters: set[tuple[str, str]]) -> None:
    """Give events that wrongly share an identifier different ones, as the library would drop all but one."""
    if "RECURRENCE-ID" in event:
        for name in ("RRULE", "RDATE", "EXDATE"):  # an override is one occurrence; the library would follow these
            event.pop(name, None)
        return
    key = (str(event.get("UID", "")), str(event.get("SEQUENCE", "")))
    if key in masters:
        event.pop("UID", None)
    masters.add(key)


def _expand(event: Any, first: date, last: date, work: Work) -> None:
    """Replace an event's rules by the dates they name, those included from which it lasts into the years."""
    start: date = event["DTSTART"].dt
    moments: set[date] = set()
    for value in _values(event, "RRULE"):
        try:
            rule = read_rule(value, start)
        except InvalidCalendarFileError as error:
            raise _refused(event, str(error)) from error
        days = days_of_rule(rule, _day(start), first - abs(_length(event)), last, work)
        if isinstance(start, datetime):
            moments.update(datetime.combine(day, rule.at, start.tzinfo) for day in days)
        else:
            moments.update(days)
    event.pop("RRULE", None)
    if moments:
        event.add("RDATE", sorted(moments))


def _values(event: Any, name: str) -> list[Any]:
    value = event.get(name)
    if value is None:
        return []
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _written(value: Any) -> str:
    text: bytes | str = value.to_ical()
    return text.decode() if isinstance(text, bytes) else text


def _length(event: Any) -> timedelta:
    """Roughly, to a day: the ends may be in different time zones, or one of them without a time."""
    start: date = event["DTSTART"].dt
    for value in _values(event, "DTEND"):
        return _day(value.dt) - _day(start)
    for value in _values(event, "DURATION"):
        duration: timedelta = value.dt
        return duration
    return DAY


def _dates_touched(start: date, end: date) -> tuple[date, date]:
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        return _day(start), max(_day(start), _day(end) - DAY)  # DTEND is the first date after a whole-day event
    if start.tzinfo is not None and end.tzinfo is not None:
        end = end.astimezone(start.tzinfo)
    return start.date(), max(start.date(), (end - MICROSECOND).date())


def _day(moment: date) -> date:
    return moment.date() if isinstance(moment, datetime) else moment


def _refused(event: Any, why: str) -> InvalidCalendarFileError:
    return InvalidCalendarFileError(f"event {quoted(_name(event))}: {why}")


def _name(event: Any) -> str:
    summary = "".join(str(value) for value in _values(event, "SUMMARY")[:1])
    return " ".join(UNPRINTABLE.sub(" ", summary).split())[:MAX_NAME_LENGTH].strip() or UNNAMED
