"""Whole runs whose bills go to S3: each forked child opens the storage anew, and the fork server never does."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, select

from db.engine import transaction
from db.models import Bill, Run, RunStatus, RunTrigger
from db.runs import request_run
from db.viewers import Viewer
from settings import PROJECT_ROOT
from tests.demo_portal import DemoPortal, make_demo_job, read_demo_accounts, serve_demo_portal
from tests.factories import make_viewer
from tests.s3_server import Bucket, S3Server, serve_s3
from tests.scheduler_process import SchedulerProcess, start_scheduler
from tests.waiting import wait_until

RUN_SECONDS = 90


@pytest.fixture
def portal() -> Iterator[DemoPortal]:
    with serve_demo_portal() as portal:
        yield portal


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with serve_s3() as server:
        yield server


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket, and the environment of processes that keep bills in it."""
    bucket = server.make_bucket()
    for name, value in (server.environment | {"STORAGE_URL": bucket.storage_url}).items():
        monkeypatch.setenv(name, value)
    return bucket


@pytest.fixture
def scheduler(engine: Engine, bucket: Bucket, tmp_path: Path) -> Iterator[SchedulerProcess]:
    process = start_scheduler(engine, tmp_path)
    yield process
    children = process.list_children()
    process.kill()
    psutil.wait_procs(children, timeout=10)


def find_fork_server(scheduler: SchedulerProcess) -> psutil.Process:
    children = psutil.Process(scheduler.pid).children()
    return next(child for child in children if "forkserver" in " ".join(child.cmdline()))


def test_runs_store_their_bills_in_the_bucket(
    engine: Engine, portal: DemoPortal, bucket: Bucket, scheduler: SchedulerProcess
) -> None:
    with transaction(engine) as session:
        viewer: Viewer = make_viewer(session)
        jobs = [make_demo_job(session, viewer, portal, [account]) for account in read_demo_accounts()[:2]]
        now = datetime.now(UTC)
        runs = [request_run(session, viewer, job, trigger=RunTrigger.MANUAL, now=now).id for job in jobs]

    def statuses() -> list[str]:
        with transaction(engine) as session:
            return list(session.scalars(select(Run.status).where(Run.id.in_(runs), Run.finished_at.is_not(None))))

    wait_until(lambda: len(statuses()) == 2, RUN_SECONDS, "both runs to end")
    assert statuses() == [RunStatus.COMPLETED] * 2, scheduler.read_log()
    with transaction(engine) as session:
        documents = [document for documents in session.scalars(select(Bill.documents)) for document in documents]
    assert len(documents) > 2
    for document in documents:
        assert hashlib.sha256(bucket.read(f"our/bills/{document['file_url']}")).hexdigest() == document["sha256"]
    assert set(bucket.list_keys()) == {f"our/bills/{document['file_url']}" for document in documents}
    assert bucket.list_uploads() == []
    assert "Traceback" not in scheduler.read_log()
    fork_server = find_fork_server(scheduler)
    assert (fork_server.num_threads(), fork_server.net_connections("tcp")) == (1, [])


FORK_AND_SAVE = """
import asyncio, os, sys, threading
import scheduler_service.fork_server
from portal_import.engine.storage import DocumentStore
from settings import read_settings

async def feed():
    yield b"%PDF"

print(threading.active_count(), "s3fs" in sys.modules, flush=True)
held = set(sys.modules)
if os.fork() == 0:
    store = DocumentStore(read_settings().effective_storage_url)
    asyncio.run(store.save(feed(), extension="pdf", max_bytes=9))
    print(sorted(set(sys.modules) - held), flush=True)
    os._exit(0)
os.wait()
"""


def test_fork_server_holds_what_a_child_needs_for_the_bucket_and_no_thread(bucket: Bucket, tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", FORK_AND_SAVE],
        env=os.environ | {"PUNCTUAL_HOME": str(tmp_path)},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=True,
    )
    assert told.stdout == "1 True\n[]\n"
    assert len(bucket.list_keys()) == 1
