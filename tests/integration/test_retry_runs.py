"""Retries for real: the service, its children, and a portal that fails for two accounts and then works."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, func, select

from db.accounts import NewAccount
from db.encryption import SecretBox
from db.engine import transaction
from db.jobs import JobDraft, create_job
from db.models import Bill, Job, Result, ResultStatus, Run, RunLogLine, RunStatus, RunTrigger
from db.retries import RetryPolicy
from db.retry_requests import request_retry
from db.runs import request_run
from db.viewers import Viewer
from tests.factories import PASSWORD, make_viewer
from tests.portal_server import PDF, Request, ScriptedPortal, answer, ordinary_routes, served_in_thread
from tests.scheduler_process import SECRET_KEY, SchedulerProcess, start_scheduler
from tests.waiting import wait_until

RUN_SECONDS = 60
NAMES = ("ann", "bob", "cyd", "dan")
FAIL_AT_FIRST = {"bob@example.com", "cyd@example.com"}


class UnsteadyPortal:
    """Answers one of the two bills of some accounts with an error during their first sign-in, then always serves."""

    def __init__(self) -> None:
        self.server = ScriptedPortal(ordinary_routes(**dict.fromkeys(NAMES, PASSWORD)))
        self.server.routes["GET /bills/18.pdf"] = self._serve

    def count_sign_ins(self) -> Counter[str]:
        """By account, from the log of requests."""
        return Counter(r.form["email"] for r in self.server.requests if (r.method, r.path) == ("POST", "/login"))

    def _serve(self, request: Request) -> bytes:
        username = request.cookies["session"]
        if username in FAIL_AT_FIRST and self.count_sign_ins()[username] == 1:
            return answer("<h1>Try later</h1>", 500)
        return answer(PDF + b"18", content_type="application/pdf")


@pytest.fixture
def portal() -> Iterator[UnsteadyPortal]:
    portal = UnsteadyPortal()
    with served_in_thread(portal.server):
        yield portal


@pytest.fixture
def scheduler(engine: Engine, tmp_path: Path) -> Iterator[SchedulerProcess]:
    process = start_scheduler(engine, tmp_path)
    yield process
    children = process.list_children()
    process.kill()
    psutil.wait_procs(children, timeout=10)


@pytest.fixture
def olive(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


def add_run(engine: Engine, olive: Viewer, portal: UnsteadyPortal, retries: RetryPolicy) -> int:
    """A run of all accounts, asked for now."""
    now = datetime.now(UTC)
    draft = JobDraft(
        name="Unsteady",
        login_url=f"{portal.server.url}/login",
        billing_url=f"{portal.server.url}/billing",
        portal_host=portal.server.url.removeprefix("http://"),
        schedule=None,
        accounts=[NewAccount(n, f"{name}@example.com", PASSWORD, {}) for n, name in enumerate(NAMES, 2)],
        retries=retries,
    )
    with transaction(engine) as session:
        job = create_job(session, olive, draft, SecretBox((SECRET_KEY,)), authorised=True, now=now)
        return request_run(session, olive, job.id, trigger=RunTrigger.MANUAL, now=now).id


def wait_for_end(engine: Engine, run_id: int) -> Run:
    def find() -> Run | None:
        with transaction(engine) as session:
            run = session.get_one(Run, run_id)
            return run if run.finished_at is not None else None

    return wait_until(find, RUN_SECONDS, f"the end of run {run_id}")


def find_retry(engine: Engine, run_id: int) -> int | None:
    with transaction(engine) as session:
        return session.scalar(select(Run.id).where(Run.parent_run_id == run_id))


def list_results(engine: Engine, run_id: int) -> dict[str, str]:
    with transaction(engine) as session:
        return dict(session.execute(select(Result.username, Result.status).where(Result.run_id == run_id)).all())


def check_the_retry(engine: Engine, portal: UnsteadyPortal, retry: Run) -> None:
    """It signed in once to each of the two accounts and to no other, and brought what was missing and no more."""
    assert (retry.status, retry.accounts_total, retry.accounts_done) == (RunStatus.COMPLETED, 2, 2)
    assert list_results(engine, retry.id) == dict.fromkeys(FAIL_AT_FIRST, ResultStatus.SUCCESS)
    assert portal.count_sign_ins() == {f"{n}@example.com": 1 + (f"{n}@example.com" in FAIL_AT_FIRST) for n in NAMES}
    with transaction(engine) as session:
        bills = session.execute(select(Bill.username, func.count()).group_by(Bill.username)).all()
        assert dict(map(tuple, bills)) == {f"{name}@example.com": 2 for name in NAMES}
        assert session.scalar(select(func.count()).where(Bill.file_url.is_(None))) == 0
        job = session.get_one(Job, retry.session_id)
        assert (job.status, job.last_outcome, job.last_run_id) == ("completed", "completed", retry.id)
        said = session.scalars(select(RunLogLine.message).where(RunLogLine.run_id == retry.id)).all()
    assert any(line.startswith(f"started: 2 accounts that run {retry.parent_run_id} left undone") for line in said)


def test_what_failed_is_tried_again_by_itself_and_nothing_else(
    engine: Engine, olive: Viewer, portal: UnsteadyPortal, scheduler: SchedulerProcess
) -> None:
    run = wait_for_end(engine, add_run(engine, olive, portal, RetryPolicy(max_attempts=2, retry_delay_seconds=2)))
    assert (run.status, run.reason) == (RunStatus.PARTIAL, "2 accounts with a portal error")
    retry = wait_for_end(engine, wait_until(lambda: find_retry(engine, run.id), RUN_SECONDS, "the retry"))
    assert retry.started_at is not None
    assert retry.started_at >= retry.run_after > run.finished_at
    assert (retry.attempt, retry.requested_by) == (2, None)
    check_the_retry(engine, portal, retry)


def test_what_failed_is_tried_again_when_a_person_asks(
    engine: Engine, olive: Viewer, portal: UnsteadyPortal, scheduler: SchedulerProcess
) -> None:
    run = wait_for_end(engine, add_run(engine, olive, portal, RetryPolicy(max_attempts=1)))
    assert find_retry(engine, run.id) is None
    with transaction(engine) as session:
        retry_id = request_retry(session, olive, run.id, now=datetime.now(UTC)).id
    check_the_retry(engine, portal, wait_for_end(engine, retry_id))
