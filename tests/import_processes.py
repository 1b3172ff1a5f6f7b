"""Processes that carry out runs as a scheduler's children do, without a scheduler, and a portal that is scripted."""

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from sqlalchemy import Engine, select

from db.accounts import NewAccount
from db.claiming import Claim, claim_runs
from db.claims import requeue_run
from db.encryption import SecretBox
from db.engine import transaction
from db.jobs import JobDraft, create_job
from db.models import Portal, Result, Run, RunTrigger
from db.retries import RetryPolicy
from db.runs import request_run
from db.viewers import Viewer
from portal_import.child import RunOrder, run_in_child
from scheduler_service.supervision import PRELOADED
from tests.factories import PASSWORD, make_viewer
from tests.portal_server import ScriptedPortal
from tests.scheduler_process import SECRET_KEY

END_SECONDS = 60
START_SECONDS = 20
LEASE = timedelta(hours=1)
CHILDREN = multiprocessing.get_context("forkserver")


@contextmanager
def serve(portal: ScriptedPortal) -> Generator[ScriptedPortal]:
    """The portal, on an event loop in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(portal.__aenter__(), loop).result(START_SECONDS)
    try:
        yield portal
    finally:
        asyncio.run_coroutine_threadsafe(portal.__aexit__(), loop).result(START_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_SECONDS)


def add_job(
    engine: Engine,
    portal: ScriptedPortal,
    usernames: Sequence[str],
    *,
    owner: str = "olive",
    password: str = PASSWORD,
    **portal_columns: object,
) -> tuple[Viewer, str]:
    """A job of these accounts of a person of its own, at a portal that is asked without pauses unless told."""
    draft = JobDraft(
        name=f"{owner}'s bills",
        login_url=f"{portal.url}/login",
        billing_url=f"{portal.url}/billing",
        portal_host=portal.url.removeprefix("http://"),
        schedule=None,
        accounts=[NewAccount(n, name, password, {}) for n, name in enumerate(usernames, start=2)],
        retries=RetryPolicy(max_attempts=1),
    )
    with transaction(engine) as session:
        viewer = make_viewer(session, owner)
        job = create_job(session, viewer, draft, SecretBox((SECRET_KEY,)), authorised=True, now=datetime.now(UTC))
        row = session.get_one(Portal, job.portal_id)
        columns: dict[str, object] = {"min_seconds_between_requests": 0, "max_concurrent_accounts": 1}
        for column, value in (columns | portal_columns).items():
            setattr(row, column, value)
        return viewer, job.id


def ask_for_run(engine: Engine, viewer: Viewer, job_id: str) -> int:
    with transaction(engine) as session:
        return request_run(session, viewer, job_id, trigger=RunTrigger.MANUAL, now=datetime.now(UTC)).id


@dataclass
class ImportProcess:
    """A child that carries out a run; it ends itself when `parent` is closed."""

    engine: Engine
    claim: Claim
    process: BaseProcess
    parent: Connection

    def wait(self) -> Run:
        """The run, once its process has ended."""
        self.process.join(END_SECONDS)
        assert self.process.exitcode is not None, "the run has not come to its end"
        self.parent.close()
        return get_run(self.engine, self.claim.run_id)

    def kill(self) -> None:
        self.process.kill()
        self.wait()


@contextmanager
def carrying_out(
    engine: Engine, home: Path, *run_ids: int, team_size: int | None = None
) -> Generator[list[ImportProcess]]:
    """A process for each of these queued runs; one that leads a team of that size, whatever the machine has."""
    with transaction(engine) as session:
        taken = claim_runs(session, datetime.now(UTC), worker="test", slots=len(run_ids), lease=LEASE).claims
    claims = {claim.run_id: claim for claim in taken}
    started = [_start(engine, home, claims[run_id], team_size) for run_id in run_ids]
    try:
        yield started
    finally:
        for one in started:
            if one.process.is_alive():
                one.process.kill()
                one.process.join(END_SECONDS)


def _start(engine: Engine, home: Path, claim: Claim, team_size: int | None) -> ImportProcess:
    order = RunOrder(claim.run_id, claim.lease_token, engine.url.render_as_string(hide_password=False))
    for_child, ours = CHILDREN.Pipe(duplex=False)
    CHILDREN.set_forkserver_preload(PRELOADED)  # of no consequence once the fork server runs
    with for_child:
        process = CHILDREN.Process(target=_run_at_home, args=(order, for_child, home, team_size), daemon=True)
        process.start()
    return ImportProcess(engine, claim, process, ours)


def _run_at_home(order: RunOrder, parent: Connection, home: Path, team_size: int | None) -> None:
    os.environ |= {"PUNCTUAL_HOME": str(home), "PUNCTUAL_SECRET_KEY": SECRET_KEY}
    if team_size is not None:
        from portal_import import run

        run.count_processes = lambda at_once, accounts: team_size
    run_in_child(order, parent)


def carry_out(engine: Engine, home: Path, viewer: Viewer, job_id: str) -> Run:
    """Run the job in a process of its own, to the end."""
    with carrying_out(engine, home, ask_for_run(engine, viewer, job_id)) as (process,):
        return process.wait()


def get_run(engine: Engine, run_id: int) -> Run:
    with transaction(engine) as session:
        return session.get_one(Run, run_id)


def list_endings(engine: Engine, run_id: int) -> dict[str, tuple[str, str | None]]:
    """The status and the words of each account's result."""
    with transaction(engine) as session:
        results = session.scalars(select(Result).where(Result.run_id == run_id)).all()
    return {result.username: (result.status, result.error) for result in results}


def give_back(engine: Engine, process: ImportProcess) -> int:
    """The run goes back to the queue, as when its worker is gone."""
    claim = process.claim
    with transaction(engine) as session:
        assert requeue_run(session, claim.run_id, claim.lease_token, "gone", datetime.now(UTC), is_fault=False)
    return claim.run_id
