"""Wake-ups for scheduler_service by LISTEN/NOTIFY.

A wake-up is a hint: it is sent when the transaction commits, may be lost with a connection, and every
step that it triggers is also run by a poll.
"""

from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

CHANNEL = "punctual"


class Wake(StrEnum):
    """What changed, as the notification's payload."""

    FIRE = "fire"
    CLAIM = "claim"
    STOP = "stop"


def send_wake(session: Session, what: Wake) -> None:
    """Tell every scheduler_service, once this transaction commits."""
    session.execute(select(func.pg_notify(CHANNEL, what.value)))
