"""Retries over the API: asking for one, what is refused and why, and the job's retry policy."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from db.accounts import list_accounts
from db.engine import transaction
from db.models import Account, AuditEntry, Job, ResultStatus, Role, Run, RunStatus, RunTrigger
from tests.api.portal_story import Person, make_result, post_job
from tests.api.stored_rows import read_everything
from tests.factories import NOW, make_job, make_run

OK, PORTAL_ERROR, WRONG = ResultStatus.SUCCESS, ResultStatus.PORTAL_ERROR, ResultStatus.WRONG_CREDENTIALS


def add_run(
    engine: Engine, person: Person, *results: ResultStatus, status: RunStatus = RunStatus.PARTIAL, accounts: int = 4
) -> int:
    """An ended run of a job with four accounts, of which the first ones have these results."""
    with transaction(engine) as session:
        job = make_job(session, person.viewer, accounts=accounts, status=status, last_outcome=status)
        columns: dict[str, Any] = {"accounts_total": accounts, "accounts_done": len(results)}
        run = make_run(session, job, status=status, started_at=NOW, **columns)
        for account, result in zip(list_accounts(session, job), results, strict=False):
            make_result(session, run.id, job.id, account.row_number, account_id=account.id, status=result)
        return run.id


def retry(person: Person, run_id: int) -> Any:
    return person.client.post(f"/runs/{run_id}/retry-failed")


def covered(engine: Engine, run_id: int) -> list[int]:
    """The rows of the accounts that a retry covers."""
    with transaction(engine) as session:
        ids = session.get_one(Run, run_id).account_ids or []
        return list(session.scalars(select(Account.row_number).where(Account.id.in_(ids)).order_by(Account.row_number)))


def refused(answer: Any) -> str:
    assert answer.status_code == 409, answer.text
    return answer.json()["error"]


def test_retry_covers_what_failed_for_a_passing_reason(engine: Engine, olive: Person) -> None:
    run_id = add_run(engine, olive, OK, PORTAL_ERROR, WRONG, ResultStatus.NOT_TRIED)
    assert olive.client.get(f"/runs/{run_id}").json()["accounts_retryable"] == 2
    answer = retry(olive, run_id)
    assert answer.status_code == 202
    queued = answer.json()
    assert (queued["trigger"], queued["status"], queued["parent_run_id"]) == ("retry", "queued", run_id)
    assert (queued["attempt"], queued["accounts_total"], queued["requested_by"]) == (1, 2, olive.viewer.user_id)
    assert covered(engine, queued["id"]) == [3, 5]
    parent = olive.client.get(f"/runs/{run_id}").json()
    assert (parent["retry_run_ids"], parent["accounts_retryable"]) == ([queued["id"]], 0)
    assert olive.client.get(f"/jobs/{queued['job_id']}").json()["status"] == "queued"
    with transaction(engine) as session:
        assert session.get_one(Run, queued["id"]).priority == 0
        entry = session.scalars(select(AuditEntry)).one()
    assert (entry.user_id, entry.action, entry.subject) == (
        olive.viewer.user_id, "retry requested", f"job {queued['job_id']}"
    )  # fmt: skip
    assert entry.after == {"run": queued["id"], "accounts_of_run": run_id}


@pytest.mark.parametrize("status", [RunStatus.STOPPED, RunStatus.TIMED_OUT, RunStatus.LOST, RunStatus.FAILED])
def test_retry_of_a_run_that_was_cut_short_covers_what_it_did_not_come_to(
    engine: Engine, olive: Person, status: RunStatus
) -> None:
    run_id = add_run(engine, olive, OK, PORTAL_ERROR, status=status)
    with transaction(engine) as session:  # one that came to the job after the run is none of its
        last = session.scalars(select(Account).order_by(Account.row_number.desc()).limit(1)).one()
        last.created_at = NOW + timedelta(days=1)
    assert covered(engine, retry(olive, run_id).json()["id"]) == [3, 4]


def test_retry_of_a_run_that_came_to_its_end_leaves_new_accounts_out(engine: Engine, olive: Person) -> None:
    assert covered(engine, retry(olive, add_run(engine, olive, OK, PORTAL_ERROR)).json()["id"]) == [3]


@pytest.mark.parametrize(
    ("results", "status", "words"),
    [
        ([OK, WRONG, WRONG], RunStatus.PARTIAL, "a retry cannot mend what failed in run {}: 2 accounts with wrong"),
        (
            [ResultStatus.PORTAL_CHANGED, ResultStatus.NEEDS_ATTENTION],
            RunStatus.PARTIAL,
            "a retry cannot mend what failed in run {}: 1 account in need of attention, 1 account where the portal",
        ),
        ([OK, OK], RunStatus.COMPLETED, "no account failed in run {}"),
    ],
)
def test_retry_of_nothing_says_what_failed_instead(
    engine: Engine, olive: Person, results: list[ResultStatus], status: RunStatus, words: str
) -> None:
    run_id = add_run(engine, olive, *results, status=status)
    before = read_everything(engine)
    assert refused(retry(olive, run_id)).startswith(words.format(run_id))
    assert read_everything(engine) == before
    assert olive.client.get(f"/runs/{run_id}").json()["accounts_retryable"] == 0


def test_retry_of_accounts_that_are_gone_is_refused(engine: Engine, olive: Person) -> None:
    run_id = add_run(engine, olive, OK, PORTAL_ERROR)
    with transaction(engine) as session:
        session.delete(session.scalars(select(Account).where(Account.row_number == 3)).one())
    assert refused(retry(olive, run_id)) == "the accounts that failed are no longer in the job"


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.RUNNING])
def test_retry_waits_for_the_runs_end_and_for_other_runs(engine: Engine, olive: Person, status: RunStatus) -> None:
    run_id = add_run(engine, olive, OK, PORTAL_ERROR)
    with transaction(engine) as session:
        job = session.scalars(select(Job)).one()
        live = make_run(session, job, status=status).id
    assert refused(retry(olive, live)) == f"run {live} is still {status}; wait for its end or stop it"
    assert refused(retry(olive, run_id)) == f"a run of this job is already {status}"


@pytest.mark.parametrize("status", [RunStatus.MISSED, RunStatus.SKIPPED, RunStatus.STOPPED])
def test_retry_of_a_run_that_never_began_is_refused(engine: Engine, olive: Person, status: RunStatus) -> None:
    with transaction(engine) as session:
        run_id = make_run(session, make_job(session, olive.viewer), status=status).id
    assert refused(retry(olive, run_id)) == (
        f"run {run_id} never began, so no account failed in it; run the job instead"
    )


def test_sign_in_test_is_not_retried(engine: Engine, olive: Person) -> None:
    run_id = add_run(engine, olive, PORTAL_ERROR)
    with transaction(engine) as session:
        run = session.get_one(Run, run_id)
        run.trigger, run.account_ids = RunTrigger.TEST, [0]
    assert "sign-in test" in refused(retry(olive, run_id))


def test_run_that_was_retried_names_the_run_to_retry_instead(engine: Engine, olive: Person) -> None:
    run_id = add_run(engine, olive, OK, PORTAL_ERROR)
    with transaction(engine) as session:
        job = session.scalars(select(Job)).one()
        columns: dict[str, Any] = {"trigger": RunTrigger.RETRY, "parent_run_id": run_id}
        again = make_run(session, job, status=RunStatus.FAILED, started_at=NOW, **columns)
        make_run(session, job, status=RunStatus.SKIPPED, **columns)
        account = list_accounts(session, job)[1]
        make_result(session, again.id, job.id, 3, account_id=account.id, status=PORTAL_ERROR)
    assert refused(retry(olive, run_id)) == (
        f"run {run_id} was retried as run {again.id} already; retry what is left of that one"
    )
    assert olive.client.get(f"/runs/{run_id}").json()["accounts_retryable"] == 0
    assert covered(engine, retry(olive, again.id).json()["id"]) == [3]


def test_retry_takes_the_place_of_the_automatic_one_that_waits(engine: Engine, olive: Person) -> None:
    run_id = add_run(engine, olive, OK, PORTAL_ERROR)
    other_id = add_run(engine, olive, OK, PORTAL_ERROR)
    with transaction(engine) as session:
        waiting = [
            make_run(
                session,
                session.get_one(Job, session.get_one(Run, i).session_id),
                trigger=RunTrigger.RETRY,
                parent_run_id=i,
            )
            for i in (run_id, other_id)
        ]
        for run in waiting:
            session.get_one(Job, run.session_id).status = RunStatus.PARTIAL
    new = retry(olive, run_id).json()
    first, second = (olive.client.get(f"/runs/{run.id}").json() for run in waiting)
    assert (first["status"], first["cause"]) == ("skipped", "superseded")
    assert first["reason"] == f"superseded by run {new['id']}"
    assert second["status"] == "queued"


def test_viewers_may_not_retry(engine: Engine, sign_in: Callable[..., Person]) -> None:
    vera = sign_in("vera", Role.VIEWER)
    run_id = add_run(engine, vera, OK, PORTAL_ERROR)
    before = read_everything(engine)
    assert retry(vera, run_id).status_code == 403
    assert read_everything(engine) == before


# The job's policy


def test_job_takes_its_retry_policy_and_changes_it(olive: Person) -> None:
    usual = post_job(olive).json()
    assert (usual["max_attempts"], usual["retry_delay_seconds"]) == (3, 60)
    job = post_job(olive, max_attempts="5", retry_delay_seconds="0").json()
    assert (job["max_attempts"], job["retry_delay_seconds"]) == (5, 0)
    after = olive.client.patch(f"/jobs/{job['id']}", json={"retry_delay_seconds": 900}).json()
    assert {name for name in after if after[name] != job[name]} == {"retry_delay_seconds", "version", "updated_at"}
    after = olive.client.patch(f"/jobs/{job['id']}", json={"max_attempts": 1}).json()
    assert (after["max_attempts"], after["retry_delay_seconds"]) == (1, 900)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("max_attempts", 0, "found 0; allowed 1 (no retry) to 20"),
        ("max_attempts", 21, "found 21; allowed 1 (no retry) to 20"),
        ("retry_delay_seconds", 21601, "found 21601; allowed 0 to 21600 (6 hours)"),
    ],
)
def test_bad_retry_policy_is_named(engine: Engine, olive: Person, field: str, value: int, words: str) -> None:
    job_id = post_job(olive).json()["id"]
    before = read_everything(engine)
    for answer in (
        post_job(olive, **{field: str(value)}),
        olive.client.patch(f"/jobs/{job_id}", json={field: value}),
    ):
        assert answer.status_code == 422
        assert answer.json()["fields"] == {field: words}
    assert post_job(olive, **{field: "often"}).json()["fields"] == {field: 'found "often"; allowed: a whole number'}
    assert olive.client.patch(f"/jobs/{job_id}", json={field: True}).status_code == 422
    assert read_everything(engine) == before
