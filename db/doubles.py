"""Doubles: what would be there twice if a guard were gone, looked for among the newest rows.

The newest rows are read by their key, so the cost is the same however long the history, and whether or not the
guard's own index is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.viewers import Viewer

NEWEST_ROWS = 10_000
MAX_FINDINGS = 20


@dataclass(frozen=True)
class Finding:
    """Something to look at: a job, its runs that are concerned, an instant, and in words what it is."""

    job_id: str
    job_name: str
    run_ids: Sequence[int]
    at: datetime | None
    words: str


@dataclass(frozen=True)
class Doubles:
    """How many rows were looked at, the oldest of which is of `since`, and what was found; `findings` are the first."""

    checked: int
    since: datetime | None
    count: int
    findings: Sequence[Finding]


def find_occurrences_fired_twice(session: Session, viewer: Viewer) -> Doubles:
    """Rows of one job and instant, and rows whose spans of occurrences overlap."""
    return _find(
        session,
        viewer,
        newest="""
            SELECT id AS run_id, session_id, trigger, scheduled_for, scheduled_until, queued_at AS at
            FROM import_runs ORDER BY id DESC LIMIT :newest
        """,
        doubles="""
            SELECT session_id, array_agg(run_id ORDER BY run_id) AS run_ids, scheduled_for AS at,
                   'fired ' || count(*) || ' times' AS words
            FROM mine WHERE trigger = 'schedule' GROUP BY session_id, scheduled_for HAVING count(*) > 1
            UNION ALL
            SELECT a.session_id, ARRAY[a.run_id, b.run_id], b.scheduled_for, 'counted by two rows'
            FROM mine AS a JOIN mine AS b ON b.session_id = a.session_id
            WHERE a.trigger = 'schedule' AND b.trigger = 'schedule'
              AND b.scheduled_until IS NOT NULL AND b.scheduled_for > a.scheduled_for
              AND b.scheduled_for <= a.scheduled_until
        """,
    )


def find_runs_finished_twice(session: Session, viewer: Viewer) -> Doubles:
    """Runs whose end was written by two of the workers that took them."""
    return _find(
        session,
        viewer,
        newest="""
            SELECT a.run_id, r.session_id, a.outcome, a.started_at AS at
            FROM (SELECT run_id, outcome, started_at FROM run_attempts ORDER BY id DESC LIMIT :newest) AS a
            CROSS JOIN LATERAL (SELECT session_id FROM import_runs WHERE id = a.run_id LIMIT 1) AS r
        """,
        doubles="""
            SELECT session_id, ARRAY[run_id] AS run_ids, max(at) AS at,
                   'finished by ' || count(*) || ' workers' AS words
            FROM mine WHERE outcome <> 'queued' GROUP BY session_id, run_id HAVING count(*) > 1
        """,
    )


def find_accounts_with_two_results(session: Session, viewer: Viewer) -> Doubles:
    """Accounts that have more than one result in a run; those deleted since are nobody's any more."""
    return _find(
        session,
        viewer,
        newest="""
            SELECT n.run_id, n.session_id, r.account_id, r.username, n.at
            FROM (SELECT id AS run_id, session_id, queued_at AS at
                  FROM import_runs ORDER BY id DESC LIMIT :newest) AS n
            CROSS JOIN LATERAL (
                SELECT account_id, username FROM import_results
                WHERE run_id = n.run_id AND account_id IS NOT NULL LIMIT :newest
            ) AS r
            LIMIT :newest
        """,
        doubles="""
            SELECT session_id, ARRAY[run_id] AS run_ids, max(at) AS at,
                   max(username) || ' has ' || count(*) || ' results' AS words
            FROM mine GROUP BY session_id, run_id, account_id HAVING count(*) > 1
        """,
    )


def _find(session: Session, viewer: Viewer, *, newest: str, doubles: str) -> Doubles:
    """`newest` reads rows with a `session_id` and an `at`; `doubles` what is double among `mine`, the viewer's."""
    owned = "" if viewer.is_admin else "JOIN import_sessions AS s ON s.id = n.session_id AND s.user_id = :owner"
    rows = session.execute(
        text(f"""
            WITH newest AS MATERIALIZED ({newest}),
                 mine AS MATERIALIZED (SELECT n.* FROM newest AS n {owned}),
                 doubles AS MATERIALIZED ({doubles})
            SELECT (SELECT count(*) FROM mine) AS checked, (SELECT min(at) FROM newest) AS since,
                   (SELECT count(*) FROM doubles) AS found, d.session_id, j.name, d.run_ids, d.at, d.words
            FROM (VALUES (1)) AS once
            LEFT JOIN (SELECT * FROM doubles ORDER BY run_ids DESC LIMIT :shown) AS d ON true
            LEFT JOIN import_sessions AS j ON j.id = d.session_id
        """),  # noqa: S608 - of constants of this module
        {"newest": NEWEST_ROWS, "shown": MAX_FINDINGS, "owner": viewer.user_id},
    ).all()
    findings = [Finding(r.session_id, r.name, r.run_ids, r.at, r.words) for r in rows if r.session_id is not None]
    return Doubles(rows[0].checked, rows[0].since, rows[0].found, findings)
