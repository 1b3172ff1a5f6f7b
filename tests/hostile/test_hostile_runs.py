"""A whole run at a hostile portal: every account ends in its own way, and the sound ones bring their bills home."""

import asyncio
import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from sqlalchemy import Engine, select, update

from db.accounts import NewAccount
from db.encryption import SecretBox
from db.engine import transaction
from db.jobs import JobDraft, create_job
from db.models import Bill, Portal, Result, Role, Run, RunLogLine, RunStatus, RunTrigger
from db.runs import request_run
from tests.factories import make_viewer
from tests.hostile.attacks import portals_thread
from tests.portal_server import PDF, Request, Route, ScriptedPortal, answer, redirect
from tests.scheduler_process import SECRET_KEY, SchedulerProcess, start_scheduler
from tests.waiting import wait_until

RUN_SECONDS = 120
MAX_MEGABYTES = 260
PASSWORD = "a-secret-of-this-account-only"
FORM = (
    '<form method="post" action="{login}"><input name="email" type="email"><input name="pass" type="password"></form>'
)
BILLS = (
    "<table><tr><th>Invoice number<th>Issue date<th>Amount<th>Status<th></tr>"
    '<tr><td>{number}<td>2026-11-24<td>-5,10 €<td>{status}<td><a href="{path}/1.pdf">PDF</a></tr></table>'
)
SCRIPT = "&lt;script&gt;alert(1)&lt;/script&gt;"
FORMULA = "=1+HYPERLINK"


def account_routes(name: str, billing: Route | None = None, **others: Route) -> dict[str, Route]:
    """One account's part of the portal; `others` are its routes that do something else, such as `login`."""
    path = f"/{name}"
    page = BILLS.format(number=f"{FORMULA}-1", status=SCRIPT, path=path)
    return {
        f"GET {path}/login": others.get("login") or answer(FORM.format(login=f"{path}/login")),
        f"POST {path}/login": others.get("post") or redirect(f"{path}/billing", Set_Cookie=f"{name}=1; Path=/"),
        f"GET {path}/billing": billing or answer(page),
        f"GET {path}/1.pdf": others.get("pdf") or answer(PDF, content_type="application/pdf"),
    }


async def reset(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


BOMB = answer(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")
REFUSAL = answer(FORM.format(login="/refused/login") + f'<p role="alert">Wrong password: {SCRIPT} {FORMULA}</p>')
STEALING = FORM.format(login="http://evil.example/login")
EXPECTED = {
    "sound1": ("success", None),
    "bomb": ("portal_error", "the page is larger than 10,485,760 bytes"),
    "elements": ("portal_error", "too many to be read"),
    "reset": ("portal_error", "the sign-in failed and was not sent a second time"),
    "refused": ("wrong_credentials", "<script>alert(1)</script>"),
    "stealing": ("portal_changed", "would send the password to another site"),
    "web-page": ("portal_error", "a web page instead of the document"),
    "sound2": ("success", None),
}


def hostile_routes() -> dict[str, Route]:
    return {
        **account_routes("sound1"),
        **account_routes("bomb", billing=BOMB),
        **account_routes("elements", billing=answer("<p>" * 1_000_000)),
        **account_routes("reset", post=reset),
        **account_routes("refused", post=REFUSAL, billing=answer("no", 401)),
        **account_routes("stealing", login=answer(STEALING)),
        **account_routes("web-page", pdf=answer("<html><script>alert(1)</script>")),
        **account_routes("sound2"),
    }


@pytest.fixture
def portal() -> Iterator[ScriptedPortal]:
    with portals_thread() as loop:
        portal = ScriptedPortal(hostile_routes())
        asyncio.run_coroutine_threadsafe(portal.__aenter__(), loop).result(10)
        yield portal
        asyncio.run_coroutine_threadsafe(portal.__aexit__(), loop).result(10)


@pytest.fixture
def scheduler(engine: Engine, tmp_path: Path) -> Iterator[SchedulerProcess]:
    process = start_scheduler(engine, tmp_path)
    yield process
    children = process.list_children()
    process.kill()
    psutil.wait_procs(children, timeout=10)


def add_run(engine: Engine, portal: ScriptedPortal) -> int:
    accounts = [NewAccount(n, name, PASSWORD, {}) for n, name in enumerate(EXPECTED, start=2)]
    with transaction(engine) as session:
        viewer = make_viewer(session, role=Role.OPERATOR)
        draft = JobDraft(
            name="Hostile",
            login_url=f"{portal.url}/{{username}}/login",
            billing_url=f"{portal.url}/{{username}}/billing",
            portal_host=urlsplit(portal.url).netloc,
            schedule=None,
            accounts=accounts,
        )
        job = create_job(session, viewer, draft, SecretBox((SECRET_KEY,)), authorised=True, now=datetime.now(UTC))
        session.execute(update(Portal).values(min_seconds_between_requests=0))
        return request_run(session, viewer, job.id, trigger=RunTrigger.MANUAL, now=datetime.now(UTC)).id


def test_every_account_ends_in_its_own_way(engine: Engine, portal: ScriptedPortal, scheduler: SchedulerProcess) -> None:
    run_id = add_run(engine, portal)
    peaks = [0.0]

    def has_ended() -> bool:
        peaks.extend(peak_of(process) for process in scheduler.list_children())
        with transaction(engine) as session:
            return session.get_one(Run, run_id).finished_at is not None

    wait_until(has_ended, RUN_SECONDS, "the run's end")
    with transaction(engine) as session:
        run = session.get_one(Run, run_id)
        results = {r.username: r for r in session.scalars(select(Result).where(Result.run_id == run_id))}
        bills = {b.username: b for b in session.scalars(select(Bill))}
        lines = "\n".join(session.scalars(select(RunLogLine.message)))
    assert (run.status, run.accounts_done, run.accounts_succeeded) == (RunStatus.PARTIAL, 8, 2)
    for name, (status, words) in EXPECTED.items():
        assert results[name].status == status, results[name].error
        assert (words or "") in (results[name].error or "")
        assert sum((r.method, r.path) == ("POST", f"/{name}/login") for r in portal.requests) == (name != "stealing")
    assert set(bills) == {"sound1", "sound2", "web-page"}
    assert (bills["sound1"].number, bills["sound1"].portal_status) == (f"{FORMULA}-1", "<script>alert(1)</script>")
    assert PASSWORD not in lines + scheduler.read_log()
    assert 0 < max(peaks) < MAX_MEGABYTES


def peak_of(process: psutil.Process) -> float:
    """In MB; 0 of a process that has just ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
