"""Lists of jobs and what is counted in them. No page reads all jobs, however many there are and whoever asks.

What an index does not answer by itself, a search or a status that few jobs have, looks through so many jobs at a time,
newest first, and the next page goes on behind them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from db.models import LIVE_RUN_STATUSES, Job, Run, User
from db.viewers import Viewer

PAGE_SIZE = 50
LOOKED_THROUGH = 5_000  # jobs that a page looks at: a few milliseconds


@dataclass(frozen=True)
class JobCursor:
    """The last job that a page looked at; the next page starts after it."""

    created_at: datetime
    id: str


@dataclass(frozen=True)
class JobCounts:
    """Jobs by status, of the newest LOOKED_THROUGH ones; `is_all` when there are no others."""

    by_status: Mapping[str, int]
    is_all: bool


def list_jobs(
    session: Session,
    viewer: Viewer,
    *,
    q: str = "",
    status: str | None = None,
    cursor: JobCursor | None = None,
    limit: int = PAGE_SIZE,
) -> tuple[Sequence[Job], JobCursor | None]:
    """A page of the viewer's jobs, newest first, and the cursor of the next page if there may be one.

    A search or a status may leave a page short, or empty, though there is a next one: it goes on looking.
    """
    reach = _newest_first(_after(visible_jobs(viewer), cursor))
    if status in LIVE_RUN_STATUSES:  # few of many jobs, which the indexes of live runs find at once
        live = select(Run.session_id).where(Run.status == status)
        reach = reach.where(Job.id.in_(live), Job.status == status)
        status = None
    pattern = q.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    if not pattern and not status:
        return _cut(session.scalars(reach.limit(limit + 1)).all(), limit)
    looked_at = aliased(Job, reach.limit(LOOKED_THROUGH).subquery())
    query = select(looked_at).order_by(looked_at.created_at.desc(), looked_at.id.desc())
    if pattern:
        query = query.where(or_(looked_at.name.ilike(f"%{pattern}%"), looked_at.login_url.ilike(f"%{pattern}%")))
    if status:
        query = query.where(looked_at.status == status)
    jobs, following = _cut(session.scalars(query.limit(limit + 1)).all(), limit)
    return jobs, following or _end_of_reach(session, reach)


def count_jobs_by_status(session: Session, viewer: Viewer) -> JobCounts:
    """How many of the viewer's jobs are in each status, among the newest ones."""
    newest = _newest_first(visible_jobs(viewer)).with_only_columns(Job.status).limit(LOOKED_THROUGH).subquery()
    counts = dict(session.execute(select(newest.c.status, func.count()).group_by(newest.c.status)).all())
    return JobCounts(counts, is_all=sum(counts.values()) < LOOKED_THROUGH)


def count_all_jobs_by_status(session: Session) -> dict[str, int]:
    """How many jobs are in each status. Reads every job, for monitors that ask once a minute: 0.6 s a million."""
    return dict(session.execute(select(Job.status, func.count()).group_by(Job.status)).all())


def list_owner_names(session: Session, user_ids: set[str]) -> dict[str, str]:
    """Names of the jobs' owners, for admins who see everyone's."""
    return dict(session.execute(select(User.id, User.name).where(User.id.in_(user_ids))).all())


def visible_jobs(viewer: Viewer) -> Select[Job]:
    """The jobs that are the viewer's to see."""
    query = select(Job)
    return query if viewer.is_admin else query.where(Job.user_id == viewer.user_id)


def _after(query: Select[Job], cursor: JobCursor | None) -> Select[Job]:
    return query.where(tuple_(Job.created_at, Job.id) < (cursor.created_at, cursor.id)) if cursor else query


def _newest_first(query: Select[Job]) -> Select[Job]:
    return query.order_by(Job.created_at.desc(), Job.id.desc())


def _cut(rows: Sequence[Job], limit: int) -> tuple[Sequence[Job], JobCursor | None]:
    """At most so many rows, and where those behind them begin when there are more."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], JobCursor(rows[limit - 1].created_at, rows[limit - 1].id)


def _end_of_reach(session: Session, reach: Select[Job]) -> JobCursor | None:
    """The last job that was looked at, when there are others behind it."""
    ends = reach.with_only_columns(Job.created_at, Job.id).offset(LOOKED_THROUGH - 1).limit(2)
    found = session.execute(ends).all()
    return JobCursor(found[0].created_at, found[0].id) if len(found) == 2 else None
