"""Retries in words: what one does, will do or did."""

from datetime import datetime
from zoneinfo import ZoneInfo

from db.models import Run, RunStatus
from db.result_words import count_accounts
from db.retries import is_automatic
from ui.moments import exact, relative
from ui.outcomes import RUN_LOOKS


def waits_for_its_time(run: Run) -> bool:
    """Whether it is an automatic retry that has not begun."""
    return run.status == RunStatus.QUEUED and is_automatic(run) and run.started_at is None


def describe_retry_wait(retry: Run, now: datetime) -> str:
    """What a retry that waits will do, and when."""
    when = relative(retry.run_after, now) if retry.run_after > now else "as soon as the job and a slot are free"
    return f"tries {count_accounts(retry.accounts_total)} again {when}"


def describe_retry(retry: Run, max_attempts: int, zone: ZoneInfo, now: datetime) -> str:
    """What a run's retry does, will do or did, in a line of its own."""
    accounts = count_accounts(retry.accounts_total)
    attempt = f"attempt {retry.attempt} of {max(retry.attempt, max_attempts)}"
    if retry.started_at is not None:
        outcome = RUN_LOOKS[retry.status].label.lower()
        return f"{accounts} retried as run {retry.id} on {exact(retry.started_at, zone, now)}, {attempt}: {outcome}"
    if waits_for_its_time(retry):
        return f"Run {retry.id} {describe_retry_wait(retry, now)}, {attempt}"
    if retry.status == RunStatus.QUEUED:
        return f"{accounts} queued as run {retry.id}"
    return f"Run {retry.id} was to retry {accounts}: {retry.reason}"
