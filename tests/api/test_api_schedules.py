"""The schedule preview over the API."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from db.engine import transaction
from db.models import User
from tests.api.calendar_requests import add_calendar
from tests.api.portal_story import Person
from tests.api.stored_rows import read_everything

FIELDS = [
    "utc", "local", "offset", "note", "viewer_local", "viewer_offset", "runs", "day_off", "moved_to", "is_moved",
]  # fmt: skip
MONDAYS = {"schedule_type": "weekly", "schedule_config": {"day_of_week": 1, "hour": 9, "minute": 0}}


def test_preview_describes_and_lists(olive: Person) -> None:
    answer = olive.client.post("/schedules/preview", json=MONDAYS | {"time_zone": "Asia/Kolkata", "count": 3})
    body = answer.json()
    assert answer.status_code == 200
    assert body["description"] == "Every Monday at 09:00 (Asia/Kolkata)"
    assert body["time_zone"] == "Asia/Kolkata"
    assert len(body["occurrences"]) == 3
    for occurrence in body["occurrences"]:
        assert list(occurrence) == FIELDS
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


def test_preview_shows_ten_in_the_users_zone_by_default(engine: Engine, olive: Person) -> None:
    assert olive.client.post("/schedules/preview", json=MONDAYS).json()["time_zone"] == "UTC"
    with transaction(engine) as session:
        session.get_one(User, olive.viewer.user_id).time_zone = "Europe/Paris"
    body = olive.client.post("/schedules/preview", json=MONDAYS).json()
    assert (body["time_zone"], len(body["occurrences"])) == ("Europe/Paris", 10)


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
        ({"clock": 13}, 'clock: found "13"; allowed: 12 or 24'),
        ({"clock": "12"}, 'clock: found "12"; allowed: 12 or 24'),
        ({"calendar_ids": "1"}, 'calendar_ids: found "1"; allowed: a list'),
        ({"calendar_ids": ["x"]}, 'calendar_ids.0: found "x"; allowed: a whole number'),
        ({"calendar_ids": [2**63]}, 'calendar_ids.0: found "9223372036854775808"; allowed: 9223372036854775807 or'),
        ({"calendar_ids": [404]}, "calendar_ids: there is no calendar 404"),
        ({"calendar_ids": [1] * 11}, "calendar_ids: found 11 calendars; at most 10"),
        ({"on_holiday": "stay"}, "on_holiday: found \"stay\"; allowed: 'skip' or 'move'"),
        ({"viewer_time_zone": "Mars"}, 'viewer_time_zone: unknown time zone "Mars"'),
        ({"viewer_time_zone": ""}, "viewer_time_zone: time zone is empty"),
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


def preview(person: Person, **question: Any) -> dict[str, Any]:
    answer = person.client.post("/schedules/preview", json=MONDAYS | question)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_preview_shows_the_viewers_wall_beside_the_schedules(olive: Person) -> None:
    body = preview(olive, time_zone="Asia/Kolkata", viewer_time_zone="America/Phoenix")
    assert (body["time_zone"], body["viewer_time_zone"]) == ("Asia/Kolkata", "America/Phoenix")
    for occurrence in body["occurrences"]:
        assert occurrence["viewer_local"].endswith("T20:30:00-07:00")
        assert occurrence["viewer_offset"] == "-07:00"
        assert datetime.fromisoformat(occurrence["viewer_local"]) == datetime.fromisoformat(occurrence["utc"])


def test_viewers_zone_is_the_users_own_by_default(engine: Engine, olive: Person) -> None:
    assert preview(olive, time_zone="Asia/Tokyo")["viewer_time_zone"] == "UTC"
    with transaction(engine) as session:
        session.get_one(User, olive.viewer.user_id).time_zone = "Asia/Kolkata"
    body = preview(olive, time_zone="Asia/Tokyo")
    assert body["viewer_time_zone"] == "Asia/Kolkata"
    assert body["occurrences"][0]["viewer_offset"] == "+05:30"


def test_preview_speaks_by_the_clock_that_is_asked_for(olive: Person) -> None:
    assert preview(olive, clock=12)["description"] == "Every Monday at 9:00 AM (UTC)"
    assert preview(olive, clock=24)["description"] == "Every Monday at 09:00 (UTC)"


def test_preview_leaves_days_off_out(olive: Person) -> None:
    off = datetime.fromisoformat(preview(olive)["occurrences"][1]["utc"])
    calendar_id = add_calendar(olive, off.date())
    occurrences = preview(olive, calendar_ids=[calendar_id])["occurrences"]
    assert [o["utc"] for o in occurrences if not o["runs"]] == [off.isoformat().replace("+00:00", "Z")]
    (left_out,) = [o for o in occurrences if not o["runs"]]
    assert (left_out["day_off"], left_out["moved_to"]) == ("Shut", None)
    assert {(o["day_off"], o["moved_to"], o["is_moved"]) for o in occurrences if o["runs"]} == {(None, None, False)}


def test_preview_moves_runs_off_days_off(olive: Person) -> None:
    off = datetime.fromisoformat(preview(olive)["occurrences"][1]["utc"])
    tuesday = (off + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    calendar_id = add_calendar(olive, off.date())
    occurrences = preview(olive, calendar_ids=[calendar_id], on_holiday="move")["occurrences"]
    at = next(n for n, o in enumerate(occurrences) if not o["runs"])
    assert (occurrences[at]["moved_to"], occurrences[at]["is_moved"]) == (tuesday, False)
    assert (occurrences[at + 1]["utc"], occurrences[at + 1]["runs"]) == (tuesday, True)
    assert [n for n, o in enumerate(occurrences) if o["is_moved"]] == [at + 1]


def test_preview_tells_what_the_next_two_clock_changes_do(olive: Person) -> None:
    half_past_one = {"schedule_type": "daily", "schedule_config": {"hour": 1, "minute": 30}}
    changes = preview(olive, **half_past_one, time_zone="Europe/London")["clock_changes"]
    spring, autumn = sorted(changes, key=lambda change: -change["shift_seconds"])
    assert changes == sorted(changes, key=lambda change: change["utc"])
    assert (spring["shift_seconds"], autumn["shift_seconds"]) == (3600, -3600)
    assert spring["utc"][10:] == autumn["utc"][10:] == "T01:00:00Z"
    assert (spring["local_before"][10:], spring["local_after"][10:]) == ("T01:00:00+00:00", "T02:00:00+01:00")
    assert (autumn["local_before"][10:], autumn["local_after"][10:]) == ("T02:00:00+01:00", "T01:00:00+00:00")
    assert spring["effect"].endswith("the clock skips 01:00 to 02:00: 01:30 does not exist, runs at 02:00")
    assert autumn["effect"].endswith("the clock shows 01:00 to 02:00 twice: 01:30 runs once, the first time")


def test_zone_without_clock_changes_has_none(olive: Person) -> None:
    assert preview(olive, time_zone="Asia/Kolkata")["clock_changes"] == []


def test_preview_writes_nothing(engine: Engine, olive: Person) -> None:
    calendar_id = add_calendar(olive)
    before = read_everything(engine)
    preview(olive, calendar_ids=[calendar_id])
    assert read_everything(engine) == before
