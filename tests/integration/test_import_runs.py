"""Whole runs against the demo portal: the real service, the real child, the real database."""

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import psycopg2
import pytest
from sqlalchemy import Engine, func, select, text

from db.accounts import NewAccount
from db.engine import transaction
from db.jobs import get_job
from db.models import Account, Bill, Job, Portal, Result, ResultCause, ResultStatus, Role, Run, RunStatus, RunTrigger
from db.retry_requests import request_retry
from db.runs import request_run, request_stop
from db.viewers import Viewer
from portal_import.portal_gate import SIGNED_IN_BEFORE
from tests.demo_portal import DemoPortal, make_demo_job, read_demo_accounts, serve_demo_portal
from tests.factories import make_viewer
from tests.scheduler_process import DATABASE_PASSWORD, SECRET_KEY, SchedulerProcess, start_scheduler
from tests.waiting import wait_until

RUN_SECONDS = 90


@pytest.fixture
def latency_ms() -> int:
    return 0


@pytest.fixture
def portal(latency_ms: int) -> Iterator[DemoPortal]:
    with serve_demo_portal(latency_ms) as portal:
        yield portal


@pytest.fixture
def scheduler(engine: Engine, tmp_path: Path) -> Iterator[SchedulerProcess]:
    process = start_scheduler(engine, tmp_path)
    yield process
    children = process.list_children()
    process.kill()
    psutil.wait_procs(children, timeout=10)


@pytest.fixture
def viewer(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session, role=Role.OPERATOR)


def now() -> datetime:
    return datetime.now(UTC)


def add_job(engine: Engine, viewer: Viewer, portal: DemoPortal, accounts: Sequence[NewAccount]) -> str:
    """A job that resumes a run once, so that no retry of its failed accounts follows."""
    with transaction(engine) as session:
        job_id = make_demo_job(session, viewer, portal, accounts)
        session.get_one(Job, job_id).max_attempts = 2
        return job_id


def run_now(engine: Engine, viewer: Viewer, job_id: str) -> int:
    with transaction(engine) as session:
        return request_run(session, viewer, job_id, trigger=RunTrigger.MANUAL, now=now()).id


def get_run(engine: Engine, run_id: int) -> Run:
    with transaction(engine) as session:
        return session.get_one(Run, run_id)


def wait_for_end(engine: Engine, run_id: int) -> Run:
    wait_until(lambda: get_run(engine, run_id).finished_at, RUN_SECONDS, "the run's end")
    return get_run(engine, run_id)


def wait_for_results(engine: Engine, run_id: int, count: int) -> None:
    wait_until(lambda: get_run(engine, run_id).accounts_done >= count, RUN_SECONDS, f"{count} results")


def list_results(engine: Engine, run_id: int) -> dict[str, Result]:
    with transaction(engine) as session:
        results = session.scalars(select(Result).where(Result.run_id == run_id)).all()
    assert len({r.username for r in results}) == len(results)
    return {r.username: r for r in results}


def test_run_brings_the_bills_of_every_account(
    engine: Engine, portal: DemoPortal, scheduler: SchedulerProcess, viewer: Viewer, tmp_path: Path
) -> None:
    accounts = read_demo_accounts()
    job_id = add_job(engine, viewer, portal, accounts)
    run = wait_for_end(engine, run_now(engine, viewer, job_id))
    assert run.status == RunStatus.PARTIAL
    assert (run.accounts_total, run.accounts_done, run.accounts_succeeded) == (20, 20, 19)
    assert run.started_at is not None
    assert run.finished_at is not None
    assert run.lateness_seconds is not None
    began_at = run.queued_at + timedelta(seconds=run.lateness_seconds)
    assert run.started_at < began_at < run.finished_at
    results = list_results(engine, run.id)
    assert Counter(r.status for r in results.values()) == {
        ResultStatus.SUCCESS: 18,
        ResultStatus.NO_BILLS: 1,
        ResultStatus.WRONG_CREDENTIALS: 1,
    }
    assert set(portal.list_sign_ins().values()) == {1}
    with transaction(engine) as session:
        for account in accounts:
            numbers = set(session.scalars(select(Bill.number).where(Bill.username == account.username)))
            expected = set() if account.username.startswith("hugo") else portal.list_bills(account.username)
            assert numbers == expected
        job = get_job(session, viewer, job_id)
        assert (job.status, job.results_count, job.last_run_id) == ("partial", 20, run.id)

    # The account with the wrong password waits for a person: it is not tried again.
    second = wait_for_end(engine, run_now(engine, viewer, job_id))
    assert portal.list_sign_ins()["hugo.martin@example.com"] == 1
    left_alone = list_results(engine, second.id)["hugo.martin@example.com"]
    assert (left_alone.status, left_alone.cause) == (ResultStatus.NEEDS_ATTENTION, ResultCause.LEFT_ALONE)
    with transaction(engine) as session:
        changed = session.scalars(select(Bill.username).where(Bill.changed_run.is_not(None))).all()
        assert changed == ["samir.aziz@example.com"]  # the one whose newest bill the portal corrects
        assert session.scalar(select(func.sum(Result.bills_new)).where(Result.run_id == second.id)) == 0

    check_secrets(engine, scheduler, accounts)
    assert not [p for p in tmp_path.rglob("*") for a in accounts if a.username in str(p) or a.password in str(p)]


def check_secrets(engine: Engine, scheduler: SchedulerProcess, accounts: Sequence[NewAccount]) -> None:
    """No password anywhere in the database, as text, nor in what the processes wrote."""
    secrets = [*(a.password for a in accounts), SECRET_KEY, DATABASE_PASSWORD]
    texts = [scheduler.read_log()]
    with engine.connect() as connection:
        tables = connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        for table in tables:
            rows = connection.scalars(text(f'SELECT t::text FROM "{table}" AS t'))  # noqa: S608
            texts += rows.all()
    assert len(texts) > 100
    for secret in secrets:
        assert not [t for t in texts if secret in t]


@pytest.mark.parametrize("latency_ms", [60])
def test_killed_run_goes_on_where_it_was(
    engine: Engine, portal: DemoPortal, scheduler: SchedulerProcess, viewer: Viewer
) -> None:
    job_id = add_job(engine, viewer, portal, read_demo_accounts())
    run_id = run_now(engine, viewer, job_id)
    wait_for_results(engine, run_id, 4)
    scheduler.list_children()[0].kill()
    wait_until(lambda: get_run(engine, run_id).attempt == 2, RUN_SECONDS, "the second attempt")
    run = wait_for_end(engine, run_id)
    check_resumed(engine, portal, run)
    with transaction(engine) as session:
        assert session.get_one(Job, job_id).results_count == 20


@pytest.mark.parametrize("latency_ms", [60])
def test_stopped_run_keeps_what_it_brought_and_another_goes_on_from_there(
    engine: Engine, portal: DemoPortal, scheduler: SchedulerProcess, viewer: Viewer
) -> None:
    job_id = add_job(engine, viewer, portal, read_demo_accounts())
    run_id = run_now(engine, viewer, job_id)
    wait_for_results(engine, run_id, 3)
    with transaction(engine) as session:
        request_stop(session, viewer, job_id, now=now())
    run = wait_for_end(engine, run_id)
    assert run.status == RunStatus.STOPPED
    assert 3 <= run.accounts_done < 20
    done = set(list_results(engine, run_id))
    assert len(done) == run.accounts_done
    assert set(portal.list_sign_ins()) == done  # what was being visited was finished
    wait_until(lambda: not scheduler.list_children(), 10, "the child's end")

    with transaction(engine) as session:
        following = request_retry(session, viewer, run_id, now=now()).id
    assert wait_for_end(engine, following).status == RunStatus.PARTIAL
    assert set(list_results(engine, following)) == {a.username for a in read_demo_accounts()} - done
    check_all_signed_in_to_once(portal)


def check_all_signed_in_to_once(portal: DemoPortal) -> None:
    sign_ins = portal.list_sign_ins()
    assert (len(sign_ins), set(sign_ins.values())) == (20, {1})


@pytest.mark.parametrize("latency_ms", [60])
def test_run_that_took_too_long_is_gone_on_with_by_itself(
    engine: Engine, portal: DemoPortal, scheduler: SchedulerProcess, viewer: Viewer
) -> None:
    job_id = add_job(engine, viewer, portal, read_demo_accounts())
    with transaction(engine) as session:
        session.get_one(Job, job_id).timeout_seconds = 3
    run = wait_for_end(engine, run_now(engine, viewer, job_id))
    assert run.status == RunStatus.TIMED_OUT
    done = set(list_results(engine, run.id))
    assert 0 < len(done) < 20
    with transaction(engine) as session:
        following = session.scalars(select(Run).where(Run.parent_run_id == run.id)).one().id
        session.get_one(Job, job_id).timeout_seconds = 3600
    assert wait_for_end(engine, following).status in (RunStatus.PARTIAL, RunStatus.TIMED_OUT)
    assert set(portal.list_sign_ins().values()) == {1}


@pytest.mark.parametrize("latency_ms", [60])
def test_service_that_is_replaced_in_the_middle_of_a_run(
    engine: Engine, portal: DemoPortal, viewer: Viewer, tmp_path: Path
) -> None:
    """As at a redeploy: SIGTERM, a grace too short for the run, and another service after it."""
    first = start_scheduler(engine, tmp_path, drain_seconds=0)
    run_id = run_now(engine, viewer, add_job(engine, viewer, portal, read_demo_accounts()))
    wait_for_results(engine, run_id, 3)
    first.send(signal.SIGTERM)
    assert first.wait() == 0
    run = get_run(engine, run_id)
    assert (run.status, run.attempt) == (RunStatus.QUEUED, 1)
    done = set(list_results(engine, run_id))
    assert 3 <= len(done) < 20
    assert set(portal.list_sign_ins()) == done
    second = start_scheduler(engine, tmp_path)
    try:
        run = wait_for_end(engine, run_id)
    finally:
        second.kill()
    assert (run.status, run.attempt, run.accounts_done, run.accounts_succeeded) == (RunStatus.PARTIAL, 1, 20, 19)
    check_all_signed_in_to_once(portal)


@pytest.mark.parametrize("latency_ms", [60])
def test_run_outlives_a_database_that_goes_away(
    engine: Engine, portal: DemoPortal, scheduler: SchedulerProcess, viewer: Viewer
) -> None:
    job_id = add_job(engine, viewer, portal, read_demo_accounts())
    run_id = run_now(engine, viewer, job_id)
    wait_for_results(engine, run_id, 3)
    close_database(engine, is_open=False)
    wait_until(lambda: "the database is away" in scheduler.read_log(), 30, "the child to notice")
    close_database(engine, is_open=True)
    run = wait_for_end(engine, run_id)
    assert (run.status, run.attempt, run.accounts_done) == (RunStatus.PARTIAL, 1, 20)
    assert set(portal.list_sign_ins().values()) == {1}


def close_database(engine: Engine, *, is_open: bool) -> None:
    name = engine.url.database
    server = engine.url.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    connection = psycopg2.connect(server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS {is_open}')
        if not is_open:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
    connection.close()
    engine.dispose()


def test_breaker_stops_the_run_and_those_after_it(
    engine: Engine, portal: DemoPortal, scheduler: SchedulerProcess, viewer: Viewer
) -> None:
    wrong = [NewAccount(a.row_number, a.username, "not-the-password", a.extra) for a in read_demo_accounts()]
    job_id = add_job(engine, viewer, portal, wrong)
    run = wait_for_end(engine, run_now(engine, viewer, job_id))
    assert run.status == RunStatus.FAILED
    results = list_results(engine, run.id).values()
    counts = Counter(r.status for r in results)
    tried = counts[ResultStatus.WRONG_CREDENTIALS]
    assert {r.cause for r in results if r.status == ResultStatus.NOT_TRIED} == {ResultCause.BREAKER}
    assert 5 <= tried <= 6  # two accounts at a time: one more may have been under way
    assert counts[ResultStatus.NOT_TRIED] == 20 - tried
    assert sum(portal.list_sign_ins().values()) == tried
    with transaction(engine) as session:
        row = session.scalars(select(Portal)).one()
        assert row.breaker_open_until is not None
        assert row.breaker_open_until > now() + timedelta(minutes=25)
        needing = session.scalar(select(func.count()).where(Account.status == "needs_attention"))
        assert needing == tried
    again = wait_for_end(engine, run_now(engine, viewer, job_id))
    assert again.accounts_succeeded == 0
    assert sum(portal.list_sign_ins().values()) == tried


@pytest.mark.parametrize("latency_ms", [60])
def test_service_killed_in_the_middle_of_a_run(
    engine: Engine, portal: DemoPortal, viewer: Viewer, tmp_path: Path
) -> None:
    first = start_scheduler(engine, tmp_path, lease_seconds=2)
    job_id = add_job(engine, viewer, portal, read_demo_accounts())
    run_id = run_now(engine, viewer, job_id)
    wait_for_results(engine, run_id, 3)
    children = first.list_children()
    first.send(signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=10)[1] == []
    second = start_scheduler(engine, tmp_path, lease_seconds=5)
    try:
        run = wait_for_end(engine, run_id)
    finally:
        second.send(signal.SIGTERM)
        assert second.wait() == 0
        first.kill()
    check_resumed(engine, portal, run)


def check_resumed(engine: Engine, portal: DemoPortal, run: Run) -> None:
    """The second attempt did all that the first had not begun, and signed in to nobody for the second time."""
    assert (run.status, run.attempt) == (RunStatus.PARTIAL, 2)
    assert (run.accounts_total, run.accounts_done) == (20, 20)
    results = list_results(engine, run.id)
    assert len(results) == 20
    assert set(portal.list_sign_ins().values()) == {1}
    cut_short = {name for name, result in results.items() if result.error == SIGNED_IN_BEFORE}
    # A sign-in is noted before it is sent; one that was cut off in between is not made up for in this run.
    assert set(results) - set(portal.list_sign_ins()) <= cut_short
    assert len(cut_short) <= 2  # those whose visit was under way
    assert {results[name].status for name in cut_short} <= {ResultStatus.FAILED}
    assert run.accounts_succeeded + len(cut_short - {"hugo.martin@example.com"}) == 19
