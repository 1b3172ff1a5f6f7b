"""Claim, renew, finish, requeue, recover: who works on a run, fenced by its lease token.

Locks are taken job first, then run, so that these verbs never wait for each other in a circle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import case, func, select, update
from sqlalchemy.orm import Session, aliased

from db.jobs import settle_job_status
from db.models import Job, JobStatus, LogLevel, Run, RunStatus, RunTrigger
from db.run_log import record_log_line
from db.wake import Wake, send_wake


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
class RenewedLease:
    """A lease that still holds, and whether somebody asked for the run to stop."""

    run_id: int
    is_stop_requested: bool


def claim_runs(session: Session, now: datetime, *, worker: str, slots: int, lease: timedelta) -> list[Claim]:
    """Take up to `slots` queued runs, people's before schedules', the oldest of each job first."""
    if slots <= 0:
        return []
    other = aliased(Run)
    first_of_job = (
        select(func.min(other.id))
        .where(other.session_id == Run.session_id, other.status == RunStatus.QUEUED, other.run_after <= now)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Run, Job)
        .join(Job, Job.id == Run.session_id)
        .where(Run.status == RunStatus.QUEUED, Run.run_after <= now, Job.status != JobStatus.RUNNING)
        .where(Run.id == first_of_job)
        .order_by(case((Run.trigger == RunTrigger.SCHEDULE, 1), else_=0), Run.run_after, Run.id)
        .limit(slots)
        .with_for_update(of=(Run, Job), skip_locked=True, key_share=True)
    ).all()
    claims: list[Claim] = []
    for run, job in rows:
        run.status = RunStatus.RUNNING
        run.worker = worker
        run.lease_token = uuid4()
        run.lease_until = now + lease
        run.started_at = run.started_at or now
        job.status = JobStatus.RUNNING
        job.last_run_id = run.id
        job.last_run_at = run.started_at
        claims.append(Claim(run.id, job.id, run.lease_token, run.attempt, job.timeout_seconds, run.scheduled_for))
    session.flush()
    return claims


def renew_leases(session: Session, claims: Sequence[Claim], now: datetime, lease: timedelta) -> list[RenewedLease]:
    """Extend the leases that still hold; a claim that is missing from the answer is lost."""
    tokens = [c.lease_token for c in claims]
    rows = session.execute(
        update(Run)
        .where(Run.status == RunStatus.RUNNING, Run.lease_token.in_(tokens))
        .values(lease_until=now + lease)
        .returning(Run.id, Run.stop_requested_at)
    )
    return [RenewedLease(run_id, stop_requested_at is not None) for run_id, stop_requested_at in rows]


def finish_run(
    session: Session, run_id: int, lease_token: UUID, outcome: RunStatus, reason: str | None, now: datetime
) -> bool:
    """End a run; False, and nothing written, when the claim was lost to someone else."""
    held = _lock_claim(session, run_id, lease_token)
    if held is None:
        return False
    _end_run(session, *held, outcome, reason, now)
    return True


def requeue_run(
    session: Session, run_id: int, lease_token: UUID, reason: str, now: datetime, *, is_fault: bool
) -> bool:
    """Give a run back; it resumes at the accounts without a result. False when the claim was lost.

    A fault (a crash) counts as an attempt, and ends the run when it was the last one; a drain does not.
    """
    held = _lock_claim(session, run_id, lease_token)
    if held is None:
        return False
    _return_run(session, *held, reason, now, is_fault=is_fault, last_outcome=RunStatus.FAILED)
    return True


def recover_runs(session: Session, now: datetime, *, limit: int = 100) -> int:
    """Take back runs whose lease ran out; returns how many."""
    rows = session.execute(
        select(Job, Run)
        .join(Run, Run.session_id == Job.id)
        .where(Run.status == RunStatus.RUNNING, Run.lease_until < now)
        .order_by(Run.lease_until)
        .limit(limit)
        .with_for_update(of=(Job, Run), skip_locked=True, key_share=True)
    ).all()
    for job, run in rows:
        reason = f"the worker {run.worker} stopped answering"
        _return_run(session, job, run, reason, now, is_fault=True, last_outcome=RunStatus.LOST)
    return len(rows)


def _lock_claim(session: Session, run_id: int, lease_token: UUID) -> tuple[Job, Run] | None:
    job = session.scalar(
        select(Job)
        .where(Job.id == select(Run.session_id).where(Run.id == run_id).scalar_subquery())
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    run = session.scalar(
        select(Run)
        .where(Run.id == run_id, Run.lease_token == lease_token, Run.status == RunStatus.RUNNING)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return None if job is None or run is None else (job, run)


def _return_run(
    session: Session, job: Job, run: Run, reason: str, now: datetime, *, is_fault: bool, last_outcome: RunStatus
) -> None:
    if run.stop_requested_at is not None:
        _end_run(session, job, run, RunStatus.STOPPED, "stopped on request", now)
        return
    if is_fault and run.attempt >= job.max_attempts:
        _end_run(session, job, run, last_outcome, f"{reason}; given up after {run.attempt} attempts", now)
        return
    if is_fault:
        run.attempt += 1
    run.status = RunStatus.QUEUED
    run.worker = run.lease_token = run.lease_until = None
    run.run_after = now
    job.status = JobStatus.QUEUED
    record_log_line(session, run.id, LogLevel.WARNING, f"{reason}; queued again (attempt {run.attempt})", at=now)
    session.flush()
    send_wake(session, Wake.CLAIM)


def _end_run(session: Session, job: Job, run: Run, outcome: RunStatus, reason: str | None, now: datetime) -> None:
    run.status = outcome
    run.reason = reason
    run.finished_at = now
    run.lease_token = run.lease_until = None
    job.results_count += run.accounts_done
    level = LogLevel.INFO if outcome == RunStatus.COMPLETED else LogLevel.WARNING
    words = outcome.value.replace("_", " ")
    record_log_line(session, run.id, level, f"run {words}" + (f": {reason}" if reason else ""), at=now)
    session.flush()
    settle_job_status(job, outcome, has_queued_run=_has_queued_run(session, job.id))
    session.flush()
    send_wake(session, Wake.CLAIM)


def _has_queued_run(session: Session, job_id: str) -> bool:
    return session.execute(
        select(select(Run.id).where(Run.session_id == job_id, Run.status == RunStatus.QUEUED).exists())
    ).scalar_one()
