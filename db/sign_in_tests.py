"""Tests of the sign-in: a run of one chosen account that a person asked for, and what it saw at the portal.

A test takes its turn among the job's runs and never overlaps one. It is beside the job otherwise: it leaves the job's
status, last run and figures alone, so an occurrence that falls due meanwhile is not skipped but waits for its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.accounts import get_account
from db.audit import record_audit
from db.errors import ConflictError
from db.jobs import lock_job
from db.models import LIVE_RUN_STATUSES, Account, Job, Portal, Priority, Run, RunStatus, RunTrigger, SignInSample
from db.storable_text import storable
from db.viewers import Viewer
from db.wake import Wake, send_wake

START_WITHIN = timedelta(minutes=15)  # whoever asked has gone by then, and must not be surprised by a sign-in
MAX_TESTS = 3  # of one account, within
TESTS_WITHIN = timedelta(minutes=10)
SAMPLE_ROWS = 10


@dataclass(frozen=True)
class BillSample:
    """The bill table that a test saw: the texts of its header cells and of its first rows, as they stood."""

    run_id: int
    username: str | None
    taken_at: datetime
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def request_test_sign_in(session: Session, viewer: Viewer, job_id: str, account_id: int, *, now: datetime) -> Run:
    """Queue a run that signs in to this account, an account that is left alone included, and stores no bill.

    Raises NotFoundError, NotAllowedError, and ConflictError while another test of the job is under way, while the
    portal's breaker is open, and when the account was tested too often just now: portals lock such accounts.
    """
    job = lock_job(session, viewer, job_id)
    account = get_account(session, job, account_id)
    _require_no_test(session, job)
    _require_closed_breaker(session, job, now)
    _require_rest(session, job, account, now)
    run = Run(
        session_id=job.id,
        trigger=RunTrigger.TEST,
        status=RunStatus.QUEUED,
        account_ids=[account.id],
        accounts_total=1,
        queued_at=now,
        run_after=now,
        start_by=now + START_WITHIN,
        requested_by=viewer.user_id,
        owner_id=job.user_id,
        portal_id=job.portal_id,
        priority=Priority.PERSON,
        is_counted=True,  # the daily figures tell of imports
    )
    session.add(run)
    session.flush()
    after = {"run": run.id, "account": account.id}
    record_audit(session, viewer.user_id, "sign-in test requested", f"job {job.id}", after=after)
    send_wake(session, Wake.CLAIM)
    return run


def record_bill_sample(
    session: Session,
    run_id: int,
    account_id: int,
    *,
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    now: datetime,
) -> None:
    """Keep what a test saw, in place of what it saw before it was interrupted."""
    portal_id = session.scalar(select(Job.portal_id).join(Run, Run.session_id == Job.id).where(Run.id == run_id))
    if portal_id is None:
        return  # the portal has no page on which anybody could look at it
    seen = {
        "portal_id": portal_id,
        "account_id": account_id,
        "taken_at": now,
        "headers": [storable(text) for text in headers],
        "rows": [[storable(text) for text in row] for row in rows[:SAMPLE_ROWS]],
    }
    statement = insert(SignInSample).values(run_id=run_id, **seen)
    session.execute(statement.on_conflict_do_update(index_elements=[SignInSample.run_id], set_=seen))


def get_bill_sample(session: Session, viewer: Viewer, portal_id: int) -> BillSample | None:
    """The newest that tests of the viewer's jobs (an admin's: of anybody's) saw at this portal."""
    query = (
        select(SignInSample, Account.username)
        .join(Run, Run.id == SignInSample.run_id)
        .join(Job, Job.id == Run.session_id)
        .outerjoin(Account, Account.id == SignInSample.account_id)
        .where(SignInSample.portal_id == portal_id)
    )
    if not viewer.is_admin:
        query = query.where(Job.user_id == viewer.user_id)
    row = session.execute(query.order_by(SignInSample.run_id.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    sample, username = row
    return BillSample(sample.run_id, username, sample.taken_at, sample.headers, sample.rows)


def _require_no_test(session: Session, job: Job) -> None:
    live = select(Run.id).where(Run.status.in_(LIVE_RUN_STATUSES), *_tests_of(job)).limit(1)
    run_id = session.scalar(live)
    if run_id is not None:
        raise ConflictError(f"a sign-in test of this job is under way (run {run_id}); wait for its end or stop it")


def _require_closed_breaker(session: Session, job: Job, now: datetime) -> None:
    portal = session.get(Portal, job.portal_id, populate_existing=True) if job.portal_id is not None else None
    if portal is not None and portal.breaker_open_until is not None and portal.breaker_open_until > now:
        raise ConflictError(
            f"{portal.host} is left alone until {portal.breaker_open_until:%d %b %H:%M} UTC:"
            f" {portal.breaker_reason}; test the sign-in after that"
        )


def _require_rest(session: Session, job: Job, account: Account, now: datetime) -> None:
    """Tests are for settings of the portal, not for finding a password out."""
    tested = and_(*_tests_of(job), Run.started_at > now - TESTS_WITHIN, Run.account_ids.contains([account.id]))
    started = session.scalars(select(Run.started_at).where(tested).order_by(Run.started_at)).all()
    earliest = next(iter(started), None)
    if earliest is not None and len(started) >= MAX_TESTS:
        minutes = int(TESTS_WITHIN.total_seconds() // 60)
        raise ConflictError(
            f"this account was tested {len(started)} times within {minutes} minutes, and portals lock accounts that"
            f" are tried too often; test it again after {earliest + TESTS_WITHIN:%H:%M} UTC"
        )


def _tests_of(job: Job) -> tuple[ColumnElement[bool], ...]:
    return Run.session_id == job.id, Run.trigger == RunTrigger.TEST
