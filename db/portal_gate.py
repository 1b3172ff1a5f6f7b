"""The gate of a portal: who may send something to it, and when. Held across runs, processes and machines.

The database is the only clock: runs on machines whose clocks differ wait for the same instants.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import case, func, or_, select, text, update
from sqlalchemy.orm import Session

from db.array_literals import int_array
from db.errors import LeaseLostError
from db.models import Portal, Run, RunStatus

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


def begin_sign_ins(
    session: Session, portal_id: int, run_id: int, lease_token: UUID, account_ids: Iterable[int]
) -> tuple[PortalState, set[int] | None]:
    """Note that this run sends these accounts' passwords now; returns those for which it had not done so yet.

    An account whose attempt was cut short is thus known to have had it. None, and nothing noted, while the portal is
    to be left alone: then the state says why. Raises LeaseLostError.
    """
    row = session.execute(
        _BEGIN_SIGN_INS,
        {"portal_id": portal_id, "run_id": run_id, "lease_token": lease_token, "ids": int_array(account_ids)},
    ).one()
    if not row.is_mine:
        raise LeaseLostError
    state = PortalState(row.breaker_open_until, row.breaker_reason, row.retry_after_at, max(0.0, float(row.rest or 0)))
    return state, set(row.noted) if row.may_go else None


# One statement, since each account of a run waits for it.
_BEGIN_SIGN_INS = text("""
    WITH mine AS (
        SELECT 1 FROM import_runs WHERE id = :run_id AND lease_token = :lease_token AND status = 'running'
    ), portal AS (
        SELECT CASE WHEN breaker_open_until > clock_timestamp() THEN breaker_open_until END AS breaker_open_until,
               breaker_reason,
               CASE WHEN retry_after_at > clock_timestamp() THEN retry_after_at END AS retry_after_at,
               EXTRACT(epoch FROM retry_after_at - clock_timestamp()) AS rest
        FROM portals WHERE id = :portal_id
    ), gate AS (
        SELECT EXISTS (SELECT FROM mine) AS is_mine,
               NOT EXISTS (
                   SELECT FROM portal WHERE breaker_open_until IS NOT NULL OR retry_after_at IS NOT NULL
               ) AS may_go
    ), noted AS (
        UPDATE accounts SET sign_in_run_id = :run_id
        FROM gate
        WHERE accounts.id = ANY(CAST(:ids AS bigint[])) AND sign_in_run_id IS DISTINCT FROM :run_id
            AND gate.is_mine AND gate.may_go
        RETURNING accounts.id
    )
    SELECT gate.is_mine, gate.may_go, ARRAY(SELECT id FROM noted) AS noted, portal.*
    FROM gate LEFT JOIN portal ON true
""")


def has_other_run(session: Session, portal_id: int, run_id: int) -> bool:
    """Whether another run is at work at the portal."""
    others = select(Run.id).where(Run.status == RunStatus.RUNNING, Run.portal_id == portal_id, Run.id != run_id)
    return session.execute(select(others.exists())).scalar_one()


def try_portal_slots(session: Session, portal_id: int, slots: Iterable[int], *, wanted: int) -> list[int]:
    """Take so many of the portal's places for signed-in accounts, across runs and machines; those that were free.

    Session-level advisory locks: the server frees them when the holder's connection ends, however it ends.
    """
    free = text("SELECT slot FROM unnest(CAST(:slots AS int[])) AS slot WHERE pg_try_advisory_lock(:id, slot) LIMIT :n")
    return list(session.scalars(free, {"slots": int_array(slots), "id": portal_id, "n": wanted}))


def free_portal_slots(session: Session, portal_id: int, slots: Iterable[int]) -> None:
    """Give the places back."""
    unlock = text("SELECT pg_advisory_unlock(:id, slot) FROM unnest(CAST(:slots AS int[])) AS slot")
    session.execute(unlock, {"slots": int_array(slots), "id": portal_id})
