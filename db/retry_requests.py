"""Retries as people see them: ask for one, call off one that waits, and what became of a run's failed accounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.accounts import list_unfinished_account_ids
from db.audit import record_audit
from db.errors import ConflictError
from db.jobs import lock_job
from db.models import LIVE_RUN_STATUSES, RETRYABLE_RESULTS, Job, JobStatus, Priority, Run, RunTrigger
from db.result_words import describe_failures
from db.results import count_results
from db.retries import (
    CUT_SHORT,
    is_automatic,
    list_retryable_accounts,
    make_retry,
    stop_waiting_retries,
    supersede_retries,
)
from db.runs import get_run
from db.viewers import Viewer
from db.wake import Wake, send_wake


@dataclass(frozen=True)
class RetryOutlook:
    """The retries of a run, oldest first, and how many of its accounts a person may have tried again now.

    Of these, the run did not come to `untried`, because it was cut short.
    """

    retries: Sequence[Run]
    retryable: int
    untried: int


def request_retry(session: Session, viewer: Viewer, run_id: int, *, now: datetime) -> Run:
    """Queue a run of the accounts that failed in an ended run for a passing reason, or that it did not come to.

    Takes the place of the run's automatic retry, if that still waits, and begins with a first attempt of its own.
    Raises NotFoundError, NotAllowedError, and ConflictError when there is nothing to retry or it is not the time.
    """
    _, job = get_run(session, viewer, run_id)
    job = lock_job(session, viewer, job.id)
    run = session.scalars(select(Run).where(Run.id == run_id).execution_options(populate_existing=True)).one()
    _require_retryable_state(session, job, run)
    failed, untried = _list_accounts(session, run)
    account_ids = [*failed, *untried]
    if not account_ids:
        raise ConflictError(_explain_nothing(session, run))
    retry = make_retry(job, run, account_ids, now, priority=Priority.PERSON)
    retry.requested_by = viewer.user_id
    session.add(retry)
    job.status = JobStatus.QUEUED
    session.flush()
    supersede_retries(session, job.id, retry.id, now, of_run=run.id)
    after = {"run": retry.id, "accounts_of_run": run.id}
    record_audit(session, viewer.user_id, "retry requested", f"job {job.id}", after=after)
    send_wake(session, Wake.CLAIM)
    return retry


def cancel_retry(session: Session, viewer: Viewer, run_id: int, *, now: datetime) -> Run:
    """Call off an automatic retry that has not begun. Raises ConflictError when it has, or is no such thing."""
    _, job = get_run(session, viewer, run_id)
    lock_job(session, viewer, job.id)
    if not stop_waiting_retries(session, job.id, "called off before it began", now, only=run_id):
        raise ConflictError(f"run {run_id} is no retry that waits; to end a run, stop it")
    record_audit(session, viewer.user_id, "retry called off", f"job {job.id}", after={"run": run_id})
    return session.get_one(Run, run_id, populate_existing=True)


def list_retries(session: Session, run: Run) -> Sequence[Run]:
    """The retries of a run that the caller was allowed to read, oldest first."""
    return session.scalars(select(Run).where(Run.parent_run_id == run.id).order_by(Run.id)).all()


def look_out_for_retry(session: Session, run: Run) -> RetryOutlook:
    """The retries of a run that the caller was allowed to read, and what is left to retry."""
    retries = list_retries(session, run)
    is_open = run.status not in LIVE_RUN_STATUSES and not any(_has_counted(retry) for retry in retries)
    if not is_open:
        return RetryOutlook(retries, 0, 0)
    failed, untried = _list_accounts(session, run)
    return RetryOutlook(retries, len(failed) + len(untried), len(untried))


def _require_retryable_state(session: Session, job: Job, run: Run) -> None:
    if run.status in LIVE_RUN_STATUSES:
        raise ConflictError(f"run {run.id} is still {run.status}; wait for its end or stop it")
    if job.status in (JobStatus.QUEUED, JobStatus.RUNNING):
        raise ConflictError(f"a run of this job is already {job.status}")
    retries = session.scalars(select(Run).where(Run.parent_run_id == run.id).order_by(Run.id.desc()))
    successor = next(filter(_has_counted, retries), None)
    if successor is not None:
        raise ConflictError(f"run {run.id} was retried as run {successor.id} already; retry what is left of that one")


def _has_counted(retry: Run) -> bool:
    """Whether this retry has taken over the accounts: it has begun, or a person has asked for it and it is queued."""
    return retry.started_at is not None or (retry.status in LIVE_RUN_STATUSES and not is_automatic(retry))


def _list_accounts(session: Session, run: Run) -> tuple[Sequence[int], Sequence[int]]:
    """Those that failed for a passing reason, and those that a run which was cut short did not come to."""
    if run.started_at is None or run.trigger == RunTrigger.TEST:
        return (), ()
    untried = list_unfinished_account_ids(session, run) if run.status in CUT_SHORT else ()
    return list_retryable_accounts(session, run, with_untried=False), untried


def _explain_nothing(session: Session, run: Run) -> str:
    if run.started_at is None:
        return f"run {run.id} never began, so no account failed in it; run the job instead"
    if run.trigger == RunTrigger.TEST:
        return "a sign-in test cannot be retried; test the sign-in again"
    counts = count_results(session, run.id)
    if set(counts) & set(RETRYABLE_RESULTS):
        return "the accounts that failed are no longer in the job"
    failures = describe_failures(counts)
    if not failures:
        return f"no account failed in run {run.id}"
    return f"a retry cannot mend what failed in run {run.id}: {failures}"
