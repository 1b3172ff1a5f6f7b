"""The gate of a portal: who may send something to it, and when. Held across runs, processes and machines.

The database is the only clock: runs on machines whose clocks differ wait for the same instants.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import case, func, or_, select, update
from sqlalchemy.orm import Session

from db.errors import LeaseLostError
from db.models import Account, Portal, Run, RunStatus

MAX_REST = timedelta(hours=24)  # a portal that asks for more is asked again after that


@dataclass(frozen=True)
class PortalState:
    """What keeps all runs from a portal, and for how many seconds from when it was read."""

    breaker_open_until: datetime | None = None
    breaker_reason: str | None = None
    retry_after_at: datetime | None = None
    rest_seconds: float = 0.0

    @property
    def is_breaker_open(self) -> bool:
        return self.breaker_open_until is not None


OPEN = PortalState()


def read_portal_state(session: Session, portal_id: int) -> PortalState:
    """How the portal stands at this moment; what is over is None."""
    clock = func.clock_timestamp()
    row = session.execute(
        select(
            case((Portal.breaker_open_until > clock, Portal.breaker_open_until)),
            Portal.breaker_reason,
            case((Portal.retry_after_at > clock, Portal.retry_after_at)),
            func.extract("epoch", Portal.retry_after_at - clock),
        ).where(Portal.id == portal_id)
    ).one_or_none()
    if row is None:
        return OPEN
    open_until, reason, retry_after_at, rest = row
    return PortalState(open_until, reason, retry_after_at, max(0.0, float(rest or 0)))


def reserve_requests(session: Session, portal_id: int, count: int) -> Sequence[float] | None:
    """Book the portal's next request times, that many; returns the seconds to wait for each.

    None, and nothing booked, while the portal has asked to be left alone.
    """
    spacing = func.make_interval(0, 0, 0, 0, 0, 0, Portal.min_seconds_between_requests)
    clock = func.clock_timestamp()
    row = session.execute(
        update(Portal)
        .where(Portal.id == portal_id, or_(Portal.retry_after_at.is_(None), Portal.retry_after_at <= clock))
        .values(next_request_at=func.greatest(func.coalesce(Portal.next_request_at, clock), clock) + count * spacing)
        .returning(
            func.extract("epoch", Portal.next_request_at - count * spacing - clock), Portal.min_seconds_between_requests
        )
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    first, seconds = float(row[0]), float(row[1])
    return [max(0.0, first + n * seconds) for n in range(count)]


def postpone_requests(session: Session, portal_id: int, seconds: float) -> None:
    """Nobody sends a request for that long, at most 24 hours: the portal asked for it. It only ever grows."""
    rest = func.make_interval(0, 0, 0, 0, 0, 0, min(seconds, MAX_REST.total_seconds()))
    until = func.clock_timestamp() + rest
    session.execute(
        update(Portal)
        .where(Portal.id == portal_id)
        .values(retry_after_at=func.greatest(func.coalesce(Portal.retry_after_at, until), until))
        .execution_options(synchronize_session=False)
    )


def begin_sign_ins(session: Session, run_id: int, lease_token: UUID, account_ids: Collection[int]) -> set[int]:
    """Note that this run sends these accounts' passwords now; returns those for which it had not done so yet.

    An account whose attempt was cut short is thus known to have had it. Raises LeaseLostError.
    """
    mine = select(Run.id).where(Run.id == run_id, Run.lease_token == lease_token, Run.status == RunStatus.RUNNING)
    if session.execute(mine).one_or_none() is None:
        raise LeaseLostError
    noted = session.scalars(
        update(Account)
        .where(Account.id.in_(account_ids), Account.sign_in_run_id.is_distinct_from(run_id))
        .values(sign_in_run_id=run_id)
        .returning(Account.id)
        .execution_options(synchronize_session=False)
    )
    return set(noted)


def try_portal_slot(session: Session, portal_id: int, slot: int) -> bool:
    """Take one of the portal's places for a signed-in account, across runs and machines.

    A session-level advisory lock: the server frees it when the holder's connection ends, however it ends.
    """
    return bool(session.execute(select(func.pg_try_advisory_lock(portal_id, slot))).scalar_one())


def free_portal_slot(session: Session, portal_id: int, slot: int) -> None:
    """Give the place back."""
    session.execute(select(func.pg_advisory_unlock(portal_id, slot)))
