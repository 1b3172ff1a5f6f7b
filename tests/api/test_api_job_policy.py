"""Start windows and days off of jobs over the API, and when a job that keeps days off really runs next."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, select

from db.engine import transaction
from db.models import Job, Run
from tests.api.calendar_requests import add_calendar
from tests.api.portal_story import Person, post_job
from tests.api.stored_rows import read_everything
from tests.factories import DAILY, make_job

DAILY_FORM = {"schedule_type": "daily", "schedule_config": '{"hour": 2, "minute": 0}', "time_zone": "UTC"}


def last_two_o_clock() -> datetime:
    """The newest occurrence of DAILY that is due."""
    now = datetime.now(UTC)
    at = now.replace(hour=2, minute=0, second=0, microsecond=0)
    return at if at <= now else at - timedelta(days=1)


def test_new_job_takes_its_policy(olive: Person) -> None:
    ids = [add_calendar(olive, name="A"), add_calendar(olive, name="B")]
    job = post_job(olive, misfire_grace_seconds="900", calendar_ids=json.dumps(ids[::-1]), on_holiday="move").json()
    assert (job["misfire_grace_seconds"], job["calendar_ids"], job["on_holiday"]) == (900, ids[::-1], "move")
    assert olive.client.get(f"/jobs/{job['id']}").json() == job


def test_new_job_has_no_limit_and_no_calendar_by_default(olive: Person) -> None:
    for blank in ({}, {"misfire_grace_seconds": " ", "calendar_ids": "", "on_holiday": ""}):
        job = post_job(olive, **blank).json()
        assert (job["misfire_grace_seconds"], job["calendar_ids"], job["on_holiday"]) == (None, [], "skip")


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"misfire_grace_seconds": "soon"}, "misfire_grace_seconds", 'found "soon"; allowed: a whole number'),
        ({"misfire_grace_seconds": "-1"}, "misfire_grace_seconds", 'found "-1"; allowed: a whole number'),
        (
            {"misfire_grace_seconds": "0"},
            "misfire_grace_seconds",
            "found 0; allowed 1 to 2678400 (31 days), or nothing for no limit",
        ),
        ({"calendar_ids": "1"}, "calendar_ids", 'found "1"; send a JSON list of calendar ids, such as [1, 2]'),
        ({"calendar_ids": "[1"}, "calendar_ids", 'found "[1"; send a JSON list of calendar ids, such as [1, 2]'),
        ({"calendar_ids": "[true]"}, "calendar_ids", 'found "[true]"; send a JSON list of calendar ids'),
        ({"calendar_ids": "[9223372036854775808]"}, "calendar_ids", "send a JSON list of calendar ids"),
        ({"calendar_ids": "[" * 20_000}, "calendar_ids", "send a JSON list of calendar ids"),
        ({"calendar_ids": "[404]"}, "calendar_ids", "there is no calendar 404"),
        ({"calendar_ids": json.dumps([1] * 11)}, "calendar_ids", "found 11 calendars; at most 10"),
        ({"on_holiday": "stay"}, "on_holiday", 'found "stay"; allowed: skip, move'),
    ],
)
def test_bad_policy_of_a_new_job_is_named(
    engine: Engine, olive: Person, changes: dict[str, str], field: str, words: str
) -> None:
    before = read_everything(engine)
    answer = post_job(olive, **changes)
    assert answer.status_code == 422
    assert words in answer.json()["fields"][field]
    assert list(answer.json()["fields"]) == [field]
    assert read_everything(engine) == before


def test_patch_changes_the_policy_and_nothing_else(olive: Person) -> None:
    calendar_id = add_calendar(olive)
    before = post_job(olive).json()
    edit = {"misfire_grace_seconds": 60, "calendar_ids": [calendar_id], "on_holiday": "move"}
    after = olive.client.patch(f"/jobs/{before['id']}", json=edit).json()
    assert {name for name in after if after[name] != before[name]} == {*edit, "version", "updated_at"}
    assert {name: after[name] for name in edit} == edit


def test_null_takes_the_start_window_away(olive: Person) -> None:
    job = post_job(olive, misfire_grace_seconds="60").json()
    address = f"/jobs/{job['id']}"
    assert olive.client.patch(address, json={"name": "x"}).json()["misfire_grace_seconds"] == 60
    assert olive.client.patch(address, json={"misfire_grace_seconds": None}).json()["misfire_grace_seconds"] is None


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"misfire_grace_seconds": "60"}, 'misfire_grace_seconds: found "60"; allowed: a whole number'),
        ({"misfire_grace_seconds": 0}, "misfire_grace_seconds: found 0; allowed 1 to 2678400 (31 days), or nothing"),
        ({"misfire_grace_seconds": 2678401}, "misfire_grace_seconds: found 2678401; allowed 1 to 2678400 (31 days)"),
        ({"misfire_grace_seconds": 10**30}, "misfire_grace_seconds: found 1000000000000000000000000000000; allowed"),
        ({"calendar_ids": None}, "calendar_ids: found nothing; allowed: a list"),
        ({"calendar_ids": "[1]"}, 'calendar_ids: found "[1]"; allowed: a list'),
        ({"calendar_ids": [1.5]}, 'calendar_ids.0: found "1.5"; allowed: a whole number'),
        ({"calendar_ids": [0]}, 'calendar_ids.0: found "0"; allowed: 1 or more'),
        ({"calendar_ids": [404, 405]}, "calendar_ids: there is no calendar 404, 405"),
        ({"calendar_ids": list(range(1, 12))}, "calendar_ids: found 11 calendars; at most 10"),
        ({"on_holiday": "stay"}, "on_holiday: found \"stay\"; allowed: 'skip' or 'move'"),
    ],
)
def test_bad_policy_edit_is_explained_and_changes_nothing(
    engine: Engine, olive: Person, edit: dict[str, Any], words: str
) -> None:
    job_id = post_job(olive).json()["id"]
    before = read_everything(engine)
    answer = olive.client.patch(f"/jobs/{job_id}", json={"name": "other"} | edit)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].startswith(words)
    assert list(answer.json()["fields"]) == [words.partition(":")[0]]
    assert read_everything(engine) == before


def test_next_run_leaves_days_off_out(olive: Person) -> None:
    job = post_job(olive, **DAILY_FORM).json()
    first = datetime.fromisoformat(job["next_run"])
    calendar_id = add_calendar(olive, first.date(), first.date() + timedelta(days=1))
    address = f"/jobs/{job['id']}"
    kept = olive.client.patch(address, json={"calendar_ids": [calendar_id]}).json()
    assert datetime.fromisoformat(kept["next_run"]) == first + timedelta(days=2)
    assert olive.client.get(address).json()["next_run"] == kept["next_run"]
    assert olive.client.get("/jobs").json()["items"][0]["next_run"] == kept["next_run"]


def test_paused_job_has_no_next_run(olive: Person) -> None:
    job = post_job(olive).json()
    assert olive.client.post(f"/jobs/{job['id']}/pause").json()["next_run"] is None
    assert olive.client.post(f"/jobs/{job['id']}/resume").json()["next_run"] == job["next_run"]


def test_page_of_jobs_takes_as_many_queries_as_one_job(engine: Engine, olive: Person) -> None:
    calendar_ids = [add_calendar(olive, name=name) for name in ("A", "B")]
    with transaction(engine) as session:
        make_job(session, olive.viewer, schedule=DAILY, calendar_ids=calendar_ids)
    with counted_queries(engine) as for_one:
        assert len(olive.client.get("/jobs").json()["items"]) == 1
    with transaction(engine) as session:
        for _ in range(5):
            make_job(session, olive.viewer, schedule=DAILY, calendar_ids=calendar_ids)
    with counted_queries(engine) as for_six:
        assert len(olive.client.get("/jobs").json()["items"]) == 6
    assert len(for_six) == len(for_one)


def test_edit_that_changes_nothing_gives_nothing_up(engine: Engine, olive: Person) -> None:
    due = last_two_o_clock()
    with transaction(engine) as session:
        job = make_job(session, olive.viewer, schedule=DAILY, next_run=due)
    edits = {"is_scheduled": True}, {"time_zone": "UTC"}, {"schedule_config": {"hour": 2, "minute": 0}}
    for edit in edits:
        answer = olive.client.patch(f"/jobs/{job.id}", json=edit | {"version": 99})
        assert answer.status_code == 409, answer.text
        assert olive.client.patch(f"/jobs/{job.id}", json=edit).status_code == 200
    with transaction(engine) as session:
        assert session.get_one(Job, job.id).next_run == due
        assert session.scalars(select(Run)).all() == []


@contextmanager
def counted_queries(engine: Engine) -> Iterator[list[str]]:
    """The statements that go to the database inside the block."""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)
