"""Calendars as tests send them."""

from datetime import date
from typing import Any

from tests.api.portal_story import Person

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
