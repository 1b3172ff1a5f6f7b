"""The demo portal within a test's process, and a job that imports from it."""

import threading
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import uvicorn
from sqlalchemy import update
from sqlalchemy.orm import Session

from db.accounts import NewAccount
from db.encryption import SecretBox
from db.jobs import JobDraft, create_job
from db.models import Portal
from db.retries import RetryPolicy
from db.viewers import Viewer
from demo.accounts import ACCOUNTS_CSV
from demo.app import build_app
from portal_import.accounts_csv import read_accounts_csv
from tests.scheduler_process import SECRET_KEY
from tests.waiting import wait_until

START_SECONDS = 20
SIGN_IN_PATHS = ("/login", "/script/session")


@dataclass(frozen=True)
class DemoPortal:
    url: str
    host: str

    def list_paths(self) -> list[str]:
        """What was asked for, in order."""
        return [r["path"] for r in httpx.get(f"{self.url}/_demo/requests").json()]

    def list_sign_ins(self) -> Counter[str]:
        """How often each account was signed in to, or was tried."""
        requests = httpx.get(f"{self.url}/_demo/requests").json()
        return Counter(r["username"] for r in requests if r["method"] == "POST" and r["path"] in SIGN_IN_PATHS)

    def list_bills(self, username: str) -> set[str]:
        return {b["number"] for b in httpx.get(f"{self.url}/_demo/bills", params={"username": username}).json()}


@contextmanager
def serve_demo_portal(latency_ms: int = 0) -> Generator[DemoPortal]:
    """A portal with its request log, on a free port."""
    config = uvicorn.Config(build_app(inspect=True, latency_ms=latency_ms), port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started and server.servers, START_SECONDS, "the demo portal")
    host = f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield DemoPortal(f"http://{host}", host)
    server.force_exit = server.should_exit = True
    thread.join(START_SECONDS)


def read_demo_accounts() -> list[NewAccount]:
    rows = read_accounts_csv(ACCOUNTS_CSV.read_bytes()).rows
    return [NewAccount(r.row_number, r.username, r.password, r.extra) for r in rows]


def make_demo_job(
    session: Session, viewer: Viewer, portal: DemoPortal, accounts: Sequence[NewAccount], *, pages: str = ""
) -> str:
    """A job of these accounts, at a portal that is asked without pauses: the spacing has tests of its own.

    `pages` is where its pages begin: `/script` are those that scripts build.
    """
    draft = JobDraft(
        name="Demo",
        login_url=f"{portal.url}{pages}/login",
        billing_url=f"{portal.url}{pages}/billing",
        portal_host=portal.host,
        schedule=None,
        accounts=accounts,
        retries=RetryPolicy(retry_delay_seconds=0),
    )
    job = create_job(session, viewer, draft, SecretBox((SECRET_KEY,)), authorised=True, now=datetime.now(UTC))
    session.execute(update(Portal).values(min_seconds_between_requests=0))
    return job.id
