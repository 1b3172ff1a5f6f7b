"""How many wrong sign-ins are borne: per username and per address, in the database, for all processes.

Only refused sign-ins are counted. After the allowance each further one doubles the wait.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from db.errors import PunctualError
from db.models import SignInAttempt

WINDOW = timedelta(minutes=15)
FAILURES_PER_USERNAME = 5
FAILURES_PER_ADDRESS = 50
FIRST_WAIT = timedelta(seconds=30)
MAX_USERNAME_LENGTH = 254

_LOCK_SEED = 0x516E1  # keeps these advisory locks apart from others


class TooManyAttemptsError(PunctualError):
    """Too many wrong sign-ins for this username or from this address; try again after a wait."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"too many wrong sign-ins; try again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True)
class _Failures:
    count: int
    last_at: datetime | None


def check_sign_in_allowed(session: Session, username: str, ip: str, now: datetime) -> None:
    """Raise TooManyAttemptsError while the username or the address has to wait."""
    name = normalise_username(username)
    by_name = _failures(session, now, SignInAttempt.username == name)
    by_address = _failures(session, now, SignInAttempt.ip == ip)
    free_at = max(
        _free_at(by_name, FAILURES_PER_USERNAME, now),
        _free_at(by_address, FAILURES_PER_ADDRESS, now),
    )
    if free_at > now:
        raise TooManyAttemptsError(math.ceil((free_at - now).total_seconds()))


def lock_sign_in_attempts(session: Session, username: str) -> None:
    """Let sign-ins of this username be judged one at a time, until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(normalise_username(username), _LOCK_SEED))))


def record_sign_in_failure(session: Session, username: str, ip: str, now: datetime) -> None:
    """Count a refused sign-in."""
    session.add(SignInAttempt(at=now, username=normalise_username(username), ip=ip))
    session.flush()


def clear_sign_in_failures(session: Session, username: str) -> None:
    """Forget a username's failures, after it signed in. The address keeps its own."""
    session.execute(delete(SignInAttempt).where(SignInAttempt.username == normalise_username(username)))


def purge_sign_in_attempts(session: Session, now: datetime) -> int:
    """Delete what no longer counts; returns how many rows."""
    return len(
        session.scalars(delete(SignInAttempt).where(SignInAttempt.at <= now - WINDOW).returning(SignInAttempt.id)).all()
    )


def normalise_username(username: str) -> str:
    """The spelling under which attempts are counted; whatever was typed becomes storable."""
    if not is_storable(username):
        username = username.encode("utf-8", "replace").decode().replace("\x00", "?")
    return username.strip().lower()[:MAX_USERNAME_LENGTH]


def is_storable(text: str) -> bool:
    """Whether Postgres can hold the text: no NUL, no half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _failures(session: Session, now: datetime, criterion: ColumnElement[bool]) -> _Failures:
    row = session.execute(
        select(func.count(), func.max(SignInAttempt.at)).where(criterion, SignInAttempt.at > now - WINDOW)
    ).one()
    return _Failures(row[0], row[1])


def _free_at(failures: _Failures, allowance: int, now: datetime) -> datetime:
    if failures.last_at is None or failures.count < allowance:
        return now
    doublings = min(failures.count - allowance, 16)
    return failures.last_at + min(FIRST_WAIT * 2**doublings, WINDOW)
