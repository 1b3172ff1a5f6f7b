"""Figures of each day, which outlive the runs they were counted from."""

from datetime import date

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Count, Instant, Seconds, one_of
from db.models.vocabulary import History


class DayOfFigures:
    """What a day (UTC) of runs comes to; a run belongs to the day on which it started, or was due if it did not."""

    day: Mapped[date] = mapped_column(primary_key=True, comment="UTC")
    completed: Mapped[Count]
    partial: Mapped[Count]
    failed: Mapped[Count]
    stopped: Mapped[Count]
    timed_out: Mapped[Count]
    lost: Mapped[Count]
    missed: Mapped[Count] = mapped_column(comment="Occurrences, not rows")
    skipped: Mapped[Count] = mapped_column(comment="Occurrences, not rows")
    accounts_succeeded: Mapped[Count] = mapped_column(BigInteger)
    accounts_failed: Mapped[Count] = mapped_column(BigInteger)
    bills_new: Mapped[Count] = mapped_column(BigInteger)
    run_seconds: Mapped[Seconds] = mapped_column(comment="From start to end, of all runs that started")
    started: Mapped[Count] = mapped_column(comment="Runs whose lateness is known")
    lateness_seconds: Mapped[Seconds] = mapped_column(comment="Of all these runs together")
    lateness_max_seconds: Mapped[Seconds]


class JobDay(DayOfFigures, Base):
    __tablename__ = "daily_figures"
    __table_args__ = ({"comment": "A job's runs by day, counted once each; kept when the runs are purged"},)

    session_id: Mapped[str] = mapped_column(
        ForeignKey("import_sessions.id", ondelete="CASCADE"), primary_key=True, sort_order=-1
    )


class OwnerDay(DayOfFigures, Base):
    __tablename__ = "daily_owner_figures"
    __table_args__ = ({"comment": "The runs of all of a user's jobs by day, deleted jobs included"},)

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, sort_order=-1)


class RetentionMark(Base):
    __tablename__ = "retention_marks"
    __table_args__ = (
        one_of("history", History),
        {"comment": "Up to when the purge has removed history, so that nobody takes it for lost"},
    )

    history: Mapped[str] = mapped_column(primary_key=True)
    kept_since: Mapped[Instant] = mapped_column(comment="What ended before this instant may have been removed")
