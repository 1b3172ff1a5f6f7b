"""The limit of a portal, held across machines: two real schedulers, three runs, one portal that counts its visitors."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, select

from db.accounts import NewAccount
from db.encryption import SecretBox
from db.engine import transaction
from db.jobs import JobDraft, create_job
from db.models import Portal, Run, RunStatus, RunTrigger
from db.runs import request_run
from tests.factories import PASSWORD, make_viewer
from tests.portal_server import PDF, Request, ScriptedPortal, answer, ordinary_routes, served_in_thread
from tests.scheduler_process import SECRET_KEY, start_scheduler
from tests.waiting import wait_until

RUN_SECONDS = 120
LIMIT = 2
OWNERS = ("ann", "ben", "cyd")
ACCOUNTS_EACH = 8


class CountingPortal:
    """Serves any account; knows how many are signed in: from their sign-in until their last bill was fetched.

    A sign-in is answered once as many are inside as the portal allows, so that visits overlap as far as they are let.
    """

    def __init__(self) -> None:
        names = [f"{owner}{n}" for owner in OWNERS for n in range(ACCOUNTS_EACH)]
        routes = ordinary_routes(**dict.fromkeys(names, PASSWORD))
        self.inside: dict[str, int] = {}
        self.most_at_once = 0
        self.sign_ins: Counter[str] = Counter()
        self._sign_in = routes["POST /login"]
        routes |= {"POST /login": self._enter, "GET /bills/17.pdf": self._serve, "GET /bills/18.pdf": self._serve}
        self.server = ScriptedPortal(routes)
        self._company = asyncio.Condition()

    async def _enter(self, request: Request, _: object) -> bytes:
        username = request.form["email"]
        self.sign_ins[username] += 1
        self.inside[username] = 2
        self.most_at_once = max(self.most_at_once, len(self.inside))
        async with self._company:
            self._company.notify_all()
            await self._company.wait_for(self._is_full)
        return self._sign_in(request)  # type: ignore[operator, return-value, call-arg]

    def _is_full(self) -> bool:
        """As many are inside as may be, or nobody else will come."""
        return len(self.inside) >= LIMIT or len(self.sign_ins) == len(OWNERS) * ACCOUNTS_EACH

    def _serve(self, request: Request) -> bytes:
        username = request.cookies["session"]
        self.inside[username] -= 1
        if not self.inside[username]:
            del self.inside[username]
        return answer(PDF + request.path.encode(), content_type="application/pdf")


@pytest.fixture
def portal() -> Iterator[CountingPortal]:
    portal = CountingPortal()
    with served_in_thread(portal.server):
        yield portal


@pytest.fixture
def two_schedulers(engine: Engine, tmp_path: Path) -> Iterator[None]:
    """Each with two slots."""
    started = []
    try:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            started.append(start_scheduler(engine, tmp_path / name))
        yield
    finally:
        children = [child for scheduler in started for child in scheduler.list_children()]
        for scheduler in started:
            scheduler.kill()
        psutil.wait_procs(children, timeout=10)


def add_runs(engine: Engine, portal: CountingPortal) -> list[int]:
    """One run of each owner, asked for now, so that the portal's limit does not keep it from starting."""
    now = datetime.now(UTC)
    runs: list[int] = []
    for owner in OWNERS:
        draft = JobDraft(
            name=owner,
            login_url=f"{portal.server.url}/login",
            billing_url=f"{portal.server.url}/billing",
            portal_host=portal.server.url.removeprefix("http://"),
            schedule=None,
            accounts=[NewAccount(n + 2, f"{owner}{n}@example.com", PASSWORD, {}) for n in range(ACCOUNTS_EACH)],
        )
        with transaction(engine) as session:
            viewer = make_viewer(session, owner)
            job = create_job(session, viewer, draft, SecretBox((SECRET_KEY,)), authorised=True, now=now)
            session.get_one(Portal, job.portal_id).max_concurrent_accounts = LIMIT
            runs.append(request_run(session, viewer, job.id, trigger=RunTrigger.MANUAL, now=now).id)
    return runs


@pytest.mark.usefixtures("two_schedulers")
def test_portal_is_never_visited_by_more_accounts_at_once_than_it_allows(
    engine: Engine, portal: CountingPortal
) -> None:
    runs = add_runs(engine, portal)

    def find_ended() -> list[Run] | None:
        with transaction(engine) as session:
            ended = session.scalars(select(Run).where(Run.id.in_(runs), Run.finished_at.is_not(None))).all()
            return list(ended) if len(ended) == len(runs) else None

    ended = wait_until(find_ended, RUN_SECONDS, "the end of all runs")
    assert {run.status for run in ended} == {RunStatus.COMPLETED}
    assert len({run.worker for run in ended}) == 2
    assert portal.most_at_once == LIMIT
    assert portal.inside == {}
    assert set(portal.sign_ins.values()) == {1}
    assert len(portal.sign_ins) == len(OWNERS) * ACCOUNTS_EACH
