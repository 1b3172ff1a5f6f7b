"""Retention: old runs and log lines are removed, a small batch a transaction, and what went is remembered.

A purge walks the primary key from the oldest row on, so that no batch reads what an earlier one has read.
It waits for nobody: rows that others hold are left to the next walk, and one purge works at a time.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import History, RetentionMark

BATCH_ROWS = 1000
BATCH_RESULTS = 5000  # a run may bring 10,000 results, which go with it
PURGE_LOCK = 0x5075726765  # "Purge"
WAITS_AT_MOST = "500ms"


@dataclass(frozen=True)
class PurgedBatch:
    """How many rows went, and where the next batch starts; None when nothing old is left."""

    removed: int
    last_id: int | None


def purge_runs(session: Session, *, before: datetime, after_id: int = 0, limit: int = BATCH_ROWS) -> PurgedBatch:
    """Remove runs that ended before that instant, with their results and log; bills stay.

    A job's newest run stays whatever its age, as do runs that the daily figures do not hold yet.
    """
    if not _take_turn(session):
        return PurgedBatch(0, None)
    page = {"after": after_id, "before": before, "limit": limit, "most_results": BATCH_RESULTS}
    last_id, has_old = session.execute(_PAGE_OF_RUNS, page).one()
    if not has_old:
        return PurgedBatch(0, None)
    removed = session.execute(_DELETE_RUNS, {"after": after_id, "last": last_id, "before": before}).scalar_one()
    _mark(session, History.RUNS, before, removed)
    return PurgedBatch(removed, last_id)


def purge_log(session: Session, *, before: datetime, after_id: int = 0, limit: int = BATCH_ROWS) -> PurgedBatch:
    """Remove log lines older than that instant, save for those of runs that have not ended."""
    if not _take_turn(session):
        return PurgedBatch(0, None)
    last_id, has_old = session.execute(_PAGE_OF_LOG, {"after": after_id, "before": before, "limit": limit}).one()
    if not has_old:
        return PurgedBatch(0, None)
    removed = session.execute(_DELETE_LOG, {"after": after_id, "last": last_id, "before": before}).scalar_one()
    _mark(session, History.LOG, before, removed)
    return PurgedBatch(removed, last_id)


def get_kept_since(session: Session, history: History) -> datetime | None:
    """Before this instant history may be missing because it was purged; None when none was."""
    return session.scalar(select(RetentionMark.kept_since).where(RetentionMark.history == history))


def _take_turn(session: Session) -> bool:
    session.execute(select(func.set_config("lock_timeout", WAITS_AT_MOST, True)))
    return bool(session.scalar(select(func.pg_try_advisory_xact_lock(PURGE_LOCK))))


def _mark(session: Session, history: History, before: datetime, removed: int) -> None:
    if not removed:
        return
    mark = insert(RetentionMark).values(history=history, kept_since=before)
    session.execute(
        mark.on_conflict_do_update(
            index_elements=[RetentionMark.history],
            set_={"kept_since": func.greatest(RetentionMark.kept_since, mark.excluded.kept_since)},
        )
    )


# Ids grow with queued_at and at, so a page without an old row ends the walk.
_PAGE_OF_RUNS = text("""
    SELECT max(id), coalesce(bool_or(queued_at < :before), false)
    FROM (
        SELECT id, queued_at, row_number() OVER w AS position, sum(accounts_done) OVER w AS results
        FROM (SELECT id, queued_at, accounts_done FROM import_runs WHERE id > :after ORDER BY id LIMIT :limit) AS page
        WINDOW w AS (ORDER BY id)
    ) AS page
    WHERE position = 1 OR results <= :most_results
""")
_PAGE_OF_LOG = text("""
    SELECT max(id), coalesce(bool_or(at < :before), false)
    FROM (SELECT id, at FROM run_log WHERE id > :after ORDER BY id LIMIT :limit) AS page
""")
# The job is locked as well: whoever deletes it waits here, and not for rows that wait for its own.
_DELETE_RUNS = text("""
    WITH old AS MATERIALIZED (
        SELECT r.id
        FROM import_runs AS r JOIN import_sessions AS s ON s.id = r.session_id
        WHERE r.id > :after AND r.id <= :last AND r.finished_at < :before AND r.is_counted
          AND s.last_run_id IS DISTINCT FROM r.id
        FOR KEY SHARE OF s SKIP LOCKED FOR UPDATE OF r SKIP LOCKED
    ), gone AS (DELETE FROM import_runs WHERE id IN (SELECT id FROM old) RETURNING id)
    SELECT count(*) FROM gone
""")
_DELETE_LOG = text("""
    WITH old AS MATERIALIZED (
        SELECT l.id
        FROM run_log AS l JOIN import_runs AS r ON r.id = l.run_id
        WHERE l.id > :after AND l.id <= :last AND l.at < :before AND r.finished_at IS NOT NULL
        FOR UPDATE OF l SKIP LOCKED
    ), gone AS (DELETE FROM run_log WHERE id IN (SELECT id FROM old) RETURNING id)
    SELECT count(*) FROM gone
""")
