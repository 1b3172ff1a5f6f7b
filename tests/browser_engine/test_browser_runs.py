"""Whole runs with the browser engine: real service, real child, real Chromium, and nothing of it left afterwards."""

import signal
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, select, update

from db.engine import transaction
from db.models import Bill, Job, Portal, Result, ResultStatus, Role, Run, RunStatus, RunTrigger
from db.runs import request_run, request_stop
from db.viewers import Viewer
from tests.demo_portal import DemoPortal, make_demo_job, read_demo_accounts, serve_demo_portal
from tests.factories import make_viewer
from tests.scheduler_process import SchedulerProcess, start_scheduler
from tests.waiting import wait_until

RUN_SECONDS = 60
GONE_SECONDS = 15
SLOW_MS = 2_000
UNUSUAL = ("ada.meyer@", "hugo.martin@", "noah.fischer@", "pablo.silva@")  # one, wrong password, no bills, busy twice


@pytest.fixture
def temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder of this test's scheduler and its children: every browser of theirs is told it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a short name: Chromium makes sockets in it
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.fixture
def scheduler(engine: Engine, tmp_path: Path, temporary_folder: Path) -> Iterator[SchedulerProcess]:
    process = start_scheduler(engine, tmp_path, lease_seconds=4)
    yield process
    children = process.list_children()
    process.kill()
    psutil.wait_procs(children, timeout=GONE_SECONDS)


@pytest.fixture
def viewer(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session, role=Role.OPERATOR)


def run_in_browser(
    engine: Engine, viewer: Viewer, portal: DemoPortal, accounts: int | None = None, timeout_seconds: int = 3600
) -> int:
    chosen = [a for a in read_demo_accounts() if a.username.startswith(UNUSUAL)][:accounts]
    with transaction(engine) as session:
        job_id = make_demo_job(session, viewer, portal, chosen, pages="/script")
        session.execute(update(Portal).values(engine="browser", max_concurrent_accounts=8))
        session.execute(update(Job).values(timeout_seconds=timeout_seconds))
        return request_run(session, viewer, job_id, trigger=RunTrigger.MANUAL, now=datetime.now(UTC)).id


def get_run(engine: Engine, run_id: int) -> Run:
    with transaction(engine) as session:
        return session.get_one(Run, run_id)


def wait_for_end(engine: Engine, run_id: int) -> Run:
    wait_until(lambda: get_run(engine, run_id).finished_at, RUN_SECONDS, "the run's end")
    return get_run(engine, run_id)


def list_browsers(folder: Path) -> list[psutil.Process]:
    """All processes that belong to a browser in that folder, by what they were told and by who started them."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if any(str(folder) in argument for argument in process.cmdline()):
                found |= {p.pid: p for p in [process, *process.children(recursive=True)]}
        except psutil.Error:
            continue
    return [p for p in found.values() if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def wait_for_browsing(engine: Engine, portal: DemoPortal, folder: Path) -> list[psutil.Process]:
    """The processes of the browser, once it has asked the portal for something."""
    wait_until(portal.list_paths, RUN_SECONDS, "a request of the browser")
    browsers = list_browsers(folder)
    assert len(browsers) > 3
    return browsers


def test_run_without_chromium_fails_with_what_to_do(
    engine: Engine, tmp_path: Path, viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    scheduler = start_scheduler(engine, tmp_path)
    try:
        with serve_demo_portal() as portal:
            run = wait_for_end(engine, run_in_browser(engine, viewer, portal))
            assert portal.list_paths() == []
    finally:
        scheduler.kill()
    assert run.status == RunStatus.FAILED
    assert run.reason is not None
    assert "Chromium was not found where the run was executed: install it there (apt-get install" in run.reason


def count_at_once(results: Sequence[Result]) -> int:
    """The most accounts that were under way at the same time."""
    begun = [(r.started_at, 1) for r in results] + [(r.finished_at, -1) for r in results]
    return max(accumulate(step for _, step in sorted(begun)))  # type: ignore[type-var]


def check_nothing_left(folder: Path, browsers: list[psutil.Process]) -> None:
    """Neither a process of the browser nor its profile."""
    _, alive = psutil.wait_procs(browsers, timeout=GONE_SECONDS)
    assert alive == []
    assert wait_until(lambda: not list_browsers(folder), GONE_SECONDS, "the browsers' end")
    assert wait_until(lambda: not list(folder.glob("punctual-*/b*")), GONE_SECONDS, "the profile's end")


def test_run_brings_the_bills_of_pages_that_scripts_build(
    engine: Engine, scheduler: SchedulerProcess, viewer: Viewer, temporary_folder: Path
) -> None:
    with serve_demo_portal() as portal:
        run = wait_for_end(engine, run_in_browser(engine, viewer, portal))
        assert (run.status, run.accounts_done, run.accounts_succeeded) == (RunStatus.PARTIAL, 4, 3)
        with transaction(engine) as session:
            results = session.scalars(select(Result).where(Result.run_id == run.id)).all()
            statuses = {r.username.partition(".")[0]: r.status for r in results}
            bills = session.scalars(select(Bill).where(Bill.username.startswith("ada"))).all()
        assert statuses == {
            "ada": ResultStatus.SUCCESS,
            "pablo": ResultStatus.SUCCESS,
            "noah": ResultStatus.NO_BILLS,
            "hugo": ResultStatus.WRONG_CREDENTIALS,
        }
        assert {b.number for b in bills} == portal.list_bills("ada.meyer@example.com")
        assert all(len(b.documents) == 2 and b.amount and b.issued_on for b in bills)
        assert set(portal.list_sign_ins().values()) == {1}
    assert count_at_once(results) == 2  # the portal's own setting allows eight
    check_nothing_left(temporary_folder, [])


@pytest.fixture
def slow_portal() -> Iterator[DemoPortal]:
    with serve_demo_portal(SLOW_MS) as portal:
        yield portal


def find_child(scheduler: SchedulerProcess) -> psutil.Process:
    """The process of the one run: it started Playwright's driver."""
    (driver,) = [p for p in scheduler.list_children() if Path(p.exe()).name == "node"]
    child = driver.parent()
    assert child is not None
    return child


def test_killed_run_leaves_no_browser(
    engine: Engine, scheduler: SchedulerProcess, viewer: Viewer, slow_portal: DemoPortal, temporary_folder: Path
) -> None:
    run_id = run_in_browser(engine, viewer, slow_portal, accounts=1)
    with transaction(engine) as session:
        session.execute(update(Job).values(retry_delay_seconds=600))  # it rests before it is begun again
    browsers = wait_for_browsing(engine, slow_portal, temporary_folder)
    child = find_child(scheduler)
    for process in child.children(recursive=True):  # Playwright's driver and the browser
        assert not {"DATABASE_URL", "PUNCTUAL_SECRET_KEY"} & set(process.environ())
    child.send_signal(signal.SIGKILL)
    check_nothing_left(temporary_folder, browsers)
    wait_until(lambda: get_run(engine, run_id).status == RunStatus.QUEUED, RUN_SECONDS, "the queue")


def test_run_that_times_out_leaves_no_browser(
    engine: Engine, scheduler: SchedulerProcess, viewer: Viewer, temporary_folder: Path
) -> None:
    with serve_demo_portal(60_000) as silent_portal:  # the account is not finished either in the time that is left
        run_id = run_in_browser(engine, viewer, silent_portal, accounts=1, timeout_seconds=8)
        browsers = wait_until(lambda: list_browsers(temporary_folder), RUN_SECONDS, "the browser")
        assert wait_for_end(engine, run_id).status == RunStatus.TIMED_OUT
        check_nothing_left(temporary_folder, browsers)


def test_stopped_run_leaves_no_browser(
    engine: Engine, scheduler: SchedulerProcess, viewer: Viewer, slow_portal: DemoPortal, temporary_folder: Path
) -> None:
    run_id = run_in_browser(engine, viewer, slow_portal, accounts=1)
    browsers = wait_for_browsing(engine, slow_portal, temporary_folder)
    with transaction(engine) as session:
        request_stop(session, viewer, get_run(engine, run_id).session_id, now=datetime.now(UTC))
    assert wait_for_end(engine, run_id).status == RunStatus.STOPPED
    check_nothing_left(temporary_folder, browsers)


def test_killed_service_leaves_no_browser(
    engine: Engine, scheduler: SchedulerProcess, viewer: Viewer, slow_portal: DemoPortal, temporary_folder: Path
) -> None:
    run_in_browser(engine, viewer, slow_portal, accounts=1)
    browsers = wait_for_browsing(engine, slow_portal, temporary_folder)
    scheduler.kill()
    _, alive = psutil.wait_procs(browsers, timeout=GONE_SECONDS)
    assert alive == []
    wait_until(lambda: not list_browsers(temporary_folder), GONE_SECONDS, "the browsers' end")
