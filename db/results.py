"""Results: what a run brought for each account, written once and fenced by the run's lease."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import case, func, select, tuple_, update
from sqlalchemy.orm import Session

from db.bills import AccountBills, BillRecord, record_bills
from db.errors import LeaseLostError, NotFoundError
from db.models import (
    SUCCEEDED_RESULTS,
    Account,
    AccountStatus,
    Job,
    Result,
    ResultCause,
    ResultStatus,
    Run,
    RunStatus,
    RunTrigger,
)
from db.row_sets import insert_rows
from db.runs import get_run
from db.storable_text import storable
from db.viewers import Viewer

PAGE_SIZE = 200


@dataclass(frozen=True)
class ResultRecord:
    """One account's outcome, ready to be stored."""

    account_id: int
    username: str
    row_number: int
    status: ResultStatus
    started_at: datetime | None
    error: str | None = None
    final_error: str | None = None
    retry_attempts: int = 0
    bills: Sequence[BillRecord] = field(default_factory=tuple)
    cause: ResultCause | None = None
    ended_at: datetime | None = None  # None: at the moment at which it is stored


def start_accounts(
    session: Session, run_id: int, lease_token: UUID, *, accounts_total: int, started_at: datetime
) -> None:
    """Note how many accounts the run covers and, at its first start, how late its process began.

    Raises LeaseLostError.
    """
    due_at = case(
        (Run.trigger == RunTrigger.SCHEDULE, Run.scheduled_for),  # of a moved run: when it was moved to
        (Run.trigger == RunTrigger.RETRY, Run.run_after),
        else_=Run.queued_at,
    )
    seconds = func.extract("epoch", started_at - due_at)
    _require_lease(
        session,
        run_id,
        lease_token,
        accounts_total=accounts_total,
        # Clocks of two machines differ a little: never early.
        lateness_seconds=func.coalesce(Run.lateness_seconds, func.greatest(0, seconds)),
    )


def record_results(
    session: Session, run_id: int, lease_token: UUID, records: Sequence[ResultRecord], now: datetime
) -> None:
    """Store accounts' results with their bills, and count them as done.

    A refused sign-in keeps the next runs from the account, a test's as well; only a person lets them try it again.
    Raises LeaseLostError, with nothing stored, when the run is no longer this worker's.
    """
    succeeded = [record.account_id for record in records if record.status in SUCCEEDED_RESULTS]
    job_id, trigger = _require_lease(
        session,
        run_id,
        lease_token,
        accounts_done=Run.accounts_done + len(records),
        accounts_succeeded=Run.accounts_succeeded + len(succeeded),
    )
    found = [AccountBills(record.account_id, record.username, record.bills) for record in records]
    new_bills = record_bills(session, found, run_id=run_id, session_id=job_id)
    results = [
        _make_result(record, run_id=run_id, job_id=job_id, bills_new=new, now=now)
        for record, new in zip(records, new_bills, strict=True)
    ]
    insert_rows(session, Result, results)
    if succeeded and trigger != RunTrigger.TEST:
        _update_accounts(session, succeeded, last_success_at=now)
    for record in records:
        if record.status in (ResultStatus.WRONG_CREDENTIALS, ResultStatus.NEEDS_ATTENTION):
            _leave_alone(session, record.account_id, storable(record.error))


def _make_result(record: ResultRecord, *, run_id: int, job_id: str, bills_new: int, now: datetime) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "session_id": job_id,
        "account_id": record.account_id,
        "username": record.username,
        "row_number": record.row_number,
        "status": record.status,
        "cause": record.cause,
        "error": storable(record.error),
        "final_error": storable(record.final_error),
        "retry_attempts": record.retry_attempts,
        "file_url": next((bill.file_url for bill in record.bills if bill.file_url), None),
        "bills_new": bills_new,
        "bills_seen": len(record.bills),
        "started_at": record.started_at,
        "finished_at": record.ended_at or now,
        "created_at": now,
    }


def has_result(session: Session, run_id: int, account_id: int) -> bool:
    """Whether the account has its result in this run."""
    return session.execute(
        select(select(Result.id).where(Result.run_id == run_id, Result.account_id == account_id).exists())
    ).scalar_one()


def count_results(session: Session, run_id: int) -> dict[ResultStatus, int]:
    """How many accounts of the run ended in each way."""
    rows = session.execute(select(Result.status, func.count()).where(Result.run_id == run_id).group_by(Result.status))
    return {ResultStatus(status): count for status, count in rows}


def get_shared_error(session: Session, run_id: int, status: ResultStatus) -> str | None:
    """Why accounts of the run ended so, if all of them for the same reason."""
    mine = (Result.run_id == run_id, Result.status == status)
    errors = session.scalars(select(Result.error).where(*mine).distinct().limit(2)).all()
    return errors[0] if len(errors) == 1 else None


def list_results(
    session: Session, viewer: Viewer, run_id: int, *, after: tuple[int, str] | None = None, limit: int = PAGE_SIZE
) -> tuple[Sequence[Result], tuple[int, str] | None]:
    """A page of the run's results in the order of the CSV, and where the next page starts. Raises NotFoundError."""
    run, _ = get_run(session, viewer, run_id)
    query = select(Result).where(Result.run_id == run.id)
    if after is not None:
        query = query.where(tuple_(Result.row_number, Result.id) > after)
    rows = session.scalars(query.order_by(Result.row_number, Result.id).limit(limit + 1)).all()
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], (last.row_number or 0, last.id)


def get_result(session: Session, viewer: Viewer, result_id: str) -> Result:
    """The result, if it is the viewer's to see. Raises NotFoundError."""
    query = select(Result).join(Job, Job.id == Result.session_id).where(Result.id == result_id)
    if not viewer.is_admin:
        query = query.where(Job.user_id == viewer.user_id)
    result = session.scalar(query)
    if result is None:
        raise NotFoundError("there is no such result, or it belongs to someone else")
    return result


def _require_lease(session: Session, run_id: int, lease_token: UUID, **values: object) -> tuple[str, str]:
    """Update the run under its lease, which also locks it; returns the job's id and what asked for the run."""
    row = session.execute(
        update(Run)
        .where(Run.id == run_id, Run.lease_token == lease_token, Run.status == RunStatus.RUNNING)
        .values(**values)
        .returning(Run.session_id, Run.trigger)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        raise LeaseLostError
    return row[0], row[1]


def _leave_alone(session: Session, account_id: int, reason: str | None) -> None:
    """Until somebody acts. An account that is left alone already keeps its first reason."""
    session.execute(
        update(Account)
        .where(Account.id == account_id, Account.status == AccountStatus.READY)
        .values(status=AccountStatus.NEEDS_ATTENTION, status_reason=reason)
        .execution_options(synchronize_session=False)
    )


def _update_accounts(session: Session, account_ids: Sequence[int], **values: object) -> None:
    session.execute(
        update(Account).where(Account.id.in_(account_ids)).values(**values).execution_options(synchronize_session=False)
    )
