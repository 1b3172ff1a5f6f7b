"""The log of a run, line by line, for people. Callers never pass a secret."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import LogLevel, RunLogLine
from db.row_sets import insert_rows
from db.storable_text import storable

MAX_MESSAGE_CHARACTERS = 1000


@dataclass(frozen=True)
class LogLine:
    """One line that is yet to be stored."""

    at: datetime
    level: LogLevel
    message: str
    account_id: int | None = None


def record_log_line(session: Session, run_id: int, level: LogLevel, message: str, *, at: datetime) -> None:
    """Store one line."""
    record_log_lines(session, run_id, [LogLine(at, level, message)])


def record_log_lines(session: Session, run_id: int, lines: Sequence[LogLine]) -> None:
    """Store lines in their order.

    Several processes of a run write at the same time. A line must not become visible before one with a smaller id: who
    reads on after the last line that he saw would miss it.
    """
    if not lines:
        return
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"punctual log of run {run_id}", 0))))
    rows = [
        {
            "run_id": run_id,
            "at": line.at,
            "level": line.level,
            "account_id": line.account_id,
            "message": storable(line.message[:MAX_MESSAGE_CHARACTERS]),
        }
        for line in lines
    ]
    insert_rows(session, RunLogLine, rows)


def list_log_lines(session: Session, run_id: int, *, after_id: int = 0, limit: int = 500) -> Sequence[RunLogLine]:
    """Lines of a run that the caller was allowed to read, oldest first, after the given line."""
    return session.scalars(
        select(RunLogLine)
        .where(RunLogLine.run_id == run_id, RunLogLine.id > after_id)
        .order_by(RunLogLine.id)
        .limit(limit)
    ).all()


def list_newest_log_lines(session: Session, run_id: int, *, limit: int = 200) -> Sequence[RunLogLine]:
    """The newest lines of a run, oldest first."""
    rows = session.scalars(
        select(RunLogLine).where(RunLogLine.run_id == run_id).order_by(RunLogLine.id.desc()).limit(limit)
    ).all()
    return list(reversed(rows))
