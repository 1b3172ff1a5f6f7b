"""Portals: one row per login host, shared by all jobs that sign in there."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Select, func, select, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.audit import record_audit
from db.errors import ConflictError, NotAllowedError, NotFoundError, PortalNotAuthorisedError
from db.models import Job, Portal, User
from db.portal_settings import PortalSettings, checked_settings, settings_of
from db.viewers import Viewer
from db.wake import Wake, send_wake

PAGE_SIZE = 50


@dataclass(frozen=True)
class PortalSummary:
    """A portal as a viewer sees it; `jobs` counts those that the viewer sees, `is_shared` tells of others' jobs."""

    portal: Portal
    jobs: int
    is_shared: bool
    authorised_by_name: str | None

    def may_change(self, viewer: Viewer) -> bool:
        """Admins, and operators whose own jobs are the only ones there: a wrong field fails everybody's runs."""
        return viewer.is_admin or (viewer.may_write and not self.is_shared)


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


def list_portals(
    session: Session, viewer: Viewer, *, q: str = "", after_host: str | None = None, limit: int = PAGE_SIZE
) -> tuple[Sequence[PortalSummary], str | None]:
    """A page of the portals that the viewer's jobs use (admins: all), by host; and its last host, if more follow."""
    query = _summaries(viewer)
    if q.strip():
        query = query.where(Portal.host.contains(q.strip().lower(), autoescape=True))
    if after_host is not None:
        query = query.where(Portal.host > after_host)
    rows = [PortalSummary(*row) for row in session.execute(query.order_by(Portal.host).limit(limit + 1))]
    return (rows, None) if len(rows) <= limit else (rows[:limit], rows[limit - 1].portal.host)


def get_portal_summary(session: Session, viewer: Viewer, portal_id: int) -> PortalSummary:
    """One portal that the viewer's jobs use (admins: any). Raises NotFoundError."""
    row = session.execute(_summaries(viewer).where(Portal.id == portal_id)).one_or_none()
    if row is None:
        raise NotFoundError("there is no such portal, or none of your jobs uses it")
    return PortalSummary(*row)


def list_portal_jobs(session: Session, viewer: Viewer, portal_id: int, *, limit: int) -> Sequence[Job]:
    """The viewer's jobs (an admin's: everybody's) that sign in at this portal, by name."""
    query = select(Job).where(Job.portal_id == portal_id)
    if not viewer.is_admin:
        query = query.where(Job.user_id == viewer.user_id)
    return session.scalars(query.order_by(Job.name, Job.id).limit(limit)).all()


def update_portal(
    session: Session, viewer: Viewer, portal_id: int, settings: PortalSettings, *, expected_version: int | None = None
) -> PortalSummary:
    """Replace what was said of the portal; runs that start from now on follow.

    Raises NotFoundError, NotAllowedError, InvalidPortalError, and ConflictError when somebody changed it since that
    version was read.
    """
    summary = _lock_portal(session, viewer, portal_id)
    portal = summary.portal
    if expected_version is not None and portal.version != expected_version:
        raise ConflictError(
            "the settings of this portal were changed meanwhile; reload them and make your change again"
        )
    clean, before = checked_settings(settings), settings_of(portal)
    if clean == before:
        return summary
    for name, value in asdict(clean).items():
        setattr(portal, name, value)
    portal.column_mapping = dict(clean.column_mapping) or None
    portal.version += 1
    session.flush()
    subject = f"portal {portal.host}"
    record_audit(session, viewer.user_id, "portal edited", subject, before=asdict(before), after=asdict(clean))
    send_wake(session, Wake.CLAIM)  # more runs may have room there now
    return summary


def close_breaker(session: Session, viewer: Viewer, portal_id: int, *, now: datetime) -> PortalSummary:
    """Let runs sign in at the portal again before the cool-down is over.

    Raises NotFoundError, NotAllowedError, and ConflictError when the breaker is not open.
    """
    summary = _lock_portal(session, viewer, portal_id)
    portal = summary.portal
    if portal.breaker_open_until is None or portal.breaker_open_until <= now:
        raise ConflictError("the breaker of this portal is not open")
    before = {"open_until": portal.breaker_open_until.isoformat(), "reason": portal.breaker_reason}
    portal.breaker_open_until = portal.breaker_reason = None
    session.flush()
    record_audit(session, viewer.user_id, "portal breaker closed", f"portal {portal.host}", before=before)
    return summary


def _summaries(viewer: Viewer) -> Select[Portal, int, bool, str]:
    theirs = Job.user_id == viewer.user_id
    seen = true() if viewer.is_admin else theirs
    jobs = select(func.count()).select_from(Job).where(Job.portal_id == Portal.id, seen).scalar_subquery()
    is_shared = select(Job.id).where(Job.portal_id == Portal.id, ~theirs).exists()
    query = select(Portal, jobs, is_shared, User.name).outerjoin(User, User.id == Portal.authorised_by)
    if viewer.is_admin:
        return query
    return query.where(Portal.id.in_(select(Job.portal_id).where(theirs)))


def _lock_portal(session: Session, viewer: Viewer, portal_id: int) -> PortalSummary:
    session.execute(select(Portal.id).where(Portal.id == portal_id).with_for_update(key_share=True))
    summary = get_portal_summary(session, viewer, portal_id)
    if not viewer.may_write:
        raise NotAllowedError
    if not summary.may_change(viewer):
        raise NotAllowedError("jobs of other people use this portal too, so only admins may change it")
    session.refresh(summary.portal)
    return summary
