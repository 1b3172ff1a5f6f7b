"""Runs as people see them: ask for one, stop one, read the history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.audit import record_audit
from db.errors import ConflictError, NotFoundError
from db.jobs import get_job, lock_job, settle_job_status
from db.models import LIVE_RUN_STATUSES, Job, JobStatus, LogLevel, Priority, Run, RunStatus, RunTrigger
from db.run_log import record_log_line
from db.viewers import Viewer
from db.wake import Wake, send_wake

PAGE_SIZE = 50
NEWEST_RUNS = 1000


@dataclass(frozen=True)
class RecentLateness:
    """Of the newest 1,000 runs: how late the last that started was, how many started, and how many of those late."""

    last_seconds: float | None
    started: int
    late: int


def request_run(session: Session, viewer: Viewer, job_id: str, *, trigger: RunTrigger, now: datetime) -> Run:
    """Queue a run now. Raises ConflictError when one is queued or running already."""
    job = lock_job(session, viewer, job_id)
    if job.status in (JobStatus.QUEUED, JobStatus.RUNNING):
        raise ConflictError(f"a run of this job is already {job.status}")
    if job.accounts_count == 0:
        raise ConflictError("this job has no accounts; upload its accounts CSV first")
    run = Run(
        session_id=job.id,
        trigger=trigger,
        status=RunStatus.QUEUED,
        queued_at=now,
        run_after=now,
        requested_by=viewer.user_id,
        owner_id=job.user_id,
        portal_id=job.portal_id,
        priority=Priority.PERSON,
    )
    session.add(run)
    job.status = JobStatus.QUEUED
    session.flush()
    record_audit(session, viewer.user_id, "run requested", f"job {job.id}", after={"run": run.id})
    send_wake(session, Wake.CLAIM)
    return run


def request_stop(session: Session, viewer: Viewer, job_id: str, *, now: datetime) -> Run:
    """Stop the job's live run: a queued one ends at once, a running one within seconds.

    Raises ConflictError when nothing is queued or running.
    """
    job = lock_job(session, viewer, job_id)
    had_its_turn = job.status in (JobStatus.QUEUED, JobStatus.RUNNING)  # else only a retry waits for its time
    runs = session.scalars(
        select(Run)
        .where(Run.session_id == job.id, Run.status.in_(LIVE_RUN_STATUSES))
        .order_by(Run.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    if not runs:
        raise ConflictError("no run of this job is queued or running")
    for run in runs:
        run.stop_requested_at = run.stop_requested_at or now
        if run.status == RunStatus.QUEUED:
            run.status = RunStatus.STOPPED
            run.finished_at = now
            run.reason = "stopped on request while it was queued"
            job.results_count += run.accounts_done if run.trigger != RunTrigger.TEST else 0
            record_log_line(session, run.id, LogLevel.WARNING, f"run {run.reason}", at=now)
    session.flush()
    if had_its_turn and all(run.status == RunStatus.STOPPED or run.trigger == RunTrigger.TEST for run in runs):
        settle_job_status(job, RunStatus.STOPPED, has_queued_run=False)
    record_audit(session, viewer.user_id, "stop requested", f"job {job.id}", after={"runs": [r.id for r in runs]})
    send_wake(session, Wake.STOP)
    return next((r for r in runs if r.status == RunStatus.RUNNING), runs[-1])


def get_run(session: Session, viewer: Viewer, run_id: int) -> tuple[Run, Job]:
    """The run and its job, if they are the viewer's to see. Raises NotFoundError."""
    query = select(Run, Job).join(Job, Job.id == Run.session_id).where(Run.id == run_id)
    if not viewer.is_admin:
        query = query.where(Job.user_id == viewer.user_id)
    row = session.execute(query).one_or_none()
    if row is None:
        raise NotFoundError("there is no such run, or it belongs to someone else")
    return row[0], row[1]


def list_runs(
    session: Session, viewer: Viewer, job_id: str, *, before_id: int | None = None, limit: int = PAGE_SIZE
) -> tuple[Sequence[Run], int | None]:
    """A page of the job's runs, newest first, and the id that the next page starts before. Raises NotFoundError."""
    job = get_job(session, viewer, job_id)
    query = select(Run).where(Run.session_id == job.id)
    if before_id is not None:
        query = query.where(Run.id < before_id)
    rows = session.scalars(query.order_by(Run.id.desc()).limit(limit + 1)).all()
    return (rows, None) if len(rows) <= limit else (rows[:limit], rows[limit - 1].id)


def measure_lateness(session: Session, *, late_after: timedelta) -> RecentLateness:
    """How late the newest runs began; cheap, however long the history."""
    newest = select(Run.id, Run.lateness_seconds).order_by(Run.id.desc()).limit(NEWEST_RUNS).subquery()
    started = newest.c.lateness_seconds
    last = select(started).where(started.is_not(None)).order_by(newest.c.id.desc()).limit(1).scalar_subquery()
    is_late = started > late_after.total_seconds()
    row = session.execute(select(last, func.count(started), func.count().filter(is_late)).select_from(newest)).one()
    return RecentLateness(*row)


def count_live_runs(session: Session) -> dict[str, int]:
    """How many runs of all jobs are queued and running, by status."""
    query = select(Run.status, func.count()).where(Run.status.in_(LIVE_RUN_STATUSES)).group_by(Run.status)
    return dict(session.execute(query).all())
