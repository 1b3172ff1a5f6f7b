"""People with tokens, and a job of theirs with a run, results, bills, a log and stored documents."""

import itertools
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.tokens import TokenClaims, sign_token
from db.accounts import list_accounts
from db.engine import transaction
from db.models import (
    Bill,
    BillVersion,
    Calendar,
    LogLevel,
    Portal,
    Result,
    ResultStatus,
    Role,
    RunStatus,
    SessionKind,
    User,
)
from db.run_log import record_log_line
from db.user_sessions import create_user_session
from db.viewers import Viewer
from tests.factories import DAILY, NOW, make_job, make_run, make_viewer

SECRET = "Zq9-distinctive-portal-secret"
CSV = f"username,password,branch\nann@example.com,{SECRET},north\nbob@example.com,{SECRET}2,south\n"
OLD_PDF = b"%PDF-1.7 a bill before it changed"
PDF = b"%PDF-1.7 " + b"a bill of several chunks " * 30_000
FORM = {
    "name": "Water bills",
    "login_url": "https://portal.example/login",
    "billing_url": "https://portal.example/bills?branch={branch}",
    "is_scheduled": "true",
    "schedule_type": "weekly",
    "schedule_config": '{"day_of_week": 1, "hour": 9, "minute": 0}',
    "time_zone": "Europe/London",
    "authorised": "true",
}

_numbers = itertools.count(1)


@dataclass
class Person:
    """A user and a client with the user's token."""

    viewer: Viewer
    token: str
    client: TestClient


@dataclass
class Story:
    """Ids of what one run left behind, of a calendar of the same user, and of the portal."""

    job_id: str
    run_id: int
    result_id: str
    empty_result_id: str
    bill_id: int
    bare_bill_id: int
    calendar_id: int
    portal_id: int
    account_id: int = 999_999
    version_id: int = 999_999


def add_person(engine: Engine, api: FastAPI, username: str, role: Role) -> Person:
    with transaction(engine) as session:
        viewer = make_viewer(session, username, role)
    token = make_token(engine, api, viewer)
    client = TestClient(api, raise_server_exceptions=False, headers={"Authorization": f"Bearer {token}"})
    return Person(viewer, token, client)


def make_token(engine: Engine, api: FastAPI, viewer: Viewer, kind: SessionKind = SessionKind.API) -> str:
    """A good token for the user, without the cost of a password."""
    now, ttl = datetime.now(UTC), timedelta(hours=1)
    with transaction(engine) as session:
        user = session.get_one(User, viewer.user_id)
        session_token = create_user_session(session, user, kind, now, ttl, None, None)
    return sign_token(TokenClaims(viewer.user_id, session_token), api.state.resources.box.signing_key, now=now, ttl=ttl)


def post_job(person: Person, *, csv: str | bytes | None = CSV, **changes: str | None) -> Any:
    """POST /jobs with FORM and the changes to it; None leaves a field out."""
    fields = {name: value for name, value in (FORM | changes).items() if value is not None}
    files = {"csv": ("accounts.csv", csv, "text/csv")} if csv is not None else {"unused": ("", b"")}
    return person.client.post("/jobs", data=fields, files=files)


def tell_story(engine: Engine, viewer: Viewer, home: Path) -> Story:
    """A job that ran: one account brought a bill with two documents, another failed. And a calendar."""
    store(home, "ab/abcd.pdf", PDF)
    store(home, "ef/old.pdf", OLD_PDF)
    store(home, "cd/cdef.csv", b"number,amount\n42,12.50\n")
    with transaction(engine) as session:
        job = make_job(session, viewer, schedule=DAILY, accounts=2, portal_id=find_portal(session).id)
        run = make_run(session, job, status=RunStatus.PARTIAL, started_at=NOW, accounts_total=2, accounts_done=2)
        result = make_result(session, run.id, job.id, 2, file_url="ab/abcd.pdf", bills_new=2, bills_seen=2)
        empty = make_result(session, run.id, job.id, 3, status=ResultStatus.WRONG_CREDENTIALS, error="refused")
        documents = [
            make_document("ab/abcd.pdf", 'Rechnung "März"/1.pdf', "application/pdf"),
            make_document("cd/cdef.csv", "bill.csv", "text/csv"),
        ]
        bill = make_bill(
            session, run.id, job.id, number="0042", issued_on=date(2025, 3, 1), amount=Decimal("12.50"),
            currency="EUR", fields={"No": "0042"}, documents=documents, file_url="ab/abcd.pdf", sha256="abcd",
            from_document=["amount"], versions_count=1,
        )  # fmt: skip
        bare = make_bill(session, run.id, job.id, number="0041")
        version = BillVersion(
            bill_id=bill.id, number="0042", amount=Decimal("12.00"), replaced_in_run=run.id, replaced_at=NOW,
            documents=[make_document("ef/old.pdf", "old.pdf", "application/pdf")],
        )  # fmt: skip
        session.add(version)
        record_log_line(session, run.id, LogLevel.INFO, "signed in", at=NOW)
        calendar = Calendar(user_id=viewer.user_id, name="Closed", country="GB")
        session.add(calendar)
        session.flush()
        portal_id, account_id = find_portal(session).id, list_accounts(session, job)[0].id
        return Story(
            job.id, run.id, result.id, empty.id, bill.id, bare.id, calendar.id, portal_id, account_id, version.id
        )


def find_portal(session: Session) -> Portal:
    """The portal of the story, made at first use."""
    portal = session.query(Portal).filter_by(host="portal.example").one_or_none()
    if portal is None:
        portal = Portal(host="portal.example", authorised_by="somebody", authorised_at=NOW)
        session.add(portal)
        session.flush()
    return portal


def make_result(session: Session, run_id: int, job_id: str, row_number: int, **columns: Any) -> Result:
    values = {"username": f"account{row_number}@example.com", "status": ResultStatus.SUCCESS, "created_at": NOW}
    result = Result(run_id=run_id, session_id=job_id, row_number=row_number, **(values | columns))
    session.add(result)
    session.flush()
    return result


def make_bill(session: Session, run_id: int, job_id: str, **columns: Any) -> Bill:
    values = {"username": "account2@example.com", "bill_key": f"key {next(_numbers)}", "created_at": NOW}
    bill = Bill(session_id=job_id, first_seen_run=run_id, last_seen_run=run_id, **(values | columns))
    session.add(bill)
    session.flush()
    return bill


def make_document(file_url: str, file_name: str, content_type: str) -> dict[str, Any]:
    return {"file_url": file_url, "file_name": file_name, "content_type": content_type, "size_bytes": 1, "sha256": "ab"}


def store(home: Path, key: str, content: bytes) -> None:
    path = home / "bills" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
