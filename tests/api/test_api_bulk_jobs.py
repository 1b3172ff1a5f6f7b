"""Many jobs at once over the API: looked at, rescheduled, paused and resumed, all of them or none."""

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from db.bulk_jobs import MAX_JOBS
from db.engine import transaction
from tests.api.portal_story import Person, post_job
from tests.api.stored_rows import read_everything
from tests.factories import NOW, make_job

AT_FIVE = {"schedule_type": "daily", "schedule_config": {"hour": 5, "minute": 0}}


def bulk(person: Person, verb: str, *job_ids: str, **body: Any) -> Any:
    answer = person.client.post(f"/jobs/bulk/{verb}", json={"job_ids": job_ids} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def jobs(olive: Person) -> list[str]:
    """A job that is active, one that is paused, and one that runs by hand only."""
    nothing = dict.fromkeys(("is_scheduled", "schedule_type", "schedule_config", "time_zone"))
    ids = [post_job(olive, name=name).json()["id"] for name in ("Active", "Paused")]
    olive.client.post(f"/jobs/{ids[1]}/pause")
    return [*ids, post_job(olive, name="By hand", **nothing).json()["id"]]


def show(person: Person, job_ids: list[str]) -> list[dict[str, Any]]:
    return [person.client.get(f"/jobs/{job_id}").json() for job_id in job_ids]


def test_reschedule_gives_all_the_same_schedule(olive: Person, jobs: list[str]) -> None:
    assert bulk(olive, "reschedule", *jobs, **AT_FIVE, time_zone="Asia/Tokyo") == {"changed": 3}
    active, paused, by_hand = show(olive, jobs)
    for job in (active, paused, by_hand):
        assert job["schedule_description"] == "Every day at 05:00 (Asia/Tokyo)"
    assert paused["paused_at"] is not None
    assert active["next_run"] == by_hand["next_run"] is not None


def test_reschedule_takes_the_users_zone_and_leaves_alone_what_has_that_schedule(
    olive: Person, jobs: list[str]
) -> None:
    assert bulk(olive, "reschedule", jobs[0], **AT_FIVE) == {"changed": 1}
    assert bulk(olive, "reschedule", *jobs, **AT_FIVE, time_zone="UTC") == {"changed": 2}


def test_pause_and_resume_change_those_that_they_concern(olive: Person, jobs: list[str]) -> None:
    assert bulk(olive, "pause", *jobs) == {"changed": 1}
    assert [job["paused_at"] is not None for job in show(olive, jobs)] == [True, True, False]
    assert bulk(olive, "resume", *jobs) == {"changed": 2}
    assert [job["paused_at"] for job in show(olive, jobs)] == [None] * 3
    assert bulk(olive, "resume", *jobs) == {"changed": 0}


def test_retries_become_the_same_for_all(olive: Person, jobs: list[str]) -> None:
    assert bulk(olive, "retries", jobs[0], max_attempts=5, retry_delay_seconds=0) == {"changed": 1}
    assert bulk(olive, "retries", *jobs, max_attempts=5, retry_delay_seconds=0) == {"changed": 2}
    assert {(job["max_attempts"], job["retry_delay_seconds"]) for job in show(olive, jobs)} == {(5, 0)}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"max_attempts": 0, "retry_delay_seconds": 0}, "max_attempts"),
        ({"max_attempts": 2, "retry_delay_seconds": 21601}, "retry_delay_seconds"),
        ({"max_attempts": 2}, "retry_delay_seconds"),
        ({"max_attempts": 2, "retry_delay_seconds": 0, "dry_run": True}, "dry_run"),
    ],
)
def test_retries_that_are_not_allowed_change_nothing(
    engine: Engine, olive: Person, jobs: list[str], body: dict[str, Any], field: str
) -> None:
    before = read_everything(engine)
    answer = olive.client.post("/jobs/bulk/retries", json={"job_ids": jobs} | body)
    assert answer.status_code == 422
    assert field in answer.json()["error"]
    assert read_everything(engine) == before


@pytest.mark.parametrize("verb", ["reschedule", "pause", "resume"])
def test_dry_run_writes_nothing(engine: Engine, olive: Person, jobs: list[str], verb: str) -> None:
    before = read_everything(engine)
    schedule = AT_FIVE if verb == "reschedule" else {}
    body = bulk(olive, verb, *jobs, **schedule, dry_run=True)
    assert read_everything(engine) == before
    assert list(body) == ["jobs"]


def test_dry_run_of_a_reschedule_shows_every_job(olive: Person, jobs: list[str]) -> None:
    found = bulk(olive, "reschedule", *jobs, **AT_FIVE, dry_run=True)["jobs"]
    assert [(job["job_id"], job["name"]) for job in found] == list(
        zip(jobs, ("Active", "Paused", "By hand"), strict=True)
    )
    active, paused, by_hand = (job["impact"] for job in found)
    assert (active["nothing_runs_now"], active["now"], active["given_up"]) == (True, "nothing runs now", 0)
    assert active["next_run"] == by_hand["next_run"] is not None
    first, until = datetime.fromisoformat(by_hand["next_run"]), datetime.fromisoformat(by_hand["until"])
    assert len(by_hand["appears"]) == (until - first).days + 1  # each day's at five, today's too before five
    assert (paused["summary"], paused["next_run"]) == ("nothing changes in the next 30 days", None)
    bulk(olive, "reschedule", *jobs, **AT_FIVE)
    assert show(olive, jobs)[0]["next_run"] == active["next_run"]


def test_dry_runs_show_only_the_jobs_that_change(olive: Person, jobs: list[str]) -> None:
    (paused,) = bulk(olive, "pause", *jobs, dry_run=True)["jobs"]
    assert (paused["job_id"], paused["impact"]["next_run"]) == (jobs[0], None)
    assert len(paused["impact"]["disappears"]) in (4, 5)
    (resumed,) = bulk(olive, "resume", *jobs, dry_run=True)["jobs"]
    assert resumed["job_id"] == jobs[1]
    assert resumed["impact"]["appears"][0] == resumed["impact"]["next_run"]


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("verb", ["reschedule", "pause", "resume"])
def test_one_job_of_somebody_else_stops_all(
    engine: Engine, olive: Person, sign_in: Any, jobs: list[str], verb: str, dry_run: bool
) -> None:
    foreign = post_job(sign_in("mallory")).json()["id"]
    before = read_everything(engine)
    body = {"job_ids": [*jobs, foreign], "dry_run": dry_run} | (AT_FIVE if verb == "reschedule" else {})
    answer = olive.client.post(f"/jobs/bulk/{verb}", json=body)
    assert answer.status_code == 404
    assert answer.json() == {"error": f'there is no job "{foreign}", or it belongs to someone else'}
    assert read_everything(engine) == before


def test_job_that_cannot_be_resumed_is_named_and_stops_all(engine: Engine, olive: Person, jobs: list[str]) -> None:
    broken = {"schedule_type": "daily", "schedule_config": {"hour": "two"}, "is_scheduled": True, "paused_at": NOW}
    with transaction(engine) as session:
        broken_id = make_job(session, olive.viewer, name="Broken", **broken).id
    before = read_everything(engine)
    for dry_run in (True, False):
        answer = olive.client.post("/jobs/bulk/resume", json={"job_ids": [*jobs, broken_id], "dry_run": dry_run})
        assert answer.status_code == 422
        assert answer.json()["error"].startswith('job "Broken": ')
        assert read_everything(engine) == before


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"job_ids": []}, "No job is chosen; choose at least one."),
        ({"job_ids": "x"}, 'job_ids: found "x"; allowed: a list'),
        ({"job_ids": [1]}, 'job_ids.0: found "1"; allowed: text'),
        ({}, "job_ids: is missing"),
        ({"job_ids": ["x"], "dry_run": "no"}, 'dry_run: found "no"; allowed: true or false'),
        ({"job_ids": ["x"], "force": True}, 'unknown field "force"; allowed: job_ids, '),
        (
            {"job_ids": [str(n) for n in range(MAX_JOBS + 1)]},
            "201 jobs are chosen; at most 200 can be changed at once",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["reschedule", "pause", "resume"])
def test_bad_selection_is_explained(olive: Person, verb: str, body: dict[str, Any], words: str) -> None:
    answer = olive.client.post(f"/jobs/bulk/{verb}", json=body | (AT_FIVE if verb == "reschedule" else {}))
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].startswith(words)


def test_id_that_cannot_be_stored_is_404(olive: Person) -> None:
    answer = olive.client.post("/jobs/bulk/pause", json={"job_ids": ["a\0b"]})
    assert (answer.status_code, answer.json()) == (404, {"error": "there is nothing with such an id"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schedule_config": {"hour": 25, "minute": 0}}, 'schedule: hour "25": allowed 0-23'),
        ({"time_zone": "Mars"}, 'schedule: unknown time zone "Mars"'),
        ({"schedule_type": "hourly"}, 'schedule: unknown schedule_type "hourly"'),
        ({"schedule_config": "{}"}, 'schedule_config: found "{}"; allowed: an object'),
    ],
)
def test_bad_schedule_is_explained_and_changes_nothing(
    engine: Engine, olive: Person, jobs: list[str], change: dict[str, Any], words: str
) -> None:
    before = read_everything(engine)
    answer = olive.client.post("/jobs/bulk/reschedule", json={"job_ids": jobs} | AT_FIVE | change)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(words)
    assert read_everything(engine) == before
