"""Calendar files: what they say, what is left out, and that nothing in them can hang or break the reader."""

import contextlib
import random
from datetime import date, datetime

import pytest
from dateutil.rrule import rrulestr
from icalendar.prop import vRecur

from recurrence.days_off import DayOff
from recurrence.ical import read_ical
from recurrence.ical_rules import InvalidCalendarFileError, Work, days_of_rule, read_rule

YEARS = (2025, 2027)


def event(*lines: str) -> str:
    return "\r\n".join(["BEGIN:VEVENT", *lines, "END:VEVENT"])


def ics(*parts: str) -> bytes:
    return "\r\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN", *parts, "END:VCALENDAR", ""]).encode()


def found(*parts: str, years: tuple[int, int] = YEARS) -> list[str]:
    """Every day off as "2026-12-25 Name", or "2026-12-25/2026-12-26 Name"."""
    return [
        f"{day.starts_on}{'' if day.starts_on == day.ends_on else f'/{day.ends_on}'} {day.name}"
        for day in read_ical(ics(*parts), years=years)
    ]


def dates(*lines: str, years: tuple[int, int] = YEARS) -> list[str]:
    return [line.split(" ")[0] for line in found(event("UID:1", "SUMMARY:x", *lines), years=years)]


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidCalendarFileError) as caught:
        read_ical(data, years=YEARS)
    return str(caught.value)


def refused(*lines: str) -> str:
    return refusal(ics(event("UID:1", "SUMMARY:Party", *lines)))


def test_ical_whole_day_event_ends_before_its_dtend() -> None:
    assert read_ical(
        ics(event("UID:1", "DTSTART;VALUE=DATE:20261225", "DTEND;VALUE=DATE:20261227", "SUMMARY:Christmas")),
        years=YEARS,
    ) == [DayOff(date(2026, 12, 25), date(2026, 12, 26), "Christmas")]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["DTSTART;VALUE=DATE:20261225"], "2026-12-25"),
        (["DTSTART;VALUE=DATE:20261225", "DTEND;VALUE=DATE:20261225"], "2026-12-25"),
        (["DTSTART;VALUE=DATE:20261225", "DURATION:P3D"], "2026-12-25/2026-12-27"),
        (["DTSTART:20261225T100000"], "2026-12-25"),
        (["DTSTART:20261225T220000", "DTEND:20261226T000000"], "2026-12-25"),
        (["DTSTART:20261225T220000", "DTEND:20261226T000001"], "2026-12-25/2026-12-26"),
        (["DTSTART:20261225T220000", "DURATION:PT30H"], "2026-12-25/2026-12-27"),
        # 23:00Z is the 26th in Auckland, but the event says UTC.
        (["DTSTART:20261225T230000Z", "DTEND:20261225T233000Z"], "2026-12-25"),
        (["DTSTART;TZID=Pacific/Auckland:20261226T000000", "DTEND:20261226T110000Z"], "2026-12-26"),
        (["DTSTART;TZID=Pacific/Auckland:20261226T000000", "DTEND:20261226T110001Z"], "2026-12-26/2026-12-27"),
        (["DTSTART;TZID=W. Europe Standard Time:20261225T000000", "DURATION:PT24H"], "2026-12-25"),
        (["DTSTART;TZID=Made up:20261225T000000", "DURATION:PT24H"], "2026-12-25"),
    ],
)
def test_ical_event_covers_the_dates_it_touches_in_its_own_zone(lines: list[str], expected: str) -> None:
    assert dates(*lines) == [expected]


def test_ical_instants_are_read_in_the_zone_of_the_calendar() -> None:
    instant = event("UID:1", "DTSTART:20261224T230000Z", "DTEND:20261225T230000Z", "SUMMARY:x", "RRULE:FREQ=YEARLY")

    assert found("X-WR-TIMEZONE:Europe/Berlin", instant, years=(2026, 2027)) == ["2026-12-25 x", "2027-12-25 x"]
    assert found("X-WR-TIMEZONE:Made/Up", instant, years=(2026, 2026)) == ["2026-12-24/2026-12-25 x"]


def test_ical_events_are_sorted_and_each_is_there_once() -> None:
    twice = event("DTSTART;VALUE=DATE:20260501", "SUMMARY:May Day")
    assert found(
        event("UID:z", "DTSTART;VALUE=DATE:20261225", "SUMMARY:Christmas"),
        twice,
        event("UID:a", "DTSTART;VALUE=DATE:20260501", "SUMMARY:Fair"),
        twice,
    ) == ["2026-05-01 Fair", "2026-05-01 May Day", "2026-12-25 Christmas"]


def test_ical_events_that_wrongly_share_an_identifier_are_all_read() -> None:
    assert found(
        event("UID:1", "DTSTART;VALUE=DATE:20260501", "SUMMARY:a"),
        event("UID:1", "DTSTART;VALUE=DATE:20260502", "SUMMARY:b"),
    ) == ["2026-05-01 a", "2026-05-02 b"]


def test_ical_later_revision_of_an_event_replaces_the_earlier() -> None:
    assert found(
        event("UID:1", "SEQUENCE:1", "DTSTART;VALUE=DATE:20260502", "SUMMARY:new"),
        event("UID:1", "SEQUENCE:0", "DTSTART;VALUE=DATE:20260501", "SUMMARY:old"),
    ) == ["2026-05-02 new"]


def test_ical_events_are_cut_at_the_ends_of_the_years() -> None:
    shutdown = event("UID:1", "DTSTART;VALUE=DATE:20251229", "DTEND;VALUE=DATE:20260103", "SUMMARY:x")

    assert found(shutdown, years=(2025, 2026)) == ["2025-12-29/2026-01-02 x"]
    assert found(shutdown, years=(2026, 2026)) == ["2026-01-01/2026-01-02 x"]
    assert found(shutdown, years=(2025, 2025)) == ["2025-12-29/2025-12-31 x"]
    assert found(shutdown, years=(2027, 2027)) == []


def test_ical_repeating_event_lasts_over_new_year_into_the_years() -> None:
    lines = ("DTSTART;VALUE=DATE:20001229", "DTEND;VALUE=DATE:20010103", "RRULE:FREQ=YEARLY")

    assert dates(*lines, years=(2026, 2026)) == ["2026-01-01/2026-01-02", "2026-12-29/2026-12-31"]
    season = ("DTSTART;VALUE=DATE:20001015", "DURATION:P90D", "RRULE:FREQ=YEARLY")
    assert dates(*season, years=(2026, 2026)) == ["2026-01-01/2026-01-12", "2026-10-15/2026-12-31"]


def test_ical_endless_rule_stops_with_the_years() -> None:
    assert dates("DTSTART;VALUE=DATE:20200101", "RRULE:FREQ=YEARLY") == ["2025-01-01", "2026-01-01", "2027-01-01"]
    assert len(dates("DTSTART;VALUE=DATE:19000101", "RRULE:FREQ=DAILY", years=(2024, 2024))) == 366


def test_ical_exceptions_additions_and_moved_occurrences_are_heeded() -> None:
    weekly = event(
        "UID:1",
        "DTSTART;TZID=Europe/London:20260301T090000",
        "DURATION:PT1H",
        "RRULE:FREQ=WEEKLY;COUNT=6",
        "EXDATE;TZID=Europe/London:20260308T090000",
        "RDATE;TZID=Europe/London:20260303T090000",
        "SUMMARY:Clean",
    )
    moved = event(
        "UID:1",
        "RECURRENCE-ID;TZID=Europe/London:20260405T090000",  # by now it is summer time
        "DTSTART;TZID=Europe/London:20260407T090000",
        "DURATION:PT1H",
        "SUMMARY:Clean late",
    )
    cancelled = event(
        "UID:1",
        "RECURRENCE-ID;TZID=Europe/London:20260329T090000",
        "DTSTART;TZID=Europe/London:20260329T090000",
        "STATUS:CANCELLED",
        "SUMMARY:Clean",
    )

    assert found(weekly, moved, cancelled) == [
        "2026-03-01 Clean",
        "2026-03-03 Clean",
        "2026-03-15 Clean",
        "2026-03-22 Clean",
        "2026-04-07 Clean late",
    ]


def test_ical_moved_occurrence_is_one_and_in_its_own_zone() -> None:
    weekly = event("UID:1", "SEQUENCE:2", "DTSTART:20260601T100000Z", "RRULE:FREQ=WEEKLY;COUNT=2", "SUMMARY:x")
    moved = event(
        "UID:1",
        "SEQUENCE:1",
        "RECURRENCE-ID:20260608T100000Z",
        "DTSTART;TZID=Pacific/Auckland:20260610T233000",
        "DTEND:20260610T123000Z",  # 00:30 on the 11th in Auckland
        "RRULE:FREQ=DAILY;COUNT=5",
        "SUMMARY:moved",
    )

    assert found(weekly, moved) == ["2026-06-01 x", "2026-06-10/2026-06-11 moved"]


def test_ical_cancelled_events_are_left_out() -> None:
    assert dates("DTSTART;VALUE=DATE:20260101", "STATUS:cancelled", "RRULE:FREQ=YEARLY") == []
    assert dates("DTSTART;VALUE=DATE:20260101", "STATUS:CONFIRMED") == ["2026-01-01"]


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("20260103", "2026-01-03"),
        ("20260103T090000Z", "2026-01-03"),
        ("20260103T075959Z", "2026-01-02"),  # the event is at 09:00 in Berlin, 08:00Z
        ("20260103T080000Z", "2026-01-03"),
    ],
)
def test_ical_until_is_included(until: str, last: str) -> None:
    lines = ("DTSTART;TZID=Europe/Berlin:20260101T090000", f"RRULE:FREQ=DAILY;UNTIL={until}")

    assert dates(*lines)[-1] == last


@pytest.mark.parametrize(
    ("summary", "name"),
    [
        ("SUMMARY:  Tag der Arbeit\\, 1. Mai ", "Tag der Arbeit, 1. Mai"),
        ("SUMMARY;LANGUAGE=fr:Fête du Travail", "Fête du Travail"),
        ("SUMMARY:two\\nlines\x07 and\x00 bells", "two lines and bells"),
        ("SUMMARY:a\u202egpj.exe", "a gpj.exe"),
        ("SUMMARY:fol\r\n ded", "folded"),
        ("SUMMARY: ", "Day off"),
        ("DESCRIPTION:none", "Day off"),
        ("SUMMARY:" + "é" * 300, "é" * 200),
    ],
)
def test_ical_name_is_the_tidied_summary(summary: str, name: str) -> None:
    assert found(event("UID:1", "DTSTART;VALUE=DATE:20260501", summary)) == [f"2026-05-01 {name}"]


def test_ical_other_components_and_broken_lines_around_the_events_do_not_matter() -> None:
    todo = "\r\n".join(["BEGIN:VTODO", "DTSTART:rubbish", "SUMMARY:Buy milk", "END:VTODO"])
    alarm = "\r\n".join(["BEGIN:VALARM", "SUMMARY:Ring", "DURATION:rubbish", "END:VALARM"])
    may_day = event("UID:1", "DTSTART;VALUE=DATE:20260501", alarm, "no colon at all", "GEO:rubbish", "SUMMARY:May Day")

    assert found(todo, may_day) == ["2026-05-01 May Day"]
    data = b"\xef\xbb\xbf\n" + ics(may_day).replace(b"\r\n", b"\n").replace(b"BEGIN:VCALENDAR", b"begin:vcalendar")
    assert [day.name for day in read_ical(data + ics(may_day), years=YEARS)] == ["May Day"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the calendar file is empty: allowed an iCalendar file (.ics), whose first line is BEGIN:VCALENDAR"),
        (b" \r\n", "the calendar file is empty"),
        (b"<html>\n<body>", 'not a calendar file, it begins with "<html>": allowed an iCalendar file (.ics)'),
        (b"\x89PNG\r\n", "not a calendar file, byte 1 (0x89) is not UTF-8 text: allowed an iCalendar file"),
        (ics(event("SUMMARY:x"))[:-20], "the calendar file is damaged or cut off, 2 BEGIN and 1 END lines"),
        (ics(), "no events in the calendar file, found an empty calendar: allowed at least one VEVENT"),
        (ics("BEGIN:VTODO", "END:VTODO"), 'no events in the calendar file, found 1 "VTODO": allowed at least one'),
        (b"x" * 1048577, "the calendar file has 1,048,577 bytes: allowed up to 1,048,576 (1 MB)"),
        (
            ics(*[event("DTSTART;VALUE=DATE:20260101")] * 5001),
            "the calendar file has 5,001 events in 1 calendars: allowed up to 5,000",
        ),
        (ics("CALSCALE:JULIAN", event("DTSTART;VALUE=DATE:20260101")), "the calendar file cannot be read: "),
    ],
)
def test_ical_refuses_what_is_no_calendar_of_events(data: bytes, message: str) -> None:
    assert refusal(data).startswith(message)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "DTSTART is missing: allowed one date, or date and time"),
        (["DTSTART:soon"], 'DTSTART "soon" is not valid, see RFC 5545'),
        (["DTSTART;VALUE=TIME:100000"], 'DTSTART "100000": allowed one date, or date and time'),
        (
            ["DTSTART;VALUE=DATE:20260101", "DTSTART;VALUE=DATE:20260102"],
            'DTSTART "20260101, 20260102": allowed one date, or date and time',
        ),
        (["DTSTART;VALUE=DATE:20260101", "DTEND:PT5H"], 'DTEND "PT5H": allowed one date, or date and time'),
        (["DTSTART;VALUE=DATE:20260101", "DURATION:20260101"], 'DURATION "20260101": allowed one duration'),
        (["DTSTART;VALUE=DATE:20260101", "EXDATE:never"], 'EXDATE "never" is not valid, see RFC 5545'),
        (["DTSTART;VALUE=DATE:20260101", "SEQUENCE:x"], 'SEQUENCE "x" is not valid, see RFC 5545'),
        (
            ["DTSTART;VALUE=DATE:19000101", "DTEND;VALUE=DATE:20260101"],
            "lasts 46,021 days: allowed up to 3,660",
        ),
    ],
)
def test_ical_names_the_event_that_is_wrong(lines: list[str], message: str) -> None:
    assert refused(*lines) == f'event "Party": {message}'


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("FREQ=SECONDLY", 'repeats "SECONDLY": allowed DAILY, WEEKLY, MONTHLY, YEARLY'),
        ("FREQ=MINUTELY;COUNT=2", 'repeats "MINUTELY": allowed DAILY, WEEKLY, MONTHLY, YEARLY'),
        ("FREQ=HOURLY;INTERVAL=48", 'repeats "HOURLY": allowed DAILY, WEEKLY, MONTHLY, YEARLY'),
        ("COUNT=2", 'repeats "": allowed DAILY, WEEKLY, MONTHLY, YEARLY'),
        ("FREQ=YEARLY;BYHOUR=1,2", 'repeats several times a day, BYHOUR "1,2": allowed one value'),
        ("FREQ=DAILY;BYSECOND=1,2,3", 'repeats several times a day, BYSECOND "1,2,3": allowed one value'),
        ("FREQ=DAILY;BYHOUR=25", "BYHOUR 25: allowed a time of day"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL 0: allowed at least 1"),
        ("FREQ=DAILY;COUNT=-1", "COUNT -1: allowed at least 1"),
        ("FREQ=DAILY;COUNT=1,2", 'COUNT "1,2": allowed one value'),
        ("FREQ=DAILY;UNTIL=later", 'RRULE "FREQ=DAILY;UNTIL=later" is not valid, see RFC 5545'),
        ("FREQ=SOMETIMES", 'RRULE "FREQ=SOMETIMES" is not valid, see RFC 5545'),
        ("FREQ=YEARLY;BYEASTER=1", 'rule part "BYEASTER" is unknown: allowed FREQ, INTERVAL, COUNT, UNTIL, WKST'),
    ],
)
def test_ical_refuses_rules_that_are_wrong_or_more_frequent_than_daily(rule: str, message: str) -> None:
    assert refused("DTSTART:20260101T100000", f"RRULE:{rule}").startswith(f'event "Party": {message}')


def test_ical_rules_of_time_zones_in_the_file_are_not_followed() -> None:
    standard = ["DTSTART:16010101T000000", "RRULE:FREQ=SECONDLY", "TZOFFSETFROM:+0100", "TZOFFSETTO:+0100"]
    zone = "\r\n".join(["BEGIN:VTIMEZONE", "TZID:Custom", "BEGIN:STANDARD", *standard, "END:STANDARD", "END:VTIMEZONE"])

    assert found(zone, event("UID:1", "DTSTART;TZID=Custom:20260501T100000", "SUMMARY:x")) == ["2026-05-01 x"]


def test_ical_rule_that_never_fires_ends_with_the_years() -> None:
    never = "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"
    work = Work()
    rule = read_rule(vRecur.from_ical(never[6:]), date(1900, 1, 1))

    assert list(days_of_rule(rule, date(1900, 1, 1), date(2026, 1, 1), date(2026, 12, 31), work)) == []
    assert work.days_examined <= 2 * 365
    counted = [event(f"UID:{number}", "DTSTART;VALUE=DATE:00010101", f"{never};COUNT=9") for number in range(4000)]
    assert refusal(ics(*counted)).startswith("the repeating events go through more than 2,000,000 days: allowed fewer")


def test_ical_refuses_too_many_days_off_and_too_many_repeats() -> None:
    def daily(count: int) -> bytes:
        return ics(
            *(
                event(f"UID:{number}", "DTSTART;VALUE=DATE:20250101", "RRULE:FREQ=DAILY", f"SUMMARY:{number}")
                for number in range(count)
            )
        )

    assert len(read_ical(daily(4), years=YEARS)) == 4 * 1095
    assert refusal(daily(5)) == "the calendar file has 5,475 days off from 2025 to 2027: allowed up to 5,000"
    assert refusal(daily(50)) == "the events repeat more than 20,000 times: allowed fewer or rarer ones"


def test_ical_garbled_files_raise_only_the_one_error() -> None:
    sound = ics(
        "X-WR-TIMEZONE:Europe/Berlin",
        event(
            "UID:1", "DTSTART:20260101T100000Z", "DURATION:PT1H", "RRULE:FREQ=MONTHLY;BYDAY=-1FR;COUNT=9", "SUMMARY:x"
        ),
        event("UID:1", "RECURRENCE-ID:20260130T100000Z", "DTSTART:20260131T100000Z", "SEQUENCE:1", "STATUS:CANCELLED"),
        event("UID:2", "DTSTART;VALUE=DATE:20260101", "EXDATE;VALUE=DATE:20260101", "RDATE;VALUE=DATE:20260102"),
    )
    chance = random.Random(5545)
    for _ in range(500):
        garbled = bytearray(sound)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(garbled))
            garbled[at : at + chance.randint(0, 3)] = bytes(
                chance.choices(b"0129ATZ;:=,-\r\n \x00\xff", k=chance.randint(0, 3))
            )
        with contextlib.suppress(InvalidCalendarFileError):
            read_ical(bytes(garbled), years=YEARS)


def random_rule(chance: random.Random) -> str:
    frequency = chance.choice(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"])
    parts = [f"FREQ={frequency}", f"INTERVAL={chance.choice([1, 1, 2, 3, 5])}"]

    def numbers(low: int, high: int, most: int) -> str:
        return ",".join(
            str(chance.choice([1, 1, -1]) * chance.randint(low, high)) for _ in range(chance.randint(1, most))
        )

    if chance.random() < 0.4:
        parts.append("BYMONTH=" + ",".join(str(chance.randint(1, 12)) for _ in range(chance.randint(1, 4))))
    if chance.random() < 0.4 and frequency != "WEEKLY":
        parts.append(f"BYMONTHDAY={numbers(1, 31, 8)}")
    if chance.random() < 0.1 and frequency == "YEARLY":
        parts.append(f"BYYEARDAY={numbers(1, 366, 20)}")
    if chance.random() < 0.15 and frequency == "YEARLY":
        # Of the weeks at both ends of a year dateutil misplaces some days: they are checked below, with isocalendar.
        parts.append("BYWEEKNO=" + ",".join(str(chance.randint(2, 51)) for _ in range(chance.randint(1, 6))))
        parts.append(f"WKST={chance.choice(['MO', 'SU', 'TH'])}")
    if chance.random() < 0.5:
        # Of a list that mixes "MO" and "1TU", dateutil takes what is both; RFC 5545 takes either.
        nth = frequency in ("MONTHLY", "YEARLY") and "BYWEEKNO" not in "".join(parts) and chance.random() < 0.5
        ranks = [-2, -1, 1, 2, 5] if nth else [""]
        days = chance.choices(["MO", "TU", "WE", "TH", "FR", "SA", "SU"], k=chance.randint(1, 3))
        parts.append("BYDAY=" + ",".join(f"{chance.choice(ranks)}{day}" for day in days))
    if chance.random() < 0.2 and frequency in ("MONTHLY", "YEARLY"):
        parts.append(f"BYSETPOS={numbers(1, 3, 2)}")
    if chance.random() < 0.2:
        parts.append(f"COUNT={chance.randint(1, 40)}")
    elif chance.random() < 0.2:
        parts.append(f"UNTIL={chance.randint(2020, 2030)}0615")
    return ";".join(parts)


def test_ical_rules_name_the_dates_that_dateutil_names() -> None:
    chance = random.Random(2026)
    first, last = date(2022, 1, 1), date(2028, 12, 31)
    named = 0
    for _ in range(300):
        start = date.fromordinal(chance.randint(date(2015, 1, 1).toordinal(), date(2024, 12, 31).toordinal()))
        text = random_rule(chance)
        oracle = rrulestr(text, dtstart=datetime(start.year, start.month, start.day))  # noqa: DTZ001
        # Only rules that fire, or the oracle would look for ever.
        expected: list[date] = []
        for moment in oracle:
            if moment.date() > last:
                break
            if moment.date() >= first:
                expected.append(moment.date())
        rule = read_rule(vRecur.from_ical(text), start)
        assert list(days_of_rule(rule, start, first, last, Work())) == expected, (text, start)
        named += len(expected)
    assert named > 10_000


def test_ical_weeks_are_those_of_iso_8601() -> None:
    first, last = date(2015, 1, 1), date(2045, 12, 31)
    every_day = [date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1)]
    last_weeks = {year: date(year, 12, 28).isocalendar().week for year in range(2014, 2047)}
    for week in (1, 2, 52, 53, -1, -53):
        rule = read_rule(vRecur.from_ical(f"FREQ=YEARLY;BYWEEKNO={week}"), first)
        expected = [
            day
            for day in every_day
            if (year_and_week := day.isocalendar()).week
            == (week if week > 0 else last_weeks[year_and_week.year] + 1 + week)
        ]
        assert list(days_of_rule(rule, first, first, last, Work())) == expected, week
        assert expected
