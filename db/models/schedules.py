"""What bears on when jobs run: past schedules, calendars, outages."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, Integer, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, BigId, Instant, Now, one_of
from db.models.vocabulary import ScheduleType


class SchedulePeriod(Base):
    __tablename__ = "schedule_periods"
    __table_args__ = (
        one_of("schedule_type", ScheduleType),
        CheckConstraint("ends_at >= starts_at", name="ends_after_start"),
        Index("uq_schedule_periods_open", "session_id", unique=True, postgresql_where=text("ends_at IS NULL")),
        Index("ix_schedule_periods_session_id_starts_at", "session_id", "starts_at"),
        {"comment": "Which schedule was in force when; the ledger expects occurrences by it"},
    )

    id: Mapped[BigId]
    session_id: Mapped[str] = mapped_column(ForeignKey("import_sessions.id", ondelete="CASCADE"))
    starts_at: Mapped[Instant] = mapped_column(comment="The first occurrence comes after this instant")
    ends_at: Mapped[Instant | None] = mapped_column(comment="The last one comes at it or before; NULL while in force")
    schedule_type: Mapped[str]
    schedule_config: Mapped[dict[str, Any]]
    time_zone: Mapped[str]


class Calendar(Base):
    __tablename__ = "calendars"
    __table_args__ = (
        Index("uq_calendars_name", text("lower(name)"), unique=True),
        CheckConstraint("subdivision IS NULL OR country IS NOT NULL", name="subdivision_of_a_country"),
        CheckConstraint("weekend <@ ARRAY[0, 1, 2, 3, 4, 5, 6]", name="weekend_of_weekdays"),
        {"comment": "Named days on which jobs that keep them do not run"},
    )

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(comment="Unique in any case; everybody who signs in may choose it")
    user_id: Mapped[str | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL"), comment="Who may change it, beside admins"
    )
    time_zone: Mapped[str | None] = mapped_column(comment="IANA zone of the dates; NULL: each job's own")
    weekend: Mapped[list[int]] = mapped_column(
        ARRAY(Integer), server_default=text("'{0,6}'"), comment="No working days either; 0 = Sunday"
    )
    country: Mapped[str | None] = mapped_column(comment="ISO 3166 code: its public holidays belong to the calendar")
    subdivision: Mapped[str | None] = mapped_column(comment="Code of a part of the country")
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
    version: Mapped[int] = mapped_column(server_default=text("1"), default=1, comment="Grows with every edit")


class CalendarDay(Base):
    __tablename__ = "calendar_days"
    __table_args__ = (
        CheckConstraint("ends_on >= starts_on", name="ends_after_start"),
        Index("ix_calendar_days_calendar_id_starts_on", "calendar_id", "starts_on"),
        {"comment": "Dates and ranges of dates of the calendars"},
    )

    id: Mapped[BigId]
    calendar_id: Mapped[int] = mapped_column(ForeignKey("calendars.id", ondelete="CASCADE"))
    starts_on: Mapped[date]
    ends_on: Mapped[date] = mapped_column(comment="The last day, included")
    name: Mapped[str]


class Outage(Base):
    __tablename__ = "scheduler_outages"
    __table_args__ = ({"comment": "When no scheduler_service fired for longer than it may take"},)

    began_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), primary_key=True, comment="End of the last fire pass before"
    )
    ended_at: Mapped[Instant] = mapped_column(comment="Start of the first fire pass after")
