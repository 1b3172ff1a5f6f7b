"""Rows that are inserted as one JSON document: as they were given, whatever their values hold."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from db.models import Bill, LogLevel, RunLogLine
from db.row_sets import insert_rows
from tests.factories import make_job, make_run, make_viewer

AT = datetime(2026, 3, 29, 3, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
TEXTS = [
    '"quoted", \\ and {braces}',
    "línea\nnueva\ttab",
    "NULL",
    "",
    "\N{PILE OF POO}",
    "'; DROP TABLE bills; --",
    "{}",
]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


def test_values_arrive_as_they_were_given(session: Session) -> None:
    job = make_job(session, make_viewer(session))
    rows: list[dict[str, Any]] = [
        {
            "session_id": job.id,
            "username": text,
            "bill_key": f"{n} {text}",
            "number": text or None,
            "issued_on": date(2026, 11, 24) if n % 2 else None,
            "amount": Decimal("12345678901.10") if n % 2 else None,
            "fields": {text: [text, None, 1.5]},
            "documents": [{"file_name": text}] if n % 2 else [],
            "from_document": [text, "amount"] if n % 2 else [],
            "created_at": AT,
        }
        for n, text in enumerate(TEXTS)
    ]
    insert_rows(session, Bill, rows)
    stored = session.scalars(select(Bill).order_by(Bill.id)).all()
    assert [{name: getattr(bill, name) for name in rows[0]} for bill in stored] == rows
    assert stored[0].created_at == AT.astimezone(UTC)
    assert [(bill.versions_count, bill.file_url) for bill in stored] == [(0, None)] * len(TEXTS)  # the defaults


def test_rows_keep_their_order(session: Session) -> None:
    run = make_run(session, make_job(session, make_viewer(session)))
    rows = [{"run_id": run.id, "message": str(n), "level": LogLevel.WARNING} for n in range(300)]
    insert_rows(session, RunLogLine, rows)
    lines = session.scalars(select(RunLogLine).where(RunLogLine.run_id == run.id).order_by(RunLogLine.id))
    assert [(line.message, line.level) for line in lines] == [(str(n), "warning") for n in range(300)]


def test_no_rows_are_no_statement(session: Session) -> None:
    insert_rows(session, Bill, [])


def test_value_that_json_does_not_know_is_refused(session: Session) -> None:
    with pytest.raises(TypeError, match="set has no place in a row"):
        insert_rows(session, Bill, [{"fields": {1, 2}}])
