"""Warm starts: the fork server holds all that a run uses and nothing else; the scheduler holds none of it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from db.claiming import claim_runs
from db.engine import transaction
from db.models import Bill, Run, RunStatus, RunTrigger
from db.runs import request_run
from portal_import.child import RunOrder
from scheduler_service.supervision import CHILDREN, start_fork_server
from settings import PROJECT_ROOT
from tests.demo_portal import DemoPortal, make_demo_job, read_demo_accounts, serve_demo_portal
from tests.factories import make_viewer
from tests.scheduler_process import SECRET_KEY
from tests.watched_run import run_and_tell

RUN_SECONDS = 60
ACCOUNTS = ("ada.meyer@example.com", "grace.tanaka@example.com")
ONLY_RUNS_NEED = {"aiohttp", "lxml", "portal_import.run"}
NO_RUN_NEEDS = {
    *("streamlit", "pandas", "apscheduler", "fastapi", "alembic", "holidays", "scheduler_service.service"),
    "pypdfium2",  # only the worker of a run that has PDFs to read
} | {
    "s3fs",
    "botocore",  # only those who keep bills in S3
}


@pytest.fixture
def portal() -> Iterator[DemoPortal]:
    with serve_demo_portal() as portal:
        by_name = portal.host.replace("127.0.0.1", "localhost")  # as of a real portal, the name is looked up
        yield DemoPortal(f"http://{by_name}", by_name)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    return {"PUNCTUAL_HOME": str(tmp_path), "PUNCTUAL_SECRET_KEY": SECRET_KEY}


@pytest.fixture
def order(engine: Engine, portal: DemoPortal) -> RunOrder:
    """A run that was just claimed, of an account with a table of bills and of one whose bills only their PDFs tell."""
    with transaction(engine) as session:
        viewer = make_viewer(session)
        accounts = [account for account in read_demo_accounts() if account.username in ACCOUNTS]
        job_id = make_demo_job(session, viewer, portal, accounts)
        now = datetime.now(UTC)
        request_run(session, viewer, job_id, trigger=RunTrigger.MANUAL, now=now)
        (claim,) = claim_runs(session, now, worker="w", slots=1, lease=timedelta(seconds=RUN_SECONDS)).claims
    return RunOrder(claim.run_id, claim.lease_token, engine.url.render_as_string(hide_password=False))


def roots(modules: set[str]) -> set[str]:
    return modules | {name.partition(".")[0] for name in modules}


def test_run_finds_loaded_what_it_uses_and_nothing_else(
    engine: Engine, order: RunOrder, settings: dict[str, str]
) -> None:
    start_fork_server()
    for_child, ours = CHILDREN.Pipe(duplex=False)
    answer, from_child = CHILDREN.Pipe(duplex=False)
    with for_child, ours, answer, from_child:
        child = CHILDREN.Process(target=run_and_tell, args=(order, for_child, from_child, settings))
        child.start()
        assert answer.poll(RUN_SECONDS)
        held, loaded_later = answer.recv()
        child.join(RUN_SECONDS)
    with transaction(engine) as session:
        run = session.get_one(Run, order.run_id)
        assert (run.status, run.accounts_succeeded, run.reason) == (RunStatus.COMPLETED, 2, None)
        assert session.scalars(select(Bill.amount).where(Bill.username == ACCOUNTS[1])).all().count(None) == 0
    assert loaded_later == set()
    assert held >= ONLY_RUNS_NEED
    assert roots(held) & NO_RUN_NEEDS == set()


def test_scheduler_loads_nothing_that_only_a_run_needs() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import sys, scheduler_service.service; print(*sys.modules)"],
        env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert roots(set(told.stdout.split())) & ONLY_RUNS_NEED == set()
