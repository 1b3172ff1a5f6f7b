"""Renew, finish, requeue, recover: who works on a run that was claimed, fenced by its lease token.

Whoever waits for locks takes the job's first, then its runs', so nobody waits in a circle; those that
take several jobs at once skip what is locked and never wait. A job's status changes in the transaction
that changes its run: it is `running` exactly while one of its runs is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.attempts import end_attempt
from db.claiming import Claim
from db.jobs import settle_job_status
from db.models import Job, JobStatus, LogLevel, Run, RunStatus, RunTrigger
from db.retries import has_queued_run, overall_outcome, plan_retry, retry_delay, supersede_retries
from db.run_log import record_log_line
from db.wake import Wake, send_wake


@dataclass(frozen=True)
class RenewedLease:
    """A lease that still holds, and whether somebody asked for the run to stop."""

    run_id: int
    lease_token: UUID
    is_stop_requested: bool


def renew_leases(session: Session, claims: Sequence[Claim], now: datetime, lease: timedelta) -> list[RenewedLease]:
    """Extend the leases that still hold; a claim whose token is missing from the answer is lost."""
    rows = session.execute(
        update(Run)
        .where(Run.status == RunStatus.RUNNING, Run.lease_token.in_([c.lease_token for c in claims]))
        .values(lease_until=now + lease)
        .returning(Run.id, Run.lease_token, Run.stop_requested_at)
        .execution_options(synchronize_session=False)
    )
    return [RenewedLease(i, token, stop_at is not None) for i, token, stop_at in rows if token is not None]


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

    A fault (a crash) counts as an attempt and ends the run when it was the last one, else the run rests before the
    next; a drain does neither.
    """
    held = _lock_claim(session, run_id, lease_token)
    if held is None:
        return False
    job, run = held
    rest = retry_delay(job.retry_delay_seconds, run.attempt, run.id) if is_fault else timedelta(0)
    _return_run(session, job, run, reason, now, rest=rest, is_fault=is_fault, last_outcome=RunStatus.FAILED)
    return True


def recover_runs(session: Session, now: datetime, *, limit: int = 100) -> int:
    """Take back runs whose lease ran out, to be resumed at once: it was not the runs' fault. Returns how many."""
    rows = session.execute(
        select(Job, Run)
        .join(Run, Run.session_id == Job.id)
        .where(Run.status == RunStatus.RUNNING, Run.lease_until < now)
        .order_by(Run.lease_until)
        .limit(limit)
        .with_for_update(of=(Job, Run), skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    for job, run in rows:
        reason = f"the worker {run.worker} stopped answering"
        _return_run(session, job, run, reason, now, rest=timedelta(0), is_fault=True, last_outcome=RunStatus.LOST)
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
    session: Session,
    job: Job,
    run: Run,
    reason: str,
    now: datetime,
    *,
    rest: timedelta,
    is_fault: bool,
    last_outcome: RunStatus,
) -> None:
    if run.stop_requested_at is not None:
        _end_run(session, job, run, RunStatus.STOPPED, "stopped on request", now)
        return
    if run.trigger == RunTrigger.TEST:  # its sign-in may have been sent: a person decides about another
        _end_run(session, job, run, last_outcome, f"{reason}; test the sign-in again", now)
        return
    if is_fault and run.attempt >= job.max_attempts:
        _end_run(session, job, run, last_outcome, f"{reason}; given up after {run.attempt} attempts", now)
        return
    end_attempt(session, run.lease_token, RunStatus.QUEUED, now)
    if is_fault:
        run.attempt += 1
    run.status = RunStatus.QUEUED
    run.worker = run.lease_token = run.lease_until = None
    run.run_after = now + rest
    job.status = JobStatus.QUEUED
    when = f", not before {run.run_after:%H:%M:%S} UTC" if rest else ""
    record_log_line(session, run.id, LogLevel.WARNING, f"{reason}; queued again (attempt {run.attempt}){when}", at=now)
    session.flush()
    send_wake(session, Wake.CLAIM)


def _end_run(session: Session, job: Job, run: Run, outcome: RunStatus, reason: str | None, now: datetime) -> None:
    end_attempt(session, run.lease_token, outcome, now)
    run.status = outcome
    run.reason = reason
    run.finished_at = now
    run.lease_token = run.lease_until = None
    level = LogLevel.INFO if outcome == RunStatus.COMPLETED else LogLevel.WARNING
    words = outcome.value.replace("_", " ")
    record_log_line(session, run.id, level, f"run {words}" + (f": {reason}" if reason else ""), at=now)
    session.flush()
    if run.trigger == RunTrigger.TEST:
        _end_test(session, job, run, now)
    else:
        _settle_job(session, job, run, now)
    session.flush()
    send_wake(session, Wake.CLAIM)


def _settle_job(session: Session, job: Job, run: Run, now: datetime) -> None:
    job.results_count += run.accounts_done
    if run.trigger != RunTrigger.RETRY:
        supersede_retries(session, job.id, run.id, now)
    plan_retry(session, job, run, now)
    settle_job_status(job, overall_outcome(session, run), has_queued_run=has_queued_run(session, job.id))


def _end_test(session: Session, job: Job, run: Run, now: datetime) -> None:
    """Let the job's runs go on; what waited for the test loses nothing of its start window."""
    job.test_run_id = None
    waited_since = func.greatest(run.started_at, Run.queued_at)
    session.execute(
        update(Run)
        .where(Run.session_id == job.id, Run.status == RunStatus.QUEUED, Run.start_by.is_not(None))
        .values(start_by=Run.start_by + (now - waited_since))
        .execution_options(synchronize_session=False)
    )
