"""Calendars as tests send them."""

from datetime import UTC, date, datetime
from typing import Any

from tests.api.portal_story import Person

YEAR = datetime.now(UTC).year
ICS = f"""BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//test//EN
BEGIN:VEVENT
UID:1
DTSTART;VALUE=DATE:{YEAR}1224
DTEND;VALUE=DATE:{YEAR}1227
SUMMARY:Shut for Christmas
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTART;VALUE=DATE:20000501
RRULE:FREQ=YEARLY
SUMMARY:May Day
END:VEVENT
END:VCALENDAR
"""
CHRISTMAS = {"starts_on": "2030-12-25", "name": "Christmas Day"}


def post_calendar(person: Person, **changes: Any) -> Any:
    """POST /calendars with one day off and no weekend, unless told."""
    return person.client.post("/calendars", json={"name": "Closed", "weekend": [], "days": [CHRISTMAS]} | changes)


def add_calendar(person: Person, *days: date, name: str = "Closed", **changes: Any) -> int:
    """A calendar with these days off, each called "Shut"."""
    listed = [{"starts_on": day.isoformat(), "name": "Shut"} for day in days] or [CHRISTMAS]
    answer = post_calendar(person, name=name, days=listed, **changes)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]
