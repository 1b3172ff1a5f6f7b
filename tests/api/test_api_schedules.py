"""The schedule preview over the API."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from db.engine import transaction
from db.models import User
from tests.api.portal_story import Person

MONDAYS = {"schedule_type": "weekly", "schedule_config": {"day_of_week": 1, "hour": 9, "minute": 0}}


def test_preview_describes_and_lists(olive: Person) -> None:
    answer = olive.client.post("/schedules/preview", json=MONDAYS | {"time_zone": "Asia/Kolkata", "count": 3})
    body = answer.json()
    assert answer.status_code == 200
    assert body["description"] == "Every Monday at 09:00 (Asia/Kolkata)"
    assert body["time_zone"] == "Asia/Kolkata"
    assert len(body["occurrences"]) == 3
    for occurrence in body["occurrences"]:
        assert set(occurrence) == {"utc", "local", "offset", "note"}
        assert occurrence["utc"].endswith("T03:30:00Z")
        assert occurrence["local"].endswith("T09:00:00+05:30")
        assert (occurrence["offset"], occurrence["note"]) == ("+05:30", "")
        assert datetime.fromisoformat(occurrence["utc"]) == datetime.fromisoformat(occurrence["local"])
        assert datetime.fromisoformat(occurrence["utc"]) > datetime.now(UTC)


def test_preview_notes_daylight_saving(olive: Person) -> None:
    daily = {"schedule_type": "daily", "schedule_config": {"hour": 2, "minute": 30}}
    question = daily | {"time_zone": "America/New_York", "count": 100}
    custom = {"schedule_type": "custom", "schedule_config": {"cron_expression": "30 2 8-14 3 *"}}
    notes = [o["note"] for o in olive.client.post("/schedules/preview", json=question | custom).json()["occurrences"]]
    assert any("does not exist on this day: runs at 03:00" in note for note in notes)


def test_preview_shows_five_in_the_users_zone_by_default(engine: Engine, olive: Person) -> None:
    assert olive.client.post("/schedules/preview", json=MONDAYS).json()["time_zone"] == "UTC"
    with transaction(engine) as session:
        session.get_one(User, olive.viewer.user_id).time_zone = "Europe/Paris"
    body = olive.client.post("/schedules/preview", json=MONDAYS).json()
    assert (body["time_zone"], len(body["occurrences"])) == ("Europe/Paris", 5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schedule_type": "hourly"}, 'unknown schedule_type "hourly": allowed daily, weekly, monthly, custom'),
        ({"schedule_config": {}}, "schedule_config is empty: weekly needs day_of_week, hour, minute"),
        ({"schedule_config": "x"}, 'schedule_config: found "x"; allowed: an object'),
        ({"schedule_config": {"day_of_week": 8, "hour": 9, "minute": 0}}, 'day_of_week "8": allowed 0-7'),
        ({"schedule_config": {"day_of_week": True, "hour": 9, "minute": 0}}, 'day_of_week "true" is a boolean'),
        ({"time_zone": "Europe/Londn"}, 'unknown time zone "Europe/Londn"; did you mean "Europe/London"?'),
        ({"time_zone": ""}, "time zone is empty"),
        ({"count": 0}, 'count: found "0"; allowed: 1 or more'),
        ({"count": 101}, 'count: found "101"; allowed: 100 or less'),
        ({"count": "5"}, 'count: found "5"; allowed: a whole number'),
        ({"count": 1.5}, 'count: found "1.5"; allowed: a whole number'),
        ({"counts": 5}, 'unknown field "counts"; allowed: schedule_type, schedule_config, time_zone, count'),
        ({"schedule_type": "custom", "schedule_config": {"cron_expression": "0 0 31 2 *"}}, ""),
    ],
)
def test_bad_preview_is_explained(olive: Person, change: dict[str, Any], words: str) -> None:
    answer = olive.client.post("/schedules/preview", json=MONDAYS | change)
    assert answer.status_code == 422
    assert answer.json()["error"].replace('\\"', '"').startswith(words)


def test_preview_names_all_missing_fields(olive: Person) -> None:
    answer = olive.client.post("/schedules/preview", json={})
    assert answer.json()["error"] == "schedule_type: is missing; schedule_config: is missing"
