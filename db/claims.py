"""Claim, renew, finish, requeue, recover: who works on a run, fenced by its lease token.

Whoever waits for locks takes the job's first, then its runs', so nobody waits in a circle; those that
take several jobs at once skip what is locked and never wait. A job's status changes in the transaction
that changes its run: it is `running` exactly while one of its runs is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import Select, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from db.attempts import begin_attempts, end_attempt
from db.jobs import settle_job_status
from db.models import Cause, Job, JobStatus, LogLevel, Portal, Run, RunStatus, RunTrigger
from db.retries import has_queued_run, is_waiting_retry, overall_outcome, plan_retry, retry_delay, supersede_retries
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
    lease_token: UUID
    is_stop_requested: bool


def claim_runs(session: Session, now: datetime, *, worker: str, slots: int, lease: timedelta) -> list[Claim]:
    """Take up to `slots` queued runs, people's before schedules', the oldest of each job first.

    A portal that is as busy as it may be gets no further scheduled run: it would only wait in a slot that
    another portal could use. What a person asked for starts all the same and shares the portal's places.
    """
    busy = _count_running_by_portal(session)
    full: set[int] = set()
    claims: list[Claim] = []
    for is_scheduled in (False, True):
        is_exhausted = False
        while len(claims) < slots and not is_exhausted:
            wanted = slots - len(claims)
            rows = session.execute(_claimable(now, is_scheduled, full).limit(wanted)).all()
            for run, job, max_concurrent_accounts in rows:
                if job.portal_id is not None:
                    if is_scheduled and busy[job.portal_id] >= max_concurrent_accounts:
                        full.add(job.portal_id)
                        continue
                    busy[job.portal_id] += 1
                claims.append(_take(run, job, now, worker, lease))
            session.flush()
            is_exhausted = len(rows) < wanted
    begin_attempts(session, [(c.run_id, c.attempt, c.lease_token) for c in claims], worker=worker, now=now)
    return claims


def _claimable(now: datetime, is_scheduled: bool, full_portals: set[int]) -> Select[Run, Job, int]:
    """Runs to claim, oldest first: in the order of an index, so that a long queue is read only as far as needed."""
    other = aliased(Run)
    first_of_job = (
        select(func.min(other.id))
        .where(other.session_id == Run.session_id, other.status == RunStatus.QUEUED, other.run_after <= now)
        .scalar_subquery()
    )
    query = (
        select(Run, Job, Portal.max_concurrent_accounts)
        .join(Job, Job.id == Run.session_id)
        .outerjoin(Portal, Portal.id == Job.portal_id)
        .where(Run.status == RunStatus.QUEUED, Run.run_after <= now, Job.status != JobStatus.RUNNING)
        .where(or_(Run.start_by.is_(None), Run.start_by >= now, Run.started_at.is_not(None)))
        .where((Run.trigger == RunTrigger.SCHEDULE) == is_scheduled, Run.id == first_of_job)
        .order_by(Run.run_after, Run.id)
        .with_for_update(of=(Run, Job), skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    if full_portals:
        query = query.where(func.coalesce(Job.portal_id, 0).not_in(full_portals))
    return query


def _count_running_by_portal(session: Session) -> Counter[int]:
    rows = session.execute(
        select(Job.portal_id, func.count())
        .join(Run, Run.session_id == Job.id)
        .where(Run.status == RunStatus.RUNNING, Job.portal_id.is_not(None))
        .group_by(Job.portal_id)
    )
    return Counter({portal_id: count for portal_id, count in rows if portal_id is not None})


def _take(run: Run, job: Job, now: datetime, worker: str, lease: timedelta) -> Claim:
    token = uuid4()
    run.status = RunStatus.RUNNING
    run.worker = worker
    run.lease_token = token
    run.lease_until = now + lease
    run.started_at = run.started_at or now
    job.status = JobStatus.RUNNING
    job.last_run_id = run.id
    job.last_run_at = run.started_at
    return Claim(run.id, job.id, token, run.attempt, job.timeout_seconds, run.scheduled_for)


def expire_runs(session: Session, now: datetime, *, limit: int = 1000) -> int:
    """Count queued occurrences as missed whose start window has passed; returns how many."""
    rows = session.execute(
        select(Job, Run)
        .join(Run, Run.session_id == Job.id)
        .where(Run.status == RunStatus.QUEUED, Run.start_by < now, Run.started_at.is_(None))
        .order_by(Run.id)
        .limit(limit)
        .with_for_update(of=(Job, Run), skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    for _, run in rows:
        run.status = RunStatus.MISSED
        run.cause = Cause.LATE
        run.reason = "waited for a free slot until its start window had passed"
        run.finished_at = now
    session.flush()
    waiting = {job.id: job for job, _ in rows if job.status == JobStatus.QUEUED}
    mine = (Run.session_id.in_(waiting), Run.status == RunStatus.QUEUED, ~is_waiting_retry())
    still_queued = set(session.scalars(select(Run.session_id).where(*mine).distinct())) if waiting else set[str]()
    for job_id in waiting.keys() - still_queued:
        waiting[job_id].status = _status_before(waiting[job_id])
    return len(rows)


def _status_before(job: Job) -> JobStatus:
    """How the last run that started ended; `idle` where none did."""
    return JobStatus(job.last_outcome) if job.last_outcome in set(JobStatus) else JobStatus.IDLE


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
    job.results_count += run.accounts_done
    level = LogLevel.INFO if outcome == RunStatus.COMPLETED else LogLevel.WARNING
    words = outcome.value.replace("_", " ")
    record_log_line(session, run.id, level, f"run {words}" + (f": {reason}" if reason else ""), at=now)
    session.flush()
    if run.trigger not in (RunTrigger.RETRY, RunTrigger.TEST):
        supersede_retries(session, job.id, run.id, now)
    plan_retry(session, job, run, now)
    settle_job_status(job, overall_outcome(session, run), has_queued_run=has_queued_run(session, job.id))
    session.flush()
    send_wake(session, Wake.CLAIM)
