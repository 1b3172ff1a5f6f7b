"""Whole runs against web applications that others wrote, as they come from the package index."""

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from sqlalchemy import Engine, select

from db.accounts import NewAccount
from db.encryption import SecretBox
from db.engine import transaction
from db.jobs import JobDraft, create_job
from db.models import Bill, Job, Result, Role, Run, RunTrigger
from db.runs import request_run
from tests.factories import make_viewer
from tests.scheduler_process import SECRET_KEY, SchedulerProcess, start_scheduler
from tests.third_party.portals import PEOPLE, make_bill, password_of, started
from tests.waiting import wait_until

RUN_SECONDS = 90


@pytest.fixture
def scheduler(engine: Engine, tmp_path: Path) -> Iterator[SchedulerProcess]:
    process = start_scheduler(engine, tmp_path)
    yield process
    children = process.list_children()
    process.kill()
    psutil.wait_procs(children, timeout=10)


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize(
    ("module", "login_path", "billing_path"),
    [
        ("roundup_tracker", "/", "/issue{row}"),
        ("webdav_server", "/{username}/", "/{username}/"),
    ],
)
def test_bills_come_home_from_a_portal_that_somebody_else_wrote(
    engine: Engine, tmp_path: Path, module: str, login_path: str, billing_path: str
) -> None:
    accounts = [NewAccount(n + 2, name, password_of(name), {"row": str(n + 1)}) for n, name in enumerate(PEOPLE)]
    accounts[-1] = NewAccount(accounts[-1].row_number, PEOPLE[-1], "Made-up-and-wrong", accounts[-1].extra)
    with started(module, tmp_path / "portal") as address:
        run_id = start_run(engine, f"{address}{login_path}", f"{address}{billing_path}", accounts)
        wait_until(lambda: get_run(engine, run_id).finished_at, RUN_SECONDS, "the run's end")
    with transaction(engine) as session:
        results = {r.username: r for r in session.scalars(select(Result).where(Result.run_id == run_id))}
        hashes = {bill.username: bill.sha256 for bill in session.scalars(select(Bill))}
    endings = {name: (result.status, result.error) for name, result in results.items()}
    assert {name: status for name, (status, _) in endings.items()} == {
        "anna": "success",
        "ben": "success",
        "carla": "wrong_credentials",
    }, endings
    assert hashes == {name: sha256(make_bill(name)).hexdigest() for name in ("anna", "ben")}
    assert get_run(engine, run_id).status == "partial"


def start_run(engine: Engine, login_url: str, billing_url: str, accounts: list[NewAccount]) -> int:
    now = datetime.now(UTC)
    with transaction(engine) as session:
        viewer = make_viewer(session, role=Role.OPERATOR)
        draft = JobDraft(
            name="Bills",
            login_url=login_url,
            billing_url=billing_url,
            portal_host=urlsplit(login_url).netloc,
            schedule=None,
            accounts=accounts,
        )
        job = create_job(session, viewer, draft, SecretBox((SECRET_KEY,)), authorised=True, now=now)
        session.get_one(Job, job.id).max_attempts = 1
        return request_run(session, viewer, job.id, trigger=RunTrigger.MANUAL, now=now).id


def get_run(engine: Engine, run_id: int) -> Run:
    with transaction(engine) as session:
        return session.get_one(Run, run_id)
