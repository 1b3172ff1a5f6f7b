"""Statistics over the API: every day of the period, own jobs only, and refused lengths."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from db.daily_figures import count_ended_runs
from db.engine import transaction
from db.models import Role, RunStatus
from tests.api.portal_story import Person
from tests.factories import make_job, make_run

SignIn = Callable[..., Person]


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


def add_history(engine: Engine, person: Person, now: datetime) -> str:
    """A job with two runs today and a missed one yesterday, counted; returns its id."""
    with transaction(engine) as session:
        job = make_job(session, person.viewer)
        make_run(
            session,
            job,
            status=RunStatus.COMPLETED,
            at=now,
            started_at=now,
            finished_at=now + timedelta(seconds=1.5),
            lateness_seconds=0.25,
            accounts_done=3,
            accounts_succeeded=2,
        )
        make_run(session, job, status=RunStatus.FAILED, at=now, started_at=now, lateness_seconds=0.75)
        make_run(session, job, status=RunStatus.MISSED, at=now - timedelta(days=1), occurrences=4)
        count_ended_runs(session)
        return job.id


def days_of(person: Person, path: str) -> list[dict[str, Any]]:
    answer = person.client.get(path)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["from", "to", "runs_kept_since", "days"]
    return answer.json()["days"]


def test_statistics_of_a_job_have_every_day(engine: Engine, olive: Person, now: datetime) -> None:
    job_id = add_history(engine, olive, now)
    days = days_of(olive, f"/jobs/{job_id}/statistics?days=7")
    assert [day["day"] for day in days] == [str(now.date() - timedelta(days=n)) for n in range(6, -1, -1)]
    assert days[-1] == {
        "day": str(now.date()),
        "completed": 1,
        "partial": 0,
        "failed": 1,
        "stopped": 0,
        "timed_out": 0,
        "lost": 0,
        "missed": 0,
        "skipped": 0,
        "accounts_succeeded": 2,
        "accounts_failed": 1,
        "bills_new": 0,
        "run_seconds": 1.5,
        "mean_lateness_seconds": 0.5,
        "max_lateness_seconds": 0.75,
    }
    assert days[-2]["missed"] == 4
    assert days[-2]["max_lateness_seconds"] is None
    assert days_of(olive, "/statistics?days=7") == days
    assert len(days_of(olive, "/statistics")) == 30


def test_statistics_are_the_viewers_own_and_admins_see_all(
    engine: Engine, olive: Person, sign_in: SignIn, now: datetime
) -> None:
    job_id = add_history(engine, olive, now)
    otto, ada = sign_in("otto"), sign_in("ada", Role.ADMIN)
    assert otto.client.get(f"/jobs/{job_id}/statistics").status_code == 404
    assert days_of(otto, "/statistics?days=1")[0]["completed"] == 0
    add_history(engine, otto, now)
    assert days_of(ada, "/statistics?days=1")[0]["completed"] == 2
    assert days_of(ada, f"/jobs/{job_id}/statistics?days=1")[0]["completed"] == 1


@pytest.mark.parametrize("query", ["days=0", "days=4000", "days=x", "weeks=1"])
def test_lengths_that_make_no_sense_are_refused(olive: Person, query: str) -> None:
    answer = olive.client.get(f"/statistics?{query}")
    assert answer.status_code == 422
    assert query.split("=")[0] in answer.json()["error"]


def test_nobody_reads_statistics_without_signing_in(client: Any) -> None:
    assert client.get("/statistics").status_code == 401
