"""All accounts of the demo portal, imported as a run would."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn

from db.models import ResultStatus
from demo.accounts import ACCOUNTS_CSV
from demo.app import build_app
from portal_import.accounts_csv import read_accounts_csv
from portal_import.engine.http_engine import import_account
from portal_import.engine.storage import DocumentStore
from portal_import.outcomes import AccountLogin, AccountOutcome, Limits, PortalProfile
from tests.portal_server import OpenGate

DEADLINE_SECONDS = 20


@pytest.fixture
def demo_url() -> Iterator[str]:
    """A demo portal of the test's own, in a thread."""
    config = uvicorn.Config(build_app(inspect=True), port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (server.started and server.servers):
        assert time.monotonic() < deadline, "the demo portal did not start"
        thread.join(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(DEADLINE_SECONDS)


@dataclass
class DemoRun:
    outcomes: dict[str, AccountOutcome]
    lines: list[str]
    waits: list[float]


async def import_all(demo_url: str, folder: Path) -> DemoRun:
    run = DemoRun({}, [], [])

    async def note_wait(seconds: float) -> None:
        run.waits.append(seconds)

    async def import_one(username: str, password: str) -> None:
        run.outcomes[username] = await import_account(
            AccountLogin(username, password, f"{demo_url}/login", f"{demo_url}/billing"),
            PortalProfile(),
            Limits(),
            DocumentStore(folder.as_uri()),
            report=lambda level, line: run.lines.append(line),
            gate=OpenGate(),
            sleep=note_wait,
        )

    rows = read_accounts_csv(ACCOUNTS_CSV.read_bytes()).rows
    await asyncio.gather(*(import_one(row.username, row.password) for row in rows))
    return run


def test_demo_accounts_end_as_promised_and_bring_every_document(demo_url: str, tmp_path: Path):
    run = asyncio.run(import_all(demo_url, tmp_path))
    endings = Counter((str(outcome.status), outcome.retry_attempts) for outcome in run.outcomes.values())
    assert endings == {("success", 0): 17, ("success", 2): 1, ("wrong_credentials", 0): 1, ("no_bills", 0): 1}
    assert run.waits == [1.0, 1.0]
    for username, outcome in run.outcomes.items():
        if outcome.status is ResultStatus.WRONG_CREDENTIALS:
            continue
        offered = httpx.get(f"{demo_url}/_demo/bills", params={"username": username}).json()
        collected = [(bill.number, document) for bill in outcome.bills for document in bill.documents]
        assert {(number, document.sha256, document.size_bytes) for number, document in collected} == {
            (document["number"], document["sha256"], document["size"]) for document in offered
        }
        assert all((tmp_path / document.file_url).stat().st_size == document.size_bytes for _, document in collected)
    passwords = [row.password for row in read_accounts_csv(ACCOUNTS_CSV.read_bytes()).rows]
    spoken = "\n".join(run.lines) + repr(run.outcomes)
    assert not any(password in spoken for password in passwords)
    sign_ins = Counter(
        entry["username"]
        for entry in httpx.get(f"{demo_url}/_demo/requests").json()
        if (entry["method"], entry["path"]) == ("POST", "/login")
    )
    assert set(sign_ins.values()) == {1}
    assert len(sign_ins) == 20
