"""Asking over the API for a test of one account's sign-in."""

from typing import Any

import pytest
from sqlalchemy import Engine, select

from db.engine import transaction
from db.models import Account, AccountStatus, Job, RunStatus
from tests.api.portal_story import Person, post_job


@pytest.fixture
def job_id(olive: Person) -> str:
    return post_job(olive).json()["id"]


def ask(person: Person, job_id: str, body: dict[str, Any]) -> Any:
    return person.client.post(f"/jobs/{job_id}/test-sign-in", json=body)


def first_account(engine: Engine) -> int:
    with transaction(engine) as session:
        account = session.scalars(select(Account).order_by(Account.id)).first()
        assert account is not None
        account.status, account.status_reason = AccountStatus.NEEDS_ATTENTION, "locked"
        return account.id


def test_test_of_an_account_that_is_left_alone_is_queued(engine: Engine, olive: Person, job_id: str) -> None:
    answer = ask(olive, job_id, {"account_id": first_account(engine)})
    assert answer.status_code == 202
    run = answer.json()
    assert (run["trigger"], run["status"], run["accounts_total"]) == ("test", RunStatus.QUEUED, 1)
    assert run["waits_for"] == "no scheduler with slots is running"
    job = olive.client.get(f"/jobs/{job_id}").json()
    assert (job["status"], job["last_run_id"]) == ("idle", None)
    again = ask(olive, job_id, {"account_id": first_account(engine)})
    assert (again.status_code, "under way" in again.json()["error"]) == (409, True)
    assert olive.client.post(f"/jobs/{job_id}/run").status_code == 202


@pytest.mark.parametrize("body", [{}, {"account_id": "x"}, {"account_id": 0}, {"account_id": 1, "password": "x"}])
def test_request_that_names_no_account_is_refused(
    engine: Engine, olive: Person, job_id: str, body: dict[str, Any]
) -> None:
    assert ask(olive, job_id, body).status_code == 422
    with transaction(engine) as session:
        assert session.scalars(select(Job.test_run_id)).all() == [None]


def test_account_of_another_job_is_not_found(engine: Engine, olive: Person, job_id: str) -> None:
    other = first_account(engine)
    newer = post_job(olive).json()["id"]
    answer = ask(olive, newer, {"account_id": other})
    assert (answer.status_code, answer.json()) == (404, {"error": "this account is no longer in the job"})
