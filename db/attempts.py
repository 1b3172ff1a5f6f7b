"""Attempts: one row each time that a worker took a run, opened with the claim and closed with what became of it.

Always written in the transaction that changes the run. A run that went back to the queue closes its attempt as
`queued`; of all others a unique index allows one a run, so no run is ever finished by two workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from db.models import RunAttempt, RunStatus, SchedulerInstance
from db.runs import get_run
from db.viewers import Viewer
from db.worker_names import get_machine

MAX_SHOWN = 100


@dataclass(frozen=True)
class AttemptView:
    """An attempt as people see it; `host` is its machine, None when its scheduler_service is long gone."""

    attempt: int
    worker: str
    host: str | None
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None


def begin_attempts(session: Session, claims: Sequence[tuple[int, int, UUID]], *, worker: str, now: datetime) -> None:
    """Open an attempt for each (run id, attempt number, lease token) that the worker has just taken."""
    if claims:
        session.execute(
            insert(RunAttempt),
            [
                {"run_id": run_id, "attempt": attempt, "lease_token": token, "worker": worker, "started_at": now}
                for run_id, attempt, token in claims
            ],
        )


def pass_attempt(session: Session, lease_token: UUID, new_token: UUID, *, worker: str) -> None:
    """The attempt goes on under another token, with the worker that took the claim over."""
    session.execute(
        update(RunAttempt)
        .where(RunAttempt.lease_token == lease_token)
        .values(lease_token=new_token, worker=worker)
        .execution_options(synchronize_session=False)
    )


def end_attempt(session: Session, lease_token: UUID | None, outcome: RunStatus, now: datetime) -> None:
    """Close the attempt that holds this lease; `queued` gives the run back, anything else finishes it."""
    session.execute(
        update(RunAttempt)
        .where(RunAttempt.lease_token == lease_token, RunAttempt.ended_at.is_(None))
        .values(ended_at=now, outcome=outcome)
        .execution_options(synchronize_session=False)
    )


def list_attempts(session: Session, viewer: Viewer, run_id: int) -> Sequence[AttemptView]:
    """The newest attempts of the run, oldest first. Raises NotFoundError."""
    run, _ = get_run(session, viewer, run_id)
    rows = session.execute(
        select(RunAttempt, SchedulerInstance.host)
        .outerjoin(SchedulerInstance, SchedulerInstance.id == RunAttempt.worker)
        .where(RunAttempt.run_id == run.id)
        .order_by(RunAttempt.id.desc())
        .limit(MAX_SHOWN)
    ).all()
    return [
        AttemptView(row.attempt, row.worker, host or get_machine(row.worker), row.started_at, row.ended_at, row.outcome)
        for row, host in reversed(rows)
    ]
