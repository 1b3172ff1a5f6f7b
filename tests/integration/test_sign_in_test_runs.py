"""Tests of the sign-in for real: the service, its child, and the demo portal."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, func, select, update

from db.engine import transaction
from db.models import Account, AccountStatus, Bill, Job, Portal, ResultStatus, Role, Run, RunLogLine, RunStatus
from db.results import list_results
from db.sign_in_tests import get_bill_sample, request_test_sign_in
from db.viewers import Viewer
from tests.demo_portal import DemoPortal, make_demo_job, read_demo_accounts, serve_demo_portal
from tests.factories import make_viewer
from tests.scheduler_process import SchedulerProcess, start_scheduler
from tests.waiting import wait_until

RUN_SECONDS = 60


@pytest.fixture
def portal() -> Iterator[DemoPortal]:
    with serve_demo_portal() as portal:
        yield portal


@pytest.fixture
def scheduler(engine: Engine, tmp_path: Path) -> Iterator[SchedulerProcess]:
    process = start_scheduler(engine, tmp_path)
    yield process
    children = process.list_children()
    process.kill()
    psutil.wait_procs(children, timeout=10)


def run_test(engine: Engine, viewer: Viewer, job_id: str, username: str) -> Run:
    with transaction(engine) as session:
        account_id = session.scalars(select(Account.id).where(Account.username == username)).one()
        run_id = request_test_sign_in(session, viewer, job_id, account_id, now=datetime.now(UTC)).id

    def get_run() -> Run:
        with transaction(engine) as session:
            return session.get_one(Run, run_id)

    wait_until(lambda: get_run().finished_at, RUN_SECONDS, "the test's end")
    return get_run()


def test_tests_tell_their_steps_and_store_nothing(
    engine: Engine, portal: DemoPortal, scheduler: SchedulerProcess, tmp_path: Path
) -> None:
    with transaction(engine) as session:
        viewer = make_viewer(session, role=Role.OPERATOR)
        job_id = make_demo_job(session, viewer, portal, read_demo_accounts())
        session.execute(
            update(Account).where(Account.username.startswith("ada")).values(status=AccountStatus.NEEDS_ATTENTION)
        )
    good = run_test(engine, viewer, job_id, "ada.meyer@example.com")
    wrong = run_test(engine, viewer, job_id, "hugo.martin@example.com")
    assert (good.status, good.reason) == (RunStatus.COMPLETED, None)
    assert (wrong.status, wrong.reason) == (
        RunStatus.FAILED,
        "the portal refused the username or the password: “The e-mail address or password is not correct.”",
    )
    assert portal.list_sign_ins() == {"ada.meyer@example.com": 1, "hugo.martin@example.com": 1}
    with transaction(engine) as session:
        said = "\n".join(session.scalars(select(RunLogLine.message).order_by(RunLogLine.id)))
        for words in (
            f"sign-in page: “Sign in · Northwind Energy”, 200 OK, at {portal.url}/login",
            f"form sent by POST to {portal.url}/login: csrf_token (hidden), email (email), password (password)",
            "bills recognised in a table: 3; documents linked: 6; a test fetches none of them",
            "columns recognised: ",
            "currency under “Currency”",
            "success, the sign-in works",
            "runs still leave this account alone",
        ):
            assert words in said
        assert session.scalar(select(func.count()).select_from(Bill)) == 0
        job = session.get_one(Job, job_id)
        assert (job.status, job.last_run_id, job.results_count) == ("idle", None, 0)
        statuses = dict(session.execute(select(Account.username, Account.status)).all())
        assert {name for name, status in statuses.items() if status == AccountStatus.NEEDS_ATTENTION} == {
            "ada.meyer@example.com",
            "hugo.martin@example.com",
        }
        assert session.execute(select(Portal.breaker_open_until, Portal.recent_refusals)).one() == (None, [])
        [result] = list_results(session, viewer, wrong.id)[0]
        assert (result.status, result.bills_seen, result.file_url) == (ResultStatus.WRONG_CREDENTIALS, 0, None)
        sample = get_bill_sample(session, viewer, session.scalars(select(Portal.id)).one())
        assert sample is not None
        assert sample.headers[:4] == ["Invoice number", "Issue date", "Due date", "Amount"]
        assert {row[0] for row in sample.rows} == portal.list_bills("ada.meyer@example.com")
    assert not list((tmp_path / "bills").rglob("*.pdf"))


def test_run_knows_how_many_bills_an_account_had(
    engine: Engine, portal: DemoPortal, scheduler: SchedulerProcess
) -> None:
    username = "noah.fischer@example.com"  # to whom the portal says that there are no bills yet
    with transaction(engine) as session:
        viewer = make_viewer(session, role=Role.OPERATOR)
        job_id = make_demo_job(session, viewer, portal, read_demo_accounts())
    assert run_test(engine, viewer, job_id, username).status == RunStatus.COMPLETED
    with transaction(engine) as session:
        account_id = session.scalars(select(Account.id).where(Account.username == username)).one()
        for key in ("1", "2"):
            session.add(Bill(session_id=job_id, account_id=account_id, username=username, bill_key=key, documents=[]))
    assert run_test(engine, viewer, job_id, username).reason == (
        "the portal says that there are no bills, though earlier runs found 2"
    )
