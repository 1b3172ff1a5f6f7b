"""Portals: one row per login host, shared by all jobs that sign in there."""

from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.audit import record_audit
from db.errors import PortalNotAuthorisedError
from db.models import Portal


def get_portal(session: Session, host: str) -> Portal | None:
    """The portal of that login host, if any job used it before."""
    return session.scalar(select(Portal).where(Portal.host == host))


def ensure_portal(session: Session, host: str, *, user_id: str, authorised: bool, now: datetime) -> Portal:
    """The portal of that host, made if new.

    Raises PortalNotAuthorisedError unless a person has confirmed, now or before, that they may use it.
    """
    known = get_portal(session, host)
    if known is not None and known.authorised_at is not None:
        return known  # not locked: running imports book their requests in this row
    session.execute(insert(Portal).values(host=host).on_conflict_do_nothing(index_elements=[Portal.host]))
    portal = session.scalars(
        select(Portal)
        .where(Portal.host == host)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()
    if portal.authorised_at is None:
        if not authorised:
            raise PortalNotAuthorisedError(
                f"confirm that you are authorised to use {host} with these accounts (authorised)"
            )
        portal.authorised_at = now
        portal.authorised_by = user_id
        record_audit(session, user_id, "portal authorised", f"portal {host}")
    return portal


def reserve_request(session: Session, portal_id: int) -> float:
    """Take the portal's next request time, shared by all runs and machines; returns seconds to wait for it."""
    spacing = func.make_interval(0, 0, 0, 0, 0, 0, Portal.min_seconds_between_requests)
    clock = func.clock_timestamp()
    reserved = session.execute(
        update(Portal)
        .where(Portal.id == portal_id)
        .values(next_request_at=func.greatest(func.coalesce(Portal.next_request_at, clock), clock) + spacing)
        .returning(func.extract("epoch", Portal.next_request_at - spacing - clock))
        .execution_options(synchronize_session=False)
    ).scalar_one()
    return max(0.0, float(reserved))


def open_breaker(session: Session, portal_id: int, *, reason: str, now: datetime, cool_down: timedelta) -> None:
    """Let no run sign in at this portal until the cool-down is over."""
    session.execute(
        update(Portal)
        .where(Portal.id == portal_id)
        .values(breaker_open_until=now + cool_down, breaker_reason=reason)
        .execution_options(synchronize_session=False)
    )


def try_portal_slot(session: Session, portal_id: int, slot: int) -> bool:
    """Take one of the portal's places for a signed-in account, across runs and machines.

    A session-level advisory lock: the server frees it when the holder's connection ends, however it ends.
    """
    return bool(session.execute(select(func.pg_try_advisory_lock(portal_id, slot))).scalar_one())


def free_portal_slot(session: Session, portal_id: int, slot: int) -> None:
    """Give the place back."""
    session.execute(select(func.pg_advisory_unlock(portal_id, slot)))
