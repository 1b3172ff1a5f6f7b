"""Claim: take queued runs for free slots, in the order of `db.turns`; and give up those whose window has passed.

Both take several jobs at once, so they skip what is locked and never wait: see `db.claims` for the order of locks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import case, func, select, text, update
from sqlalchemy.orm import Session

from db.attempts import begin_attempts
from db.models import Cause, Job, JobStatus, Run, RunStatus
from db.retries import is_jobs_turn
from db.turns import list_turns

EXPIRE_BATCH = 1000
MARGIN = 16  # runs looked at beyond those wanted: other schedulers may be taking the same ones


@dataclass(frozen=True)
class Claim:
    """A run that this worker holds until its lease ends."""

    run_id: int
    session_id: str
    lease_token: UUID
    attempt: int
    timeout_seconds: int
    scheduled_for: datetime | None


@dataclass(frozen=True)
class ClaimPass:
    """What one pass took. Contended: slots are left, and runs that somebody else held at that moment."""

    claims: Sequence[Claim]
    is_contended: bool


def claim_runs(session: Session, now: datetime, *, worker: str, slots: int, lease: timedelta) -> ClaimPass:
    """Take up to `slots` queued runs whose turn it is. What another holds is passed over without waiting.

    Runs and jobs that the session has loaded before are not refreshed.
    """
    claims: list[Claim] = []
    passed_over: set[int] = set()
    is_line_whole = False
    while len(claims) < slots and not is_line_whole:
        wanted = slots - len(claims)
        line = [turn.run_id for turn in list_turns(session, now, wanted, margin=MARGIN, passed_over=passed_over)]
        is_line_whole = len(line) < wanted
        held = _lock_startable(session, line, now, wanted) if line else []
        if held:
            _take(session, held, now, worker, lease)
        claims += held
        passed_over.update(set(line) - {claim.run_id for claim in held})
    return ClaimPass(claims, is_contended=bool(passed_over) and len(claims) < slots)


def _lock_startable(session: Session, line: Sequence[int], now: datetime, limit: int) -> list[Claim]:
    """The first of these runs that can be had at once; what became of them since they were read is checked again."""
    # coalesce() hides it from the partial indexes: the planner would read all of a queue that it takes for empty.
    is_queued = func.coalesce(Run.status, "") == RunStatus.QUEUED
    rows = session.execute(
        select(Run.id, Run.session_id, Run.attempt, Job.timeout_seconds, Run.scheduled_for)
        .join(Job, Job.id == Run.session_id)
        .where(Run.id.in_(line), is_queued, Run.run_after <= now)
        .where(Job.status != JobStatus.RUNNING, Job.test_run_id.is_(None))
        .order_by(func.array_position(line, Run.id))
        .limit(limit)
        .with_for_update(of=(Job, Run), skip_locked=True, key_share=True)  # as expire_runs: one of two gets both
    )
    return [
        Claim(run_id, session_id, uuid4(), attempt, timeout_seconds, scheduled_for)
        for run_id, session_id, attempt, timeout_seconds, scheduled_for in rows
    ]


def _take(session: Session, claims: Sequence[Claim], now: datetime, worker: str, lease: timedelta) -> None:
    """Mark the runs and their jobs as running, in one statement; the rows are locked already."""
    session.execute(
        text("""
            WITH runs AS (
                UPDATE import_runs AS r
                SET status = 'running', worker = :worker, lease_token = c.lease_token, lease_until = :lease_until,
                    started_at = coalesce(r.started_at, :now)
                FROM unnest(CAST(:run_ids AS bigint[]), CAST(:tokens AS uuid[])) AS c(run_id, lease_token)
                WHERE r.id = c.run_id
                RETURNING r.id, r.session_id, r.started_at, r.trigger = 'test' AS is_test
            )
            UPDATE import_sessions AS s
            SET status = CASE WHEN is_test THEN s.status ELSE 'running' END,
                last_run_id = CASE WHEN is_test THEN s.last_run_id ELSE runs.id END,
                last_run_at = CASE WHEN is_test THEN s.last_run_at ELSE runs.started_at END,
                test_run_id = CASE WHEN is_test THEN runs.id END
            FROM runs WHERE s.id = runs.session_id
        """),
        {
            "worker": worker,
            "lease_until": now + lease,
            "now": now,
            "run_ids": [claim.run_id for claim in claims],
            "tokens": [str(claim.lease_token) for claim in claims],
        },
    )
    begin_attempts(session, [(c.run_id, c.attempt, c.lease_token) for c in claims], worker=worker, now=now)


def get_earliest_run_after(session: Session, now: datetime) -> datetime | None:
    """When the next run that waits for its time, as before another attempt, may start; None when none does."""
    return session.execute(
        select(func.min(Run.run_after)).where(
            Run.status == RunStatus.QUEUED, Run.run_after > Run.queued_at, Run.run_after > now
        )
    ).scalar_one()


def expire_runs(session: Session, now: datetime, *, limit: int = EXPIRE_BATCH) -> int:
    """Count queued occurrences as missed whose start window has passed; returns how many."""
    rows = session.execute(
        select(Run.id, Job.id)
        .join(Job, Job.id == Run.session_id)
        .where(Run.status == RunStatus.QUEUED, Run.start_by < now, Run.started_at.is_(None), Job.test_run_id.is_(None))
        .order_by(Run.start_by)
        .limit(limit)
        .with_for_update(of=(Job, Run), skip_locked=True, key_share=True)
    ).all()
    if rows:
        session.execute(
            update(Run)
            .where(Run.id.in_([run_id for run_id, _ in rows]))
            .values(
                status=RunStatus.MISSED,
                cause=Cause.LATE,
                reason="waited for a free slot until its start window had passed",
                finished_at=now,
            )
            .execution_options(synchronize_session="fetch")
        )
        _settle_waiting_jobs(session, {job_id for _, job_id in rows})
    return len(rows)


def _settle_waiting_jobs(session: Session, job_ids: set[str]) -> None:
    """A job of which nothing is queued any more says how its last run ended; `idle` where none did."""
    before = case((Job.last_outcome.in_(list(JobStatus)), Job.last_outcome), else_=JobStatus.IDLE)
    still_queued = select(Run.id).where(Run.session_id == Job.id, is_jobs_turn())
    session.execute(
        update(Job)
        .where(Job.id.in_(job_ids), Job.status == JobStatus.QUEUED, ~still_queued.exists())
        .values(status=before)
        .execution_options(synchronize_session="fetch")
    )
