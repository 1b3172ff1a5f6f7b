"""Tests of the sign-in in the database: who may ask for one, and that a job goes on as if there were none."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.accounts import get_account
from db.claiming import _lock_startable, expire_runs
from db.claims import finish_run, recover_runs, requeue_run
from db.daily_figures import count_ended_runs
from db.encryption import SecretBox
from db.engine import transaction
from db.errors import ConflictError, NotAllowedError, NotFoundError
from db.firing import fire_due_jobs
from db.jobs import delete_job, update_accounts
from db.models import (
    Account,
    AccountStatus,
    AuditEntry,
    Job,
    JobDay,
    JobStatus,
    Result,
    ResultStatus,
    Role,
    Run,
    RunStatus,
    RunTrigger,
)
from db.results import ResultRecord, record_results
from db.runs import request_run, request_stop
from db.sign_in_tests import get_bill_sample, record_bill_sample, request_test_sign_in
from db.viewers import Viewer
from tests.claimed_runs import LEASE, SECOND, claim, take
from tests.factories import HOURLY, NOW, make_account, make_job, make_portal, make_run, make_viewer

RIGHT = {"status": JobStatus.PARTIAL, "last_outcome": RunStatus.PARTIAL, "last_run_id": 7, "results_count": 40}
OUTCOME = ("status", "last_outcome", "last_run_id", "last_run_at", "results_count")


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with transaction(engine) as session:
        yield session


def add_test(session: Session, viewer: Viewer, **job_columns: object) -> tuple[Job, Run]:
    job = make_job(session, viewer, **RIGHT | job_columns)  # type: ignore[arg-type]
    account_id = session.scalars(select(Account.id).where(Account.session_id == job.id)).first()
    assert account_id is not None
    return job, request_test_sign_in(session, viewer, job.id, account_id, now=NOW)


def outcome_of(session: Session, job_id: str) -> list[object]:
    session.expire_all()
    job = session.get_one(Job, job_id)
    return [getattr(job, column) for column in OUTCOME]


def begin(session: Session, run: Run, *, seconds: float = 0) -> None:
    assert [c.run_id for c in claim(session, seconds=seconds)] == [run.id]


def end(session: Session, run: Run, *, seconds: float = 1, outcome: RunStatus = RunStatus.COMPLETED) -> None:
    session.refresh(run)
    assert run.lease_token is not None
    assert finish_run(session, run.id, run.lease_token, outcome, None, NOW + seconds * SECOND)


def test_test_is_a_run_of_one_account_that_a_person_waits_for(session: Session) -> None:
    viewer = make_viewer(session)
    job, run = add_test(session, viewer, accounts=3)
    assert (run.trigger, run.status, run.accounts_total) == (RunTrigger.TEST, RunStatus.QUEUED, 1)
    assert (run.priority, run.requested_by, run.start_by) == (0, viewer.user_id, NOW + timedelta(minutes=15))
    entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "sign-in test requested")).one()
    assert (entry.subject, entry.user_id) == (f"job {job.id}", viewer.user_id)


def test_test_without_its_account_is_refused_by_the_database(session: Session) -> None:
    job = make_job(session, make_viewer(session))
    for account_ids in (None, [], [1, 2]):
        with pytest.raises(IntegrityError, match="test_names_its_account"), session.begin_nested():
            make_run(session, job, trigger=RunTrigger.TEST, account_ids=account_ids)


def test_job_stands_as_before_throughout_a_test(session: Session) -> None:
    job, run = add_test(session, make_viewer(session))
    before = outcome_of(session, job.id)
    begin(session, run)
    assert outcome_of(session, job.id) == before
    assert session.get_one(Job, job.id).test_run_id == run.id
    end(session, run, outcome=RunStatus.FAILED)
    assert outcome_of(session, job.id) == before
    assert session.get_one(Job, job.id).test_run_id is None


def test_occurrence_during_a_test_is_not_skipped_but_waits(session: Session) -> None:
    job, run = add_test(session, make_viewer(session), schedule=HOURLY)
    begin(session, run)
    assert fire_due_jobs(session, NOW).queued == 1
    session.expire_all()
    assert session.get_one(Job, job.id).status == JobStatus.QUEUED
    assert claim(session) == []
    end(session, run)
    session.expire_all()
    assert session.get_one(Job, job.id).status == JobStatus.QUEUED
    [claimed] = claim(session, seconds=2)
    assert session.get_one(Run, claimed.run_id).trigger == RunTrigger.SCHEDULE


def test_start_window_is_longer_by_the_time_of_a_test(session: Session) -> None:
    job, run = add_test(session, make_viewer(session), schedule=HOURLY, misfire_grace_seconds=10)
    begin(session, run)
    fire_due_jobs(session, NOW)
    assert expire_runs(session, NOW + 60 * SECOND) == 0
    end(session, run, seconds=60)
    waiting = session.scalars(select(Run).where(Run.trigger == RunTrigger.SCHEDULE, Run.session_id == job.id)).one()
    assert waiting.start_by == NOW + 70 * SECOND
    assert [c.run_id for c in claim(session, seconds=65)] == [waiting.id]


def test_run_can_be_asked_for_during_a_test_and_waits(session: Session) -> None:
    viewer = make_viewer(session)
    job, run = add_test(session, viewer)
    begin(session, run)
    wanted = request_run(session, viewer, job.id, trigger=RunTrigger.MANUAL, now=NOW)
    assert claim(session) == []
    end(session, run)
    assert [c.run_id for c in claim(session, seconds=2)] == [wanted.id]


def test_test_waits_for_the_jobs_run_and_is_given_up_when_nobody_waits_for_it(session: Session) -> None:
    viewer = make_viewer(session)
    job = make_job(session, viewer)
    running = make_run(session, job, status=RunStatus.RUNNING)
    account_id = session.scalars(select(Account.id)).one()
    test = request_test_sign_in(session, viewer, job.id, account_id, now=NOW)
    assert claim(session) == []
    assert expire_runs(session, NOW + timedelta(minutes=16)) == 1
    session.expire_all()
    assert session.get_one(Run, test.id).status == RunStatus.MISSED
    assert session.get_one(Job, job.id).status == JobStatus.RUNNING
    assert session.get_one(Run, running.id).status == RunStatus.RUNNING


def test_job_whose_run_ends_is_not_queued_for_a_test(session: Session) -> None:
    viewer = make_viewer(session)
    job = make_job(session, viewer)
    running = make_run(session, job, status=RunStatus.RUNNING)
    request_test_sign_in(session, viewer, job.id, session.scalars(select(Account.id)).one(), now=NOW)
    end(session, running)
    assert session.get_one(Job, job.id).status == JobStatus.COMPLETED


def test_two_schedulers_never_run_a_test_beside_a_run_of_its_job(engine: Engine) -> None:
    with transaction(engine) as session:
        viewer = make_viewer(session)
        job, run = add_test(session, viewer)
        wanted = request_run(session, viewer, job.id, trigger=RunTrigger.MANUAL, now=NOW).id
    take(engine, run.id)
    with transaction(engine) as session:
        # What a scheduler does that read the line just before: it goes for the run that stands there.
        assert _lock_startable(session, [wanted], NOW, 10) == []


@pytest.mark.parametrize("how", ["drained", "crashed", "lost"])
def test_interrupted_test_ends_because_its_sign_in_may_have_been_sent(session: Session, how: str) -> None:
    job, run = add_test(session, make_viewer(session))
    begin(session, run)
    session.refresh(run)
    assert run.lease_token is not None
    if how == "lost":
        assert recover_runs(session, NOW + LEASE + SECOND) == 1
    else:
        assert requeue_run(session, run.id, run.lease_token, "gone", NOW, is_fault=how == "crashed")
    session.expire_all()
    assert run.status == (RunStatus.LOST if how == "lost" else RunStatus.FAILED)
    assert (run.reason or "").endswith("; test the sign-in again")
    assert session.get_one(Job, job.id).test_run_id is None


@pytest.mark.parametrize(
    ("status", "account_status"),
    [
        (ResultStatus.SUCCESS, AccountStatus.READY),
        (ResultStatus.PORTAL_ERROR, AccountStatus.READY),
        (ResultStatus.WRONG_CREDENTIALS, AccountStatus.NEEDS_ATTENTION),
        (ResultStatus.NEEDS_ATTENTION, AccountStatus.NEEDS_ATTENTION),
    ],
)
def test_refused_test_keeps_runs_from_the_account(
    session: Session, status: ResultStatus, account_status: AccountStatus
) -> None:
    account = finish_test(session, status)
    assert (account.status, account.last_success_at) == (account_status, None)


def test_successful_test_clears_nothing_by_itself(session: Session) -> None:
    account = finish_test(session, ResultStatus.SUCCESS, before=AccountStatus.NEEDS_ATTENTION)
    assert (account.status, account.status_reason) == (AccountStatus.NEEDS_ATTENTION, "locked")


def finish_test(session: Session, status: ResultStatus, before: AccountStatus = AccountStatus.READY) -> Account:
    """The account after a test that ended so; nothing of it is counted."""
    job, run = add_test(session, make_viewer(session))
    account = session.scalars(select(Account).where(Account.session_id == job.id)).one()
    account.status, account.status_reason = before, "locked" if before == AccountStatus.NEEDS_ATTENTION else None
    session.flush()
    begin(session, run)
    session.refresh(run)
    assert run.lease_token is not None
    record = ResultRecord(account.id, account.username, 2, status, NOW, error="The portal said so")
    record_results(session, run.id, run.lease_token, [record], NOW)
    end(session, run)
    assert count_ended_runs(session) == 0
    assert session.scalars(select(JobDay)).all() == []
    assert session.get_one(Job, job.id).results_count == RIGHT["results_count"]
    assert session.scalars(select(Result.status).where(Result.run_id == run.id)).all() == [status]
    session.refresh(account)
    return account


def test_stop_ends_a_queued_test_and_leaves_the_job(session: Session) -> None:
    viewer = make_viewer(session)
    job, run = add_test(session, viewer)
    before = outcome_of(session, job.id)
    assert request_stop(session, viewer, job.id, now=NOW).id == run.id
    assert session.get_one(Run, run.id).status == RunStatus.STOPPED
    assert outcome_of(session, job.id) == before


def test_stop_of_a_queued_run_beside_a_running_test_settles_the_job(session: Session) -> None:
    viewer = make_viewer(session)
    job, run = add_test(session, viewer)
    begin(session, run)
    request_run(session, viewer, job.id, trigger=RunTrigger.MANUAL, now=NOW)
    assert request_stop(session, viewer, job.id, now=NOW).id == run.id
    session.expire_all()
    assert session.get_one(Job, job.id).status == JobStatus.STOPPED
    assert session.get_one(Run, run.id).stop_requested_at == NOW


def test_accounts_and_job_stay_while_a_test_is_running(session: Session) -> None:
    viewer = make_viewer(session)
    job, run = add_test(session, viewer)
    begin(session, run)
    with pytest.raises(ConflictError, match="in progress"):
        delete_job(session, viewer, job.id)
    with pytest.raises(ConflictError, match="in progress"):
        update_accounts(session, viewer, job.id, [], SecretBox(("a key" * 10,)), now=NOW)


def test_only_one_test_of_a_job_at_a_time(session: Session) -> None:
    viewer = make_viewer(session)
    job, run = add_test(session, viewer)
    account_id = session.scalars(select(Account.id)).one()
    with pytest.raises(ConflictError, match=rf"under way \(run {run.id}\)"):
        request_test_sign_in(session, viewer, job.id, account_id, now=NOW)


def test_account_is_not_tested_again_and_again(session: Session) -> None:
    viewer = make_viewer(session)
    job = make_job(session, viewer, accounts=2)
    tried, other = session.scalars(select(Account.id).order_by(Account.id)).all()
    for minute in range(3):
        at = NOW + timedelta(minutes=minute)
        make_run(
            session, job, trigger=RunTrigger.TEST, status=RunStatus.FAILED, at=at, started_at=at, account_ids=[tried]
        )
    with pytest.raises(ConflictError, match=r"tested 3 times within 10 minutes.*test it again after 12:10 UTC"):
        request_test_sign_in(session, viewer, job.id, tried, now=NOW + timedelta(minutes=9))
    request_test_sign_in(session, viewer, job.id, other, now=NOW + timedelta(minutes=9))
    request_stop(session, viewer, job.id, now=NOW)
    assert request_test_sign_in(session, viewer, job.id, tried, now=NOW + timedelta(minutes=10, seconds=1))


def test_test_waits_out_an_open_breaker(session: Session) -> None:
    viewer = make_viewer(session)
    until = NOW + timedelta(minutes=5)
    portal = make_portal(session, breaker_open_until=until, breaker_reason="the portal refused 5 sign-ins in a row")
    with pytest.raises(
        ConflictError, match=r"portal\.example is left alone until 10 Mar 12:05 UTC: the portal refused"
    ):
        add_test(session, viewer, portal_id=portal.id)


def test_rights_of_tests_are_those_of_runs(session: Session) -> None:
    olive, other = make_viewer(session), make_viewer(session, "otto")
    job = make_job(session, olive)
    account_id = session.scalars(select(Account.id)).one()
    with pytest.raises(NotFoundError):
        request_test_sign_in(session, other, job.id, account_id, now=NOW)
    reader = Viewer(olive.user_id, olive.username, olive.name, Role.VIEWER)
    with pytest.raises(NotAllowedError):
        request_test_sign_in(session, reader, job.id, account_id, now=NOW)
    strange = make_account(session, make_job(session, other), "x@example.com", 9).id
    with pytest.raises(NotFoundError, match="no longer in the job"):
        request_test_sign_in(session, olive, job.id, strange, now=NOW)
    assert get_account(session, job, account_id).id == account_id


def test_sample_is_the_newest_of_the_portal_that_the_viewer_may_see(session: Session) -> None:
    olive, other = make_viewer(session), make_viewer(session, "otto")
    admin = make_viewer(session, "ada", Role.ADMIN)
    portal = make_portal(session)
    rows = [[f"{n}", "\0 1,00"] for n in range(12)]
    for viewer, headers in ((olive, ["No", "Amount"]), (other, ["Nr", "Betrag"])):
        job = make_job(session, viewer, portal_id=portal.id)
        run = make_run(session, job, trigger=RunTrigger.TEST, status=RunStatus.COMPLETED)
        account_id = session.scalars(select(Account.id).where(Account.session_id == job.id)).one()
        for _ in range(2):  # an interrupted commit may be repeated
            record_bill_sample(session, run.id, account_id, headers=headers, rows=rows, now=NOW)
    sample = get_bill_sample(session, olive, portal.id)
    assert sample is not None
    assert (sample.headers, sample.username, sample.taken_at) == (["No", "Amount"], "account2@example.com", NOW)
    assert sample.rows == [[f"{n}", "\ufffd 1,00"] for n in range(10)]
    for viewer in (other, admin):
        seen = get_bill_sample(session, viewer, portal.id)
        assert seen is not None
        assert seen.headers == ["Nr", "Betrag"]
    assert get_bill_sample(session, olive, make_portal(session, "other.example").id) is None
