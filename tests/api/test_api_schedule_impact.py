"""What a change of a job's schedule would do, over the API, before anything is saved."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from db.engine import transaction
from db.models import Role, Run, RunStatus
from tests.api.calendar_requests import add_calendar
from tests.api.portal_story import Person, post_job
from tests.api.stored_rows import read_everything
from tests.factories import DAILY, make_job

FIELDS = [
    "summary", "nothing_runs_now", "now", "given_up", "next_run", "until", "is_cut", "unchanged", "appears",
    "disappears", "moved", "first_change",
]  # fmt: skip
DAILY_FORM = {"schedule_type": "daily", "schedule_config": '{"hour": 2, "minute": 0}', "time_zone": "UTC"}


def impact(person: Person, job_id: str, **question: Any) -> dict[str, Any]:
    answer = person.client.post(f"/jobs/{job_id}/schedule/impact", json=question)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == FIELDS
    assert answer.json()["nothing_runs_now"] is True
    return answer.json()


def hour_later(text: str) -> str:
    return (datetime.fromisoformat(text) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")


def test_moved_runs_are_paired_and_nothing_is_written(engine: Engine, olive: Person) -> None:
    # Both hours on the same side of now, or the first run would have no pair on its date.
    hour = 2 if datetime.now(UTC).hour >= 12 else 14
    job = post_job(olive, **DAILY_FORM | {"schedule_config": f'{{"hour": {hour}, "minute": 0}}'}).json()
    before = read_everything(engine)
    body = impact(olive, job["id"], schedule_config={"hour": hour + 1, "minute": 0})
    assert read_everything(engine) == before
    assert body["summary"] == f"{len(body['moved'])} runs move in the next 30 days"
    assert len(body["moved"]) in (30, 31)  # today's, if it is still to come
    assert all(move["after"] == hour_later(move["before"]) for move in body["moved"])
    assert (body["unchanged"], body["appears"], body["disappears"], body["is_cut"]) == (0, [], [], False)
    assert (body["given_up"], body["now"]) == (0, "nothing runs now")
    until = datetime.fromisoformat(body["until"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < until <= timedelta(days=31)


def test_next_run_is_the_one_that_saving_brings(olive: Person) -> None:
    job = post_job(olive, **DAILY_FORM).json()
    edit = {"schedule_type": "weekly", "schedule_config": {"day_of_week": 5, "hour": 4, "minute": 5}}
    body = impact(olive, job["id"], **edit)
    assert body["next_run"] == olive.client.patch(f"/jobs/{job['id']}", json=edit).json()["next_run"]


def test_what_is_due_is_given_up_as_the_impact_says(engine: Engine, olive: Person) -> None:
    now = datetime.now(UTC)
    due = now.replace(hour=2, minute=0, second=0, microsecond=0) - timedelta(days=2)
    with transaction(engine) as session:
        job = make_job(session, olive.viewer, schedule=DAILY, next_run=due)
    edit = {"time_zone": "Asia/Kolkata"}
    body = impact(olive, job.id, **edit)
    count = body["given_up"]
    assert count in (2, 3)
    assert body["now"] == f"nothing runs now; {count} runs that are due now are recorded as missed"
    olive.client.patch(f"/jobs/{job.id}", json=edit)
    with transaction(engine) as session:
        runs = session.scalars(select(Run)).all()
    assert [run.status for run in runs] == [RunStatus.MISSED] * count
    assert impact(olive, job.id, time_zone="Asia/Kolkata")["given_up"] == 0


def test_switching_off_makes_all_runs_disappear(olive: Person) -> None:
    job = post_job(olive, **DAILY_FORM).json()
    body = impact(olive, job["id"], is_scheduled=False)
    assert body["summary"] == f"{len(body['disappears'])} runs disappear in the next 30 days"
    assert body["disappears"][0] == job["next_run"]
    assert (body["next_run"], body["appears"], body["moved"]) == (None, [], [])


def test_schedule_that_is_sent_switched_off_runs_nothing(olive: Person) -> None:
    job = post_job(olive, **DAILY_FORM).json()
    body = impact(olive, job["id"], is_scheduled=False, time_zone="Asia/Tokyo")
    assert (body["next_run"], body["appears"], body["moved"]) == (None, [], [])
    assert body["disappears"][0] == job["next_run"]


def test_policy_alone_may_leave_runs_out(olive: Person) -> None:
    job = post_job(olive, **DAILY_FORM).json()
    off = datetime.fromisoformat(job["next_run"])
    calendar_id = add_calendar(olive, off.date())
    body = impact(olive, job["id"], calendar_ids=[calendar_id])
    assert body["disappears"] == [job["next_run"]]
    assert body["summary"] == "1 run disappears in the next 30 days"
    assert datetime.fromisoformat(body["next_run"]) == off + timedelta(days=1)


def test_resume_shows_what_comes_back(engine: Engine, olive: Person) -> None:
    job = post_job(olive, **DAILY_FORM).json()
    olive.client.post(f"/jobs/{job['id']}/pause")
    before = read_everything(engine)
    body = impact(olive, job["id"], resume=True)
    assert read_everything(engine) == before
    assert body["appears"][0] == body["next_run"] == job["next_run"]
    assert body["summary"] == f"{len(body['appears'])} runs appear in the next 30 days"
    assert olive.client.post(f"/jobs/{job['id']}/resume").json()["next_run"] == body["next_run"]


def test_resume_of_a_job_that_is_not_paused_changes_nothing(engine: Engine, olive: Person) -> None:
    scheduled = post_job(olive, **DAILY_FORM).json()
    with transaction(engine) as session:
        by_hand = make_job(session, olive.viewer).id
    for job_id, next_run in ((scheduled["id"], scheduled["next_run"]), (by_hand, None)):
        body = impact(olive, job_id, resume=True)
        assert (body["summary"], body["next_run"]) == ("nothing changes in the next 30 days", next_run)


def test_edit_of_a_paused_job_changes_nothing_yet(olive: Person) -> None:
    job = post_job(olive, **DAILY_FORM).json()
    olive.client.post(f"/jobs/{job['id']}/pause")
    body = impact(olive, job["id"], time_zone="Asia/Tokyo")
    assert (body["summary"], body["next_run"]) == ("nothing changes in the next 30 days", None)


def test_too_many_runs_are_compared_as_far_as_it_goes(olive: Person) -> None:
    job = post_job(olive, **DAILY_FORM).json()
    body = impact(olive, job["id"], schedule_type="custom", schedule_config={"cron_expression": "* * * * *"})
    assert body["is_cut"] is True
    assert body["summary"].endswith("UTC (too many runs to compare further)")


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({}, "body: nothing to compare; send at least one of is_scheduled, schedule_type"),
        ({"name": "x"}, 'unknown field "name"; allowed: is_scheduled, schedule_type, schedule_config, time_zone'),
        ({"resume": False}, "resume: send true and nothing else, or leave it out"),
        ({"resume": True, "time_zone": "UTC"}, "resume: send true and nothing else, or leave it out"),
        ({"resume": 1}, 'resume: found "1"; allowed: true or false'),
        ({"schedule_config": {"hour": 25, "minute": 0}}, 'schedule: hour "25": allowed 0-23'),
        ({"time_zone": "Mars"}, 'schedule: unknown time zone "Mars"'),
        ({"calendar_ids": [404]}, "calendar_ids: there is no calendar 404"),
        ({"misfire_grace_seconds": 0}, "misfire_grace_seconds: found 0; allowed 1 to 2678400 (31 days)"),
        ({"on_holiday": "stay"}, "on_holiday: found \"stay\"; allowed: 'skip' or 'move'"),
    ],
)
def test_bad_question_is_explained(olive: Person, question: dict[str, Any], words: str) -> None:
    job = post_job(olive, **DAILY_FORM).json()
    answer = olive.client.post(f"/jobs/{job['id']}/schedule/impact", json=question)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].replace('\\"', '"').startswith(words)


def test_schedule_of_a_job_that_has_none_must_be_switched_on(engine: Engine, olive: Person) -> None:
    with transaction(engine) as session:
        job_id = make_job(session, olive.viewer).id
    daily = {"schedule_type": "daily", "schedule_config": {"hour": 1, "minute": 2}}
    refused = olive.client.post(f"/jobs/{job_id}/schedule/impact", json=daily)
    assert list(refused.json()["fields"]) == ["is_scheduled"]
    found = impact(olive, job_id, **daily, is_scheduled=True)
    first, until = datetime.fromisoformat(found["next_run"]), datetime.fromisoformat(found["until"])
    assert len(found["appears"]) == (until - first).days + 1  # each day's, and today's where it is still to come


def test_viewers_and_strangers_learn_nothing(engine: Engine, olive: Person, sign_in: Callable[..., Person]) -> None:
    job = post_job(olive).json()
    address = f"/jobs/{job['id']}/schedule/impact"
    assert sign_in("mallory").client.post(address, json={"time_zone": "UTC"}).status_code == 404
    assert sign_in("vera", Role.VIEWER).client.post(address, json={"time_zone": "UTC"}).status_code == 403
