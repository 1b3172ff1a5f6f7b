"""Rows for tests to start from. Each maker flushes, so ids are known; the caller owns the transaction."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy.orm import Session

from db.accounts import NewAccount
from db.calendars import CalendarDraft, create_calendar
from db.encryption import SecretBox
from db.jobs import JobDraft
from db.models import Account, Job, JobStatus, Outage, Portal, Priority, Role, Run, RunStatus, RunTrigger, User, new_id
from db.schedule_periods import begin_period
from db.schedules import Schedule
from db.viewers import Viewer
from recurrence import DayOff

NOW = datetime(2025, 3, 10, 12, 0, tzinfo=UTC)
HOURLY = Schedule("custom", {"cron_expression": "0 * * * *"}, "UTC")
DAILY = Schedule("daily", {"hour": 2, "minute": 0}, "UTC")
EVERY_MINUTE = Schedule("custom", {"cron_expression": "* * * * *"}, "UTC")
PASSWORD = "Right-horse-1"
BOX = SecretBox(("a test key of more than thirty-two characters",))


def make_viewer(session: Session, username: str = "olive", role: Role = Role.OPERATOR) -> Viewer:
    """A user who exists, as the verbs see them. The password hash fits no password."""
    user = User(id=new_id(), username=username, name=username.title(), password_hash="!", role=role)
    session.add(user)
    session.flush()
    return Viewer(user.id, user.username, user.name, role)


def make_portal(session: Session, host: str = "portal.example", **columns: Any) -> Portal:
    """A portal that somebody was authorised to use."""
    portal = Portal(host=host, authorised_by="somebody", authorised_at=NOW)
    for column, value in columns.items():
        setattr(portal, column, value)
    session.add(portal)
    session.flush()
    return portal


def make_job(
    session: Session, viewer: Viewer, *, schedule: Schedule | None = None, accounts: int = 1, **columns: Any
) -> Job:
    """A job with that many accounts. A schedule has its next run at NOW unless told, and is in force; what is tried
    again is tried at once."""
    job = Job(
        id=new_id(),
        user_id=viewer.user_id,
        name="Water bills",
        login_url="https://portal.example/login",
        billing_url="https://portal.example/billing",
        status=JobStatus.IDLE,
        accounts_count=accounts,
        retry_delay_seconds=0,
        created_at=NOW,
        updated_at=NOW,
    )
    if schedule is not None:
        job.is_scheduled = True
        job.schedule_type = schedule.schedule_type
        job.schedule_config = dict(schedule.schedule_config)
        job.time_zone = schedule.time_zone
        job.next_run = NOW
    for column, value in columns.items():
        setattr(job, column, value)
    session.add(job)
    session.flush()
    if schedule is not None and job.is_scheduled and job.paused_at is None and job.next_run is not None:
        begin_period(session, job, job.next_run - timedelta(microseconds=1))
    for row_number in range(2, accounts + 2):
        make_account(session, job, f"account{row_number}@example.com", row_number)
    return job


def make_account(session: Session, job: Job, username: str, row_number: int = 2, *, secret: str = PASSWORD) -> Account:
    """An account of the job; `accounts_count` is the caller's business."""
    account = Account(
        session_id=job.id,
        row_number=row_number,
        username=username,
        secret=BOX.encrypt(secret),
        fingerprint=BOX.fingerprint(secret),
        extra={},
        created_at=job.created_at,
    )
    session.add(account)
    session.flush()
    return account


def make_run(
    session: Session,
    job: Job,
    *,
    trigger: RunTrigger = RunTrigger.MANUAL,
    status: RunStatus = RunStatus.QUEUED,
    at: datetime = NOW,
    **columns: Any,
) -> Run:
    """A run in that status; for a live one the job's status follows, a test's apart. Tests name no true account."""
    run = Run(
        session_id=job.id,
        trigger=trigger,
        status=status,
        queued_at=at,
        run_after=at,
        owner_id=job.user_id,
        portal_id=job.portal_id,
        priority=Priority.SCHEDULE if trigger == RunTrigger.SCHEDULE else Priority.PERSON,
    )
    if trigger == RunTrigger.SCHEDULE:
        run.scheduled_for = at
    if trigger == RunTrigger.RETRY:
        run.account_ids = []
    if trigger == RunTrigger.TEST:
        run.account_ids = [0]
    if status == RunStatus.RUNNING:
        run.worker, run.lease_token, run.lease_until, run.started_at = "w", uuid4(), at + timedelta(seconds=30), at
    elif status != RunStatus.QUEUED:
        run.finished_at = at
    for column, value in columns.items():
        setattr(run, column, value)
    session.add(run)
    session.flush()
    if trigger == RunTrigger.TEST:
        job.test_run_id = run.id if status == RunStatus.RUNNING else job.test_run_id
    elif status in (RunStatus.QUEUED, RunStatus.RUNNING) and job.status != JobStatus.RUNNING:
        job.status = JobStatus(status.value)
    session.flush()
    return run


def make_draft(name: str = "Water bills", *, schedule: Schedule | None = None, accounts: int = 2) -> JobDraft:
    """What `create_job` takes."""
    return JobDraft(
        name=name,
        login_url="https://portal.example/login",
        billing_url="https://portal.example/billing",
        portal_host="portal.example",
        schedule=schedule,
        accounts=[NewAccount(n, f"account{n}@example.com", f"secret-{n}", {}) for n in range(2, accounts + 2)],
    )


def day_off(text: str, until: str | None = None, *, name: str = "Inventory") -> DayOff:
    """A day off from `2025-03-11`, or all days until another one, both included."""
    return DayOff(date.fromisoformat(text), date.fromisoformat(until or text), name)


def make_calendar(session: Session, viewer: Viewer, *days: DayOff, name: str = "Bank holidays", **draft: Any) -> int:
    """A calendar of the viewer's, by its id."""
    return create_calendar(session, viewer, CalendarDraft(name, days, **draft), now=NOW).id


def make_outage(session: Session, began_at: datetime, ended_at: datetime) -> None:
    """Nobody fired in between."""
    session.add(Outage(began_at=began_at, ended_at=ended_at))
    session.flush()
