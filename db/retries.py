"""Retries: which accounts of a run that ended are tried again, when, and by which run.

A retry is a run of its own, linked to the one before it, that signs in to the accounts listed in its row and to no
others. An automatic one is queued in the transaction in which the run before it ends. Until a worker takes it, it
is nobody's turn: it neither makes its job `queued` nor keeps an occurrence or a person from running the job, and
the next whole run makes it needless.

The callers hold the lock of the job.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from db.accounts import list_unfinished_account_ids
from db.models import (
    MAX_RETRY_DELAY_SECONDS,
    RETRYABLE_RESULTS,
    SUCCEEDED_RESULTS,
    Cause,
    Job,
    LogLevel,
    Portal,
    Priority,
    Result,
    Run,
    RunStatus,
    RunTrigger,
)
from db.result_words import count_accounts
from db.run_log import record_log_line

JITTER = 0.2  # a fifth more or less
RETRIED_OUTCOMES = (RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.TIMED_OUT)
CUT_SHORT = (RunStatus.FAILED, RunStatus.STOPPED, RunStatus.TIMED_OUT, RunStatus.LOST)
SPREAD = 2654435769  # 2**32 divided by the golden ratio


@dataclass(frozen=True)
class RetryPolicy:
    """How often a job's work is attempted, and how long it rests after the first failure."""

    max_attempts: int = 3
    retry_delay_seconds: int = 60


DEFAULT_RETRY_POLICY = RetryPolicy()


def retry_policy_of(job: Job) -> RetryPolicy:
    """The job's policy as it stands."""
    return RetryPolicy(job.max_attempts, job.retry_delay_seconds)


def retry_delay(delay_seconds: int, failed_attempt: int, run_id: int) -> timedelta:
    """How long to rest after that attempt failed: twice as long each time, at most 6 hours, a fifth more or less.

    The deviation comes from the run's number by multiples of the golden ratio: runs that failed together are spread
    more evenly than by chance, and everybody can compute when one is due.
    """
    seconds = min(delay_seconds * 2 ** (failed_attempt - 1), MAX_RETRY_DELAY_SECONDS)
    share = run_id * SPREAD % 2**32 / 2**32
    return timedelta(seconds=seconds * (1 + JITTER * (2 * share - 1)))


def is_waiting_retry() -> ColumnElement[bool]:
    """Whether a run is an automatic retry that no worker has taken yet."""
    return and_(
        Run.status == RunStatus.QUEUED,
        Run.trigger == RunTrigger.RETRY,
        Run.requested_by.is_(None),
        Run.started_at.is_(None),
    )


def is_jobs_turn() -> ColumnElement[bool]:
    """Whether a run is queued and makes its job so: sign-in tests do not, nor automatic retries before they begin."""
    return and_(Run.status == RunStatus.QUEUED, Run.trigger != RunTrigger.TEST, ~is_waiting_retry())


def is_automatic(run: Run) -> bool:
    """Whether nobody asked for this retry."""
    return run.trigger == RunTrigger.RETRY and run.requested_by is None


def has_queued_run(session: Session, job_id: str) -> bool:
    """Whether a run of the job waits for its turn."""
    query = select(Run.id).where(Run.session_id == job_id, is_jobs_turn())
    return session.execute(select(query.exists())).scalar_one()


def get_waiting_retry(session: Session, job_id: str) -> Run | None:
    """The job's automatic retry that is due first, of those that wait."""
    query = select(Run).where(Run.session_id == job_id, is_waiting_retry()).order_by(Run.run_after, Run.id).limit(1)
    return session.scalar(query)


def list_retryable_accounts(session: Session, run: Run, *, with_untried: bool) -> list[int]:
    """The accounts of an ended run that may do better next time, in the order of the CSV.

    Those that failed for a passing reason, and if wanted those that the run did not come to.
    """
    failed = select(Result.account_id).where(
        Result.run_id == run.id, Result.status.in_(RETRYABLE_RESULTS), Result.account_id.is_not(None)
    )
    found = [i for i in session.scalars(failed.order_by(Result.row_number, Result.id)) if i is not None]
    return [*found, *list_unfinished_account_ids(session, run)] if with_untried else found


def plan_retry(session: Session, job: Job, run: Run, now: datetime) -> Run | None:
    """Queue the automatic retry of a run that has just ended; None when there is nothing to retry or no attempt left.

    A run that was ended by its time limit goes on with what it did not come to. One that somebody asked to stop, as
    it came to its own end, is not tried again. While the job is paused nothing runs by itself.
    """
    if run.status not in RETRIED_OUTCOMES or run.trigger == RunTrigger.TEST or run.stop_requested_at is not None:
        return None
    if run.attempt >= job.max_attempts or job.paused_at is not None:
        return None
    account_ids = list_retryable_accounts(session, run, with_untried=run.status == RunStatus.TIMED_OUT)
    if not account_ids:
        return None
    retry = make_retry(job, run, account_ids, now, priority=Priority.BACKGROUND)
    retry.attempt = run.attempt + 1
    retry.run_after = _end_of_rest(session, job, now) + retry_delay(job.retry_delay_seconds, run.attempt, run.id)
    session.add(retry)
    session.flush()
    record_log_line(
        session,
        run.id,
        LogLevel.INFO,
        f"run {retry.id} tries {count_accounts(len(account_ids))} again, "
        f"not before {retry.run_after:%d %b %H:%M:%S} UTC (attempt {retry.attempt} of {job.max_attempts})",
        at=now,
    )
    return retry


def make_retry(job: Job, run: Run, account_ids: Sequence[int], now: datetime, *, priority: Priority) -> Run:
    """A queued run of these accounts of an earlier run, not stored yet."""
    return Run(
        session_id=job.id,
        parent_run_id=run.id,
        trigger=RunTrigger.RETRY,
        status=RunStatus.QUEUED,
        queued_at=now,
        run_after=now,
        account_ids=list(account_ids),
        accounts_total=len(account_ids),
        owner_id=job.user_id,
        portal_id=job.portal_id,
        priority=priority,
    )


def supersede_retries(
    session: Session, job_id: str, successor_id: int, now: datetime, *, of_run: int | None = None
) -> None:
    """End the automatic retries that wait, all of the job's or those of one run: another run did their work."""
    mine = Run.session_id == job_id if of_run is None else and_(Run.session_id == job_id, Run.parent_run_id == of_run)
    reason = f"superseded by run {successor_id}"
    _end_waiting(session, mine, now, status=RunStatus.SKIPPED, cause=Cause.SUPERSEDED, reason=reason)


def stop_waiting_retries(
    session: Session, job_id: str, reason: str, now: datetime, *, only: int | None = None
) -> Sequence[int]:
    """End the job's automatic retries that wait, or only this one, because a person does not want them; which."""
    mine = Run.session_id == job_id if only is None else and_(Run.session_id == job_id, Run.id == only)
    return _end_waiting(session, mine, now, status=RunStatus.STOPPED, reason=reason)


def overall_outcome(session: Session, run: Run) -> RunStatus:
    """How a job stands after that run: a retry's accounts count together with those of the runs that it retried.

    So a job whose retry mended all that it could is completed only if no account failed for another reason.
    """
    outcome = RunStatus(run.status)
    if run.parent_run_id is None or outcome not in (RunStatus.COMPLETED, RunStatus.PARTIAL, RunStatus.FAILED):
        return outcome
    statuses = set(session.scalars(_last_statuses(run.id)))
    succeeded = statuses & set(SUCCEEDED_RESULTS)
    if not statuses or not succeeded:
        return outcome
    return RunStatus.COMPLETED if statuses == succeeded else RunStatus.PARTIAL


def _last_statuses(run_id: int) -> Select[str]:
    """The last result of each account in the chain of runs that ends with this one."""
    chain = select(Run.id, Run.parent_run_id).where(Run.id == run_id).cte("chain", recursive=True)
    chain = chain.union_all(select(Run.id, Run.parent_run_id).where(Run.id == chain.c.parent_run_id))
    last = (
        select(Result.status)
        .where(Result.run_id.in_(select(chain.c.id)), Result.account_id.is_not(None))
        .ext(distinct_on(Result.account_id))
        .order_by(Result.account_id, Result.run_id.desc())
        .subquery()
    )
    return select(last.c.status).distinct()


def _end_of_rest(session: Session, job: Job, now: datetime) -> datetime:
    """When the job's portal may be visited again, if that is later than now."""
    until = func.greatest(Portal.breaker_open_until, Portal.retry_after_at)
    rests_until = session.scalar(select(until).where(Portal.id == job.portal_id))
    return now if rests_until is None else max(now, rests_until)


def _end_waiting(
    session: Session,
    mine: ColumnElement[bool],
    now: datetime,
    *,
    status: RunStatus,
    reason: str,
    cause: Cause | None = None,
) -> Sequence[int]:
    ended = session.scalars(
        update(Run)
        .where(mine, is_waiting_retry())
        .values(status=status, cause=cause, reason=reason, finished_at=now)
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    ).all()
    for run_id in ended:
        record_log_line(session, run_id, LogLevel.INFO, f"run {status}: {reason}", at=now)
    return ended
