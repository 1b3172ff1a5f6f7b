"""The runs: claims, log lines and a result per account."""

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Double, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, BigId, Count, Instant, Now, TextId, one_of, sql_list
from db.models.vocabulary import (
    ATTEMPT_OUTCOMES,
    FINAL_RUN_STATUSES,
    LIVE_RUN_STATUSES,
    Cause,
    LogLevel,
    Priority,
    ResultCause,
    ResultStatus,
    RunStatus,
    RunTrigger,
)


class Run(Base):
    __tablename__ = "import_runs"
    __table_args__ = (
        one_of("status", RunStatus),
        one_of("trigger", RunTrigger),
        one_of("cause", Cause),
        CheckConstraint("trigger <> 'schedule' OR scheduled_for IS NOT NULL", name="scheduled_for_known"),
        CheckConstraint(
            f"(status IN ({sql_list(FINAL_RUN_STATUSES)})) = (finished_at IS NOT NULL)", name="finished_at_when_final"
        ),
        CheckConstraint(
            "(status = 'running') = (lease_until IS NOT NULL AND lease_token IS NOT NULL)", name="lease_when_running"
        ),
        CheckConstraint("status <> 'running' OR (worker IS NOT NULL AND started_at IS NOT NULL)", name="worker_known"),
        CheckConstraint("status <> 'queued' OR worker IS NULL", name="queued_has_no_worker"),
        CheckConstraint("attempt >= 1", name="attempt_counts_from_one"),
        CheckConstraint("trigger <> 'retry' OR account_ids IS NOT NULL", name="retry_names_its_accounts"),
        CheckConstraint(
            "trigger <> 'test' OR (account_ids IS NOT NULL AND cardinality(account_ids) = 1)",
            name="test_names_its_account",
        ),
        CheckConstraint(
            f"status NOT IN ({sql_list(LIVE_RUN_STATUSES)}) OR owner_id IS NOT NULL", name="live_has_owner"
        ),
        CheckConstraint(f"priority BETWEEN {min(Priority)} AND {max(Priority)}", name="priority_known"),
        Index(
            "uq_import_runs_occurrence",
            "session_id",
            "scheduled_for",
            unique=True,
            postgresql_where=text("trigger = 'schedule'"),
        ),
        Index("ix_import_runs_moved_to", "session_id", "moved_to", postgresql_where=text("moved_to IS NOT NULL")),
        Index(
            "ix_import_runs_scheduled_until",
            "session_id",
            "scheduled_until",
            postgresql_where=text("scheduled_until IS NOT NULL"),
        ),
        Index("uq_import_runs_running", "session_id", unique=True, postgresql_where=text("status = 'running'")),
        Index("ix_import_runs_queued", "session_id", "priority", "id", postgresql_where=text("status = 'queued'")),
        Index(
            "ix_import_runs_delayed", "run_after", postgresql_where=text("status = 'queued' AND run_after > queued_at")
        ),
        Index(
            "ix_import_runs_start_by",
            "start_by",
            postgresql_where=text("status = 'queued' AND started_at IS NULL AND start_by IS NOT NULL"),
        ),
        Index(
            "ix_import_runs_turns",
            "owner_id",
            text("coalesce(portal_id, 0)"),
            "priority",
            "run_after",
            "id",
            postgresql_where=text("status = 'queued'"),
        ),
        Index("ix_import_runs_leases", "lease_until", postgresql_where=text("status = 'running'")),
        Index("ix_import_runs_session_id_id", "session_id", text("id DESC")),
        Index("ix_import_runs_parent_run_id", "parent_run_id", postgresql_where=text("parent_run_id IS NOT NULL")),
        Index("ix_import_runs_uncounted", "id", postgresql_where=text("finished_at IS NOT NULL AND NOT is_counted")),
        {"comment": "One row per occurrence, whether it ran, was missed or was skipped"},
    )

    id: Mapped[BigId]
    session_id: Mapped[str] = mapped_column(ForeignKey("import_sessions.id", ondelete="CASCADE"))
    parent_run_id: Mapped[int | None] = mapped_column(
        ForeignKey("import_runs.id", ondelete="SET NULL"), comment="The run whose failed accounts this one retries"
    )
    account_ids: Mapped[list[int] | None] = mapped_column(
        ARRAY(BigInteger), deferred=True, comment="The accounts that a retry covers; NULL: all of the job's"
    )
    trigger: Mapped[str]
    scheduled_for: Mapped[Instant | None]
    occurrences: Mapped[int] = mapped_column(
        server_default=text("1"), default=1, comment="Occurrences that this row accounts for"
    )
    scheduled_until: Mapped[Instant | None] = mapped_column(
        comment="The last of several occurrences that this row accounts for"
    )
    moved_to: Mapped[Instant | None] = mapped_column(comment="When an occurrence on a day off runs instead")
    start_by: Mapped[Instant | None] = mapped_column(comment="Not started by then, it counts as missed")
    status: Mapped[str] = mapped_column(server_default=RunStatus.QUEUED, default=RunStatus.QUEUED)
    cause: Mapped[str | None] = mapped_column(comment="Why it was missed or skipped, for counting")
    reason: Mapped[str | None] = mapped_column(comment="Why it ended as it did, in words")
    attempt: Mapped[int] = mapped_column(server_default=text("1"), default=1)
    queued_at: Mapped[Now]
    run_after: Mapped[Now]
    started_at: Mapped[Instant | None] = mapped_column(comment="First start; a resumed run keeps it")
    finished_at: Mapped[Instant | None]
    worker: Mapped[str | None] = mapped_column(comment="The scheduler_service instance that ran it")
    lease_token: Mapped[UUID | None] = mapped_column(comment="Fences off a worker that lost its claim")
    lease_until: Mapped[Instant | None]
    accounts_total: Mapped[Count]
    accounts_done: Mapped[Count]
    accounts_succeeded: Mapped[Count]
    stop_requested_at: Mapped[Instant | None]
    requested_by: Mapped[str | None] = mapped_column(comment="User id; kept when the user goes")
    owner_id: Mapped[str | None] = mapped_column(comment="The job's user, for taking turns in the queue")
    portal_id: Mapped[int | None] = mapped_column(BigInteger, comment="The job's portal, while the run is live")
    priority: Mapped[int] = mapped_column(
        SmallInteger,
        server_default=text(str(int(Priority.SCHEDULE))),
        default=Priority.SCHEDULE,
        comment="0: a person waits for it, 1: a schedule, 2: it can wait",
    )
    lateness_seconds: Mapped[float | None] = mapped_column(
        Double, comment="From when it was due to the first line of its import"
    )
    is_counted: Mapped[bool] = mapped_column(
        server_default=text("false"), default=False, comment="Whether the daily figures hold it"
    )


class RunAttempt(Base):
    __tablename__ = "run_attempts"
    __table_args__ = (
        CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="outcome_when_ended"),
        CheckConstraint(f"outcome IN ({sql_list(ATTEMPT_OUTCOMES)})", name="outcome_known"),
        Index("ix_run_attempts_run_id_id", "run_id", "id"),
        Index("uq_run_attempts_finished", "run_id", unique=True, postgresql_where=text("outcome <> 'queued'")),
        {"comment": "Each time that a worker took a run; a run is finished by one of them at most"},
    )

    id: Mapped[BigId]
    run_id: Mapped[int] = mapped_column(ForeignKey("import_runs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    worker: Mapped[str] = mapped_column(comment="The scheduler_service instance that took it")
    lease_token: Mapped[UUID] = mapped_column(unique=True)
    started_at: Mapped[Now]
    ended_at: Mapped[Instant | None]
    outcome: Mapped[str | None] = mapped_column(comment="How it ended: the run's outcome, or queued when given back")


class Result(Base):
    __tablename__ = "import_results"
    __table_args__ = (
        one_of("status", ResultStatus),
        one_of("cause", ResultCause),
        UniqueConstraint("run_id", "account_id"),
        Index("ix_import_results_run_id_row_number", "run_id", "row_number", "id"),
        Index("ix_import_results_session_id", "session_id"),
        Index("ix_import_results_account_id", "account_id"),
        {"comment": "What a run brought for one account"},
    )

    id: Mapped[TextId]
    run_id: Mapped[int] = mapped_column(ForeignKey("import_runs.id", ondelete="CASCADE"))
    session_id: Mapped[str] = mapped_column(ForeignKey("import_sessions.id", ondelete="CASCADE"))
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    username: Mapped[str] = mapped_column(comment="Kept here so that history outlives the account")
    row_number: Mapped[int | None]
    status: Mapped[str]
    cause: Mapped[str | None] = mapped_column(comment="Why, where the status alone does not say what to do about it")
    error: Mapped[str | None] = mapped_column(comment="What went wrong, in words for a person")
    retry_attempts: Mapped[Count] = mapped_column(comment="Requests sent again after a passing portal error")
    final_error: Mapped[str | None] = mapped_column(comment="The last technical error behind it")
    file_url: Mapped[str | None] = mapped_column(comment="The account's newest bill document")
    bills_new: Mapped[Count]
    bills_seen: Mapped[Count]
    started_at: Mapped[Instant | None]
    finished_at: Mapped[Instant | None]
    created_at: Mapped[Now]


class RunLogLine(Base):
    __tablename__ = "run_log"
    __table_args__ = (
        one_of("level", LogLevel),
        Index("ix_run_log_run_id_id", "run_id", "id"),
        {"comment": "What a run did, line by line; never a secret"},
    )

    id: Mapped[BigId]
    run_id: Mapped[int] = mapped_column(ForeignKey("import_runs.id", ondelete="CASCADE"))
    at: Mapped[Now]
    level: Mapped[str] = mapped_column(server_default=LogLevel.INFO, default=LogLevel.INFO)
    account_id: Mapped[int | None] = mapped_column(BigInteger)
    message: Mapped[str]
