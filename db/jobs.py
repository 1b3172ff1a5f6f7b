"""Jobs: create, read, edit, pause, delete. Every verb takes the viewer and touches only what is theirs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from db.accounts import AccountChanges, NewAccount, replace_accounts
from db.audit import record_audit
from db.encryption import SecretBox
from db.errors import ConflictError, NotAllowedError, NotFoundError
from db.job_lists import visible_jobs
from db.models import Job, JobStatus, Portal, Run, RunStatus, new_id
from db.orphaned_files import record_orphaned_files
from db.portals import ensure_portal
from db.retries import DEFAULT_RETRY_POLICY, RetryPolicy, stop_waiting_retries
from db.schedules import (
    DEFAULT_POLICY,
    RunPolicy,
    Schedule,
    apply_policy,
    pause_schedule,
    resume_schedule,
    set_schedule,
)
from db.viewers import Viewer
from db.wake import Wake, send_wake

RETRY_COLUMNS = ("max_attempts", "retry_delay_seconds")
POLICY_COLUMNS = ("catch_up", "overlap", "misfire_grace_seconds", "calendar_ids", "on_holiday")


@dataclass(frozen=True)
class JobDraft:
    """Everything a new job needs, checked except for what only the database knows."""

    name: str
    login_url: str
    billing_url: str
    portal_host: str
    schedule: Schedule | None
    accounts: Sequence[NewAccount] = field(repr=False)
    policy: RunPolicy = DEFAULT_POLICY
    retries: RetryPolicy = DEFAULT_RETRY_POLICY
    timeout_seconds: int = 3600


def create_job(
    session: Session, viewer: Viewer, draft: JobDraft, box: SecretBox, *, authorised: bool, now: datetime
) -> Job:
    """Store a job with its accounts and, when scheduled, its first occurrence.

    Raises NotAllowedError, PortalNotAuthorisedError, recurrence.InvalidScheduleError.
    """
    _require_writer(viewer)
    portal = ensure_portal(session, draft.portal_host, user_id=viewer.user_id, authorised=authorised, now=now)
    job = Job(
        id=new_id(),
        user_id=viewer.user_id,
        name=draft.name,
        login_url=draft.login_url,
        billing_url=draft.billing_url,
        portal_id=portal.id,
        status=JobStatus.IDLE,
        time_zone=draft.schedule.time_zone if draft.schedule else viewer.time_zone or "UTC",
        timeout_seconds=draft.timeout_seconds,
        max_attempts=draft.retries.max_attempts,
        retry_delay_seconds=draft.retries.retry_delay_seconds,
        created_at=now,
        updated_at=now,
    )
    apply_policy(session, job, draft.policy)
    session.add(job)
    session.flush()
    set_schedule(session, job, draft.schedule, now)
    replace_accounts(session, job, draft.accounts, box)
    record_audit(session, viewer.user_id, "job created", f"job {job.id}", after=_audited(job))
    send_wake(session, Wake.FIRE)
    return job


def get_job(session: Session, viewer: Viewer, job_id: str) -> Job:
    """The job, if it is the viewer's to see. Raises NotFoundError."""
    job = session.scalar(visible_jobs(viewer).where(Job.id == job_id))
    if job is None:
        raise NotFoundError("there is no such job, or it belongs to someone else")
    return job


def get_job_portal(session: Session, job: Job) -> Portal | None:
    """The portal of a job that the caller was allowed to read."""
    return session.get(Portal, job.portal_id) if job.portal_id is not None else None


def update_job(
    session: Session,
    viewer: Viewer,
    job_id: str,
    *,
    now: datetime,
    name: str | None = None,
    login_url: str | None = None,
    billing_url: str | None = None,
    portal_host: str | None = None,
    timeout_seconds: int | None = None,
    policy: RunPolicy | None = None,
    retries: RetryPolicy | None = None,
    expected_version: int | None = None,
    authorised: bool = False,
) -> Job:
    """Change a job's details; what is None stays.

    Raises ConflictError when somebody edited the job since `expected_version` was read.
    """
    job = lock_job(session, viewer, job_id)
    _require_version(job, expected_version)
    before = _audited(job)
    changes = {
        "name": name,
        "login_url": login_url,
        "billing_url": billing_url,
        "timeout_seconds": timeout_seconds,
        "max_attempts": retries and retries.max_attempts,
        "retry_delay_seconds": retries and retries.retry_delay_seconds,
    }
    for column, value in changes.items():
        if value is not None:
            setattr(job, column, value)
    if portal_host is not None:
        portal = ensure_portal(session, portal_host, user_id=viewer.user_id, authorised=authorised, now=now)
        _move_to_portal(session, job, portal)
    if policy is not None:
        apply_policy(session, job, policy)
    _touch(session, viewer, job, "job edited", before, now)
    return job


def update_schedule(
    session: Session,
    viewer: Viewer,
    job_id: str,
    schedule: Schedule | None,
    *,
    now: datetime,
    expected_version: int | None = None,
) -> Job:
    """Give the job another schedule, or none; the next run is the first occurrence after now.

    A paused job stays paused. Raises ConflictError, recurrence.InvalidScheduleError.
    """
    job = lock_job(session, viewer, job_id)
    _require_version(job, expected_version)
    before = _audited(job)
    set_schedule(session, job, schedule, now)
    _touch(session, viewer, job, "schedule edited", before, now)
    send_wake(session, Wake.FIRE)
    return job


def update_accounts(
    session: Session,
    viewer: Viewer,
    job_id: str,
    rows: Sequence[NewAccount],
    box: SecretBox,
    *,
    now: datetime,
    expected_version: int | None = None,
) -> AccountChanges:
    """Replace the job's accounts; see `accounts.replace_accounts`.

    Raises ConflictError while a run is in progress, or when somebody changed the job since `expected_version` was read.
    """
    job = lock_job(session, viewer, job_id)
    _require_version(job, expected_version)
    if _is_at_work(job):
        raise ConflictError("a run is in progress; stop it or wait for its end before replacing the accounts")
    changes = replace_accounts(session, job, rows, box)
    _touch(session, viewer, job, f"accounts replaced ({len(rows)})", None, now)
    return changes


def pause_job(session: Session, viewer: Viewer, job_id: str, *, now: datetime) -> Job:
    """Let nothing run by itself until the job is resumed, automatic retries included; a run in progress goes on."""
    job = lock_job(session, viewer, job_id)
    if not job.is_scheduled:
        raise ConflictError("this job has no schedule to pause")
    if job.paused_at is None:
        before = _audited(job)
        pause_schedule(session, job, now)
        stop_waiting_retries(session, job.id, "the job was paused before this retry began", now)
        _touch(session, viewer, job, "job paused", before, now)
    return job


def resume_job(session: Session, viewer: Viewer, job_id: str, *, now: datetime) -> Job:
    """Let the schedule fire again, from the first occurrence after now: resuming never runs anything at once.

    Raises recurrence.InvalidScheduleError when it was paused because it cannot be read, and still cannot.
    """
    job = lock_job(session, viewer, job_id)
    if job.paused_at is not None:
        before = _audited(job)
        resume_schedule(session, job, now)
        _touch(session, viewer, job, "job resumed", before, now)
        send_wake(session, Wake.FIRE)
    return job


def delete_job(session: Session, viewer: Viewer, job_id: str) -> None:
    """Delete the job with its accounts, runs and bills; the scheduler removes the files of its bills a day later.

    Raises ConflictError while a run is in progress.
    """
    job = lock_job(session, viewer, job_id)
    if _is_at_work(job):
        raise ConflictError("a run is in progress; stop it, then delete the job")
    record_audit(session, viewer.user_id, "job deleted", f"job {job.id}", before=_audited(job))
    record_orphaned_files(session, job.id)
    session.execute(delete(Job).where(Job.id == job.id))


def lock_job(session: Session, viewer: Viewer, job_id: str) -> Job:
    """The job, locked for a change. Raises NotFoundError, NotAllowedError."""
    query = visible_jobs(viewer).where(Job.id == job_id).with_for_update(key_share=True)
    job = session.scalar(query.execution_options(populate_existing=True))
    if job is None:
        raise NotFoundError("there is no such job, or it belongs to someone else")
    _require_writer(viewer)
    return job


def settle_job_status(job: Job, outcome: RunStatus, *, has_queued_run: bool) -> None:
    """Write how a run ended into its job, in the run's own transaction."""
    job.last_outcome = outcome
    job.status = JobStatus.QUEUED if has_queued_run else JobStatus(outcome.value)


def _require_writer(viewer: Viewer) -> None:
    if not viewer.may_write:
        raise NotAllowedError


def _is_at_work(job: Job) -> bool:
    """Whether one of its runs, or a test of its sign-in, is running."""
    return job.status == JobStatus.RUNNING or job.test_run_id is not None


def _require_version(job: Job, expected: int | None) -> None:
    if expected is not None and job.version != expected:
        raise ConflictError("this job was changed meanwhile; reload it and make your change again")


def _touch(
    session: Session, viewer: Viewer, job: Job, action: str, before: dict[str, Any] | None, now: datetime
) -> None:
    job.version += 1
    job.updated_at = now
    session.flush()
    record_audit(session, viewer.user_id, action, f"job {job.id}", before=before, after=_audited(job))


def _move_to_portal(session: Session, job: Job, portal: Portal) -> None:
    """The job's queued runs go along; a running one ends where it began."""
    if job.portal_id != portal.id:
        job.portal_id = portal.id
        queued = update(Run).where(Run.session_id == job.id, Run.status == RunStatus.QUEUED)
        session.execute(queued.values(portal_id=portal.id).execution_options(synchronize_session="fetch"))
        send_wake(session, Wake.CLAIM)


def _audited(job: Job) -> dict[str, Any]:
    columns = ("name", "login_url", "billing_url", "is_scheduled", "schedule_type", "schedule_config", "time_zone")
    values = {c: getattr(job, c) for c in (*columns, *POLICY_COLUMNS, *RETRY_COLUMNS)}
    return values | {"paused": job.paused_at is not None, "next_run": job.next_run and job.next_run.isoformat()}
