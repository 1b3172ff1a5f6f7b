"""The jobs and the portal accounts that they import."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, BigId, Count, Instant, Now, TextId, one_of
from db.models.vocabulary import (
    MAX_ATTEMPTS,
    MAX_MISFIRE_GRACE_SECONDS,
    MAX_RETRY_DELAY_SECONDS,
    AccountStatus,
    CatchUp,
    JobStatus,
    OnHoliday,
    Overlap,
    RunStatus,
    ScheduleType,
)


class Job(Base):
    __tablename__ = "import_sessions"
    __table_args__ = (
        one_of("status", JobStatus),
        one_of("last_outcome", RunStatus),
        one_of("schedule_type", ScheduleType),
        one_of("catch_up", CatchUp),
        one_of("overlap", Overlap),
        one_of("on_holiday", OnHoliday),
        CheckConstraint(
            f"misfire_grace_seconds BETWEEN 1 AND {MAX_MISFIRE_GRACE_SECONDS}", name="misfire_grace_bounded"
        ),
        CheckConstraint(
            "NOT is_scheduled OR (schedule_type IS NOT NULL AND schedule_config IS NOT NULL)",
            name="schedule_complete",
        ),
        CheckConstraint("timeout_seconds BETWEEN 1 AND 604800", name="timeout_bounded"),
        CheckConstraint(f"max_attempts BETWEEN 1 AND {MAX_ATTEMPTS}", name="attempts_bounded"),
        CheckConstraint(f"retry_delay_seconds BETWEEN 0 AND {MAX_RETRY_DELAY_SECONDS}", name="retry_delay_bounded"),
        Index("ix_import_sessions_user_id_created_at", "user_id", "created_at", "id"),
        Index("ix_import_sessions_created_at", "created_at", "id"),
        Index("ix_import_sessions_portal_id", "portal_id"),
        Index(
            "ix_import_sessions_due",
            "next_run",
            postgresql_where=text("is_scheduled AND paused_at IS NULL"),
        ),
        Index(
            "ix_import_sessions_calendar_ids",
            "calendar_ids",
            postgresql_using="gin",
            postgresql_where=text("calendar_ids <> '{}'"),
        ),
        {"comment": "Jobs: portal accounts, where to sign in, where the bills are, and when"},
    )

    id: Mapped[TextId]
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(server_default=text("'{}'"), default=list)
    login_url: Mapped[str]
    billing_url: Mapped[str]
    csv_url: Mapped[str | None] = mapped_column(comment="Where an older system kept the accounts file; unused")
    portal_id: Mapped[int | None] = mapped_column(ForeignKey("portals.id", ondelete="SET NULL"))
    status: Mapped[str] = mapped_column(server_default=JobStatus.IDLE, default=JobStatus.IDLE)
    last_outcome: Mapped[str | None] = mapped_column(comment="How the last run ended")
    last_run_id: Mapped[int | None] = mapped_column(BigInteger, comment="The newest run that started")
    last_run_at: Mapped[Instant | None] = mapped_column(comment="When the newest run started")
    test_run_id: Mapped[int | None] = mapped_column(BigInteger, comment="The sign-in test that is running")
    is_scheduled: Mapped[bool] = mapped_column(server_default=text("false"), default=False)
    schedule_type: Mapped[str | None]
    schedule_config: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    next_run: Mapped[Instant | None] = mapped_column(comment="The next occurrence that has not fired")
    last_scheduled_run: Mapped[Instant | None] = mapped_column(comment="The last occurrence that fired")
    time_zone: Mapped[str] = mapped_column(server_default="UTC", default="UTC", comment="IANA zone of the schedule")
    paused_at: Mapped[Instant | None]
    catch_up: Mapped[str] = mapped_column(server_default=CatchUp.LATEST, default=CatchUp.LATEST)
    overlap: Mapped[str] = mapped_column(server_default=Overlap.SKIP, default=Overlap.SKIP)
    misfire_grace_seconds: Mapped[int | None] = mapped_column(
        comment="An occurrence that has not started by then counts as missed; NULL: however late"
    )
    calendar_ids: Mapped[list[int]] = mapped_column(
        ARRAY(BigInteger), server_default=text("'{}'"), default=list, comment="Calendars whose days off the job keeps"
    )
    on_holiday: Mapped[str] = mapped_column(server_default=OnHoliday.SKIP, default=OnHoliday.SKIP)
    moved_runs: Mapped[list[datetime]] = mapped_column(
        ARRAY(DateTime(timezone=True)),
        server_default=text("'{}'"),
        default=list,
        comment="When occurrences that were moved off a day off are still to run",
    )
    max_attempts: Mapped[int] = mapped_column(server_default=text("3"), default=3)
    retry_delay_seconds: Mapped[int] = mapped_column(server_default=text("60"), default=60)
    timeout_seconds: Mapped[int] = mapped_column(server_default=text("3600"), default=3600)
    notify_on: Mapped[list[str]] = mapped_column(server_default=text("'{}'"), default=list)
    accounts_count: Mapped[Count]
    results_count: Mapped[Count] = mapped_column(BigInteger, comment="Results of all finished runs")
    created_at: Mapped[Now]
    updated_at: Mapped[Now]
    version: Mapped[int] = mapped_column(server_default=text("1"), default=1, comment="Grows with every edit")


class Account(Base):
    __tablename__ = "accounts"
    __table_args__ = (
        one_of("status", AccountStatus),
        Index("uq_accounts_session_id_username", "session_id", text("lower(username)"), unique=True),
        Index("ix_accounts_session_id_row_number", "session_id", "row_number"),
        {"comment": "Portal accounts, one per row of the job's CSV"},
    )

    id: Mapped[BigId]
    session_id: Mapped[str] = mapped_column(ForeignKey("import_sessions.id", ondelete="CASCADE"))
    row_number: Mapped[int] = mapped_column(comment="Line of the CSV, the header being 1")
    username: Mapped[str]
    secret: Mapped[bytes] = mapped_column(LargeBinary, comment="The password, encrypted with PUNCTUAL_SECRET_KEY")
    extra: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"), default=dict)
    fingerprint: Mapped[str] = mapped_column(comment="Keyed hash of the password, to see that it changed")
    status: Mapped[str] = mapped_column(server_default=AccountStatus.READY, default=AccountStatus.READY)
    status_reason: Mapped[str | None]
    last_success_at: Mapped[Instant | None]
    sign_in_run_id: Mapped[int | None] = mapped_column(BigInteger, comment="The run that last sent the password")
    created_at: Mapped[Now]


class SecretKeyMark(Base):
    __tablename__ = "secret_key_mark"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        {"comment": "Tells which key encrypts passwords since keys were last rotated; no row before the first time"},
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    mark: Mapped[str] = mapped_column(comment="Derived from the key, which cannot be told from it")
    set_at: Mapped[Now]
