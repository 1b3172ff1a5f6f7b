"""Figures of each day, by job and by owner: what charts draw, so that they never read the history itself.

A run is counted once, in the transaction that marks it as counted, whichever way it ended; so the figures
are those of the marked rows, exactly, and they stay when the rows are purged. One counter works at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session

from db.jobs import get_job
from db.models import DayOfFigures, JobDay, OwnerDay
from db.viewers import Viewer

BATCH_SIZE = 1000
COUNTER_LOCK = 0x436F756E74  # "Count"
OUTCOMES = ("completed", "partial", "failed", "stopped", "timed_out", "lost", "missed", "skipped")


@dataclass(frozen=True)
class DayFigures:
    """A day's figures; `missed` and `skipped` are occurrences, the other outcomes runs."""

    day: date
    completed: int = 0
    partial: int = 0
    failed: int = 0
    stopped: int = 0
    timed_out: int = 0
    lost: int = 0
    missed: int = 0
    skipped: int = 0
    accounts_succeeded: int = 0
    accounts_failed: int = 0
    bills_new: int = 0
    run_seconds: float = 0.0
    started: int = 0
    lateness_seconds: float = 0.0
    lateness_max_seconds: float = 0.0

    @property
    def runs(self) -> int:
        """Runs that ended this way or that; what was missed or skipped never was one."""
        return sum(getattr(self, outcome) for outcome in OUTCOMES) - self.missed - self.skipped

    @property
    def mean_lateness_seconds(self) -> float | None:
        """None where no run's lateness is known."""
        return self.lateness_seconds / self.started if self.started else None


SUMMED = tuple(field.name for field in fields(DayFigures) if field.name not in ("day", "lateness_max_seconds"))


def count_ended_runs(session: Session, *, limit: int = BATCH_SIZE) -> int:
    """Add up to `limit` ended runs to the figures; returns how many it marked, 0 while another counter is at work.

    A run whose job or owner is just being deleted is left to that deletion.
    """
    if not session.scalar(select(func.pg_try_advisory_xact_lock(COUNTER_LOCK))):
        return 0
    return session.execute(_COUNT, {"limit": limit}).scalar_one()


def list_job_days(session: Session, viewer: Viewer, job_id: str, *, until: date, days: int) -> Sequence[DayFigures]:
    """The job's last `days` days up to `until`, each of them, the oldest first. Raises NotFoundError."""
    job = get_job(session, viewer, job_id)
    query = _select_figures(JobDay).where(JobDay.session_id == job.id)
    return _fill(session, query, JobDay, until, days)


def list_days(session: Session, viewer: Viewer, *, until: date, days: int) -> Sequence[DayFigures]:
    """The last `days` days of all of the viewer's jobs (an admin: of everyone's), the oldest first.

    What deleted jobs did is among them.
    """
    query = _select_figures(OwnerDay)
    if not viewer.is_admin:
        query = query.where(OwnerDay.user_id == viewer.user_id)
    return _fill(session, query, OwnerDay, until, days)


def _select_figures(table: type[JobDay] | type[OwnerDay]) -> Select[Any]:
    sums = [func.sum(getattr(table, name)).label(name) for name in SUMMED]
    latest = func.max(table.lateness_max_seconds).label("lateness_max_seconds")
    return select(table.day, *sums, latest).group_by(table.day)


def _fill(
    session: Session, query: Select[Any], table: type[DayOfFigures], until: date, days: int
) -> Sequence[DayFigures]:
    first = until - timedelta(days=days - 1)
    found = {row.day: _read(row) for row in session.execute(query.where(table.day.between(first, until)))}
    every_day = [first + timedelta(days=number) for number in range(days)]
    return [found.get(day) or DayFigures(day) for day in every_day]


def _read(row: Any) -> DayFigures:
    values: dict[str, Any] = {name: int(getattr(row, name)) for name in SUMMED}  # a sum of bigint comes as numeric
    values |= {name: float(value) for name, value in row._mapping.items() if name.endswith("_seconds")}
    return DayFigures(row.day, **values)


def _add_to(table: str, key: str) -> str:
    """An upsert of the batch's figures by that key and day."""
    # A run that started accounts for one occurrence; one that was missed or skipped may account for many.
    outcomes = ", ".join(f"coalesce(sum(occurrences) FILTER (WHERE status = '{o}'), 0)" for o in OUTCOMES)
    grows = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in SUMMED)
    return f"""
        INSERT INTO {table} ({key}, day, {", ".join(SUMMED)}, lateness_max_seconds)
        SELECT {key}, day, {outcomes},
               sum(accounts_succeeded), sum(accounts_done - accounts_succeeded), sum(bills_new),
               coalesce(sum(round(CAST(extract(epoch FROM finished_at - started_at) AS numeric), 3)), 0),
               count(lateness), coalesce(sum(lateness), 0), coalesce(max(lateness), 0)
        FROM figures GROUP BY {key}, day
        ON CONFLICT ({key}, day) DO UPDATE SET {grows},
            lateness_max_seconds = greatest({table}.lateness_max_seconds, excluded.lateness_max_seconds)
    """  # noqa: S608


# Locks come in the order that a deletion takes them: owner, job, run. What one of them holds is skipped, and a job
# that was locked here first cannot vanish between the mark and the figures.
_COUNT = text(f"""
    WITH batch AS MATERIALIZED (
        SELECT r.id, s.user_id
        FROM import_runs AS r JOIN import_sessions AS s ON s.id = r.session_id JOIN users AS u ON u.id = s.user_id
        WHERE r.finished_at IS NOT NULL AND NOT r.is_counted
        ORDER BY r.id LIMIT :limit
        FOR KEY SHARE OF u, s SKIP LOCKED FOR NO KEY UPDATE OF r SKIP LOCKED
    ), figures AS (
        UPDATE import_runs AS r SET is_counted = true FROM batch AS b WHERE r.id = b.id
        RETURNING r.session_id, b.user_id, r.status, r.occurrences, r.started_at, r.finished_at,
            CAST(coalesce(r.started_at, r.scheduled_for, r.queued_at) AT TIME ZONE 'UTC' AS date) AS day,
            r.accounts_done, r.accounts_succeeded, round(CAST(r.lateness_seconds AS numeric), 3) AS lateness,
            (SELECT coalesce(sum(x.bills_new), 0) FROM import_results AS x WHERE x.run_id = r.id) AS bills_new
    ), by_job AS ({_add_to("daily_figures", "session_id")}), by_owner AS ({_add_to("daily_owner_figures", "user_id")})
    SELECT count(*) FROM figures
""")  # noqa: S608
