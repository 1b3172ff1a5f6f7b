"""The tables, and the one vocabulary of roles, statuses and policies that everything else uses.

Instants are `timestamptz` in UTC. What must never happen is refused by constraints here, not by code:
an occurrence firing twice, a job overlapping itself, an account getting two results in one run.
"""

from datetime import date, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Annotated, Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Role(StrEnum):
    """What a user may do: admins all, operators their own jobs, viewers read their own."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


class SessionKind(StrEnum):
    """Where a sign-in session lives."""

    BROWSER = "browser"
    API = "api"


class ScheduleType(StrEnum):
    """The kinds of schedule; their configs are described in `recurrence`."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    CUSTOM = "custom"


class JobStatus(StrEnum):
    """A job's state: what its current run does, or how its last one ended."""

    IDLE = "idle"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    LOST = "lost"


class RunStatus(StrEnum):
    """A run's state; the first two are live, the rest final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    MISSED = "missed"
    SKIPPED = "skipped"


class RunTrigger(StrEnum):
    """What asked for a run."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    API = "api"
    RETRY = "retry"
    BACKFILL = "backfill"
    TEST = "test"


class Priority(IntEnum):
    """Which of an owner's queued runs goes first."""

    PERSON = 0
    SCHEDULE = 1
    BACKGROUND = 2


class CatchUp(StrEnum):
    """Which occurrences run after the service was down: the newest, every one, or none."""

    LATEST = "latest"
    ALL = "all"
    NONE = "none"


class Overlap(StrEnum):
    """What happens to an occurrence while the job's previous run is live."""

    SKIP = "skip"
    QUEUE = "queue"


class OnHoliday(StrEnum):
    """What happens to an occurrence on a day off: left out, or run on the next working day."""

    SKIP = "skip"
    MOVE = "move"


class Cause(StrEnum):
    """Why a run was missed or skipped, for counting; `reason` says it in words."""

    OUTAGE = "outage"
    LATE = "late"
    EDITED = "edited"
    OVERLAP = "overlap"
    BREAKER = "breaker"
    HOLIDAY = "holiday"
    UNREADABLE = "unreadable"
    SUPERSEDED = "superseded"


class Engine(StrEnum):
    """How a portal is visited."""

    HTTP = "http"
    BROWSER = "browser"


class AccountStatus(StrEnum):
    """Whether the next run signs in to an account."""

    READY = "ready"
    NEEDS_ATTENTION = "needs_attention"


class ResultStatus(StrEnum):
    """How one account of one run ended."""

    SUCCESS = "success"
    NO_BILLS = "no_bills"
    WRONG_CREDENTIALS = "wrong_credentials"
    NEEDS_ATTENTION = "needs_attention"
    PORTAL_ERROR = "portal_error"
    PORTAL_CHANGED = "portal_changed"
    NOT_TRIED = "not_tried"
    FAILED = "failed"


class LogLevel(StrEnum):
    """Severity of a line in a run's log."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class History(StrEnum):
    """What the purge removes when it is old."""

    RUNS = "runs"
    LOG = "log"


class NotificationState(StrEnum):
    """Where a notification stands in the outbox."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


MAX_MISFIRE_GRACE_SECONDS = 31 * 86400
MAX_ATTEMPTS = 20
MAX_RETRY_DELAY_SECONDS = 6 * 3600

LIVE_RUN_STATUSES = (RunStatus.QUEUED, RunStatus.RUNNING)
FINAL_RUN_STATUSES = tuple(s for s in RunStatus if s not in LIVE_RUN_STATUSES)
ATTEMPT_OUTCOMES = (
    RunStatus.QUEUED,
    RunStatus.COMPLETED,
    RunStatus.PARTIAL,
    RunStatus.FAILED,
    RunStatus.STOPPED,
    RunStatus.TIMED_OUT,
    RunStatus.LOST,
)
SUCCEEDED_RESULTS = (ResultStatus.SUCCESS, ResultStatus.NO_BILLS)
# What may pass by itself. A refused sign-in is never repeated, and a portal that changed needs a person.
RETRYABLE_RESULTS = (ResultStatus.PORTAL_ERROR, ResultStatus.NOT_TRIED, ResultStatus.FAILED)


def new_id() -> str:
    """A random key for users, jobs and results, whose keys an older system made as UUID text."""
    return str(uuid4())


def sql_list(values: type[StrEnum] | tuple[StrEnum, ...]) -> str:
    """The values as an SQL list, for CHECKs and partial indexes."""
    return ", ".join(f"'{v.value}'" for v in values)


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """A CHECK that the column holds one of the enum's values (or NULL, where it may)."""
    return CheckConstraint(f"{column} IN ({sql_list(values)})", name=f"{column}_known")


TextId = Annotated[
    str, mapped_column(Text, primary_key=True, default=new_id, server_default=text("gen_random_uuid()::text"))
]
BigId = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
Instant = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Now = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Count = Annotated[int, mapped_column(server_default=text("0"), default=0)]
Seconds = Annotated[Decimal, mapped_column(Numeric(16, 3), server_default=text("0"), default=Decimal())]


class Base(DeclarativeBase):
    """Declares the naming convention and how Python types become columns."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {
        str: Text,
        dict[str, Any]: JSONB,
        list[dict[str, Any]]: JSONB,
        list[str]: ARRAY(Text),
        UUID: Uuid,
        Decimal: Numeric(14, 2),
    }


class User(Base):
    __tablename__ = "users"
    __table_args__ = (
        one_of("role", Role),
        Index("uq_users_username", text("lower(username)"), unique=True),
        {"comment": "People who sign in"},
    )

    id: Mapped[TextId]
    username: Mapped[str] = mapped_column(comment="What the person signs in with; unique in any case")
    email: Mapped[str | None]
    name: Mapped[str] = mapped_column(comment="What pages call the person")
    password_hash: Mapped[str] = mapped_column(comment="bcrypt")
    role: Mapped[str] = mapped_column(server_default=Role.OPERATOR, default=Role.OPERATOR)
    time_zone: Mapped[str | None] = mapped_column(comment="IANA zone; NULL follows the browser")
    is_active: Mapped[bool] = mapped_column(server_default=text("true"), default=True)
    created_at: Mapped[Now]
    last_login_at: Mapped[Instant | None]


class UserSession(Base):
    __tablename__ = "user_sessions"
    __table_args__ = (
        one_of("kind", SessionKind),
        Index("ix_user_sessions_user_id", "user_id"),
        Index("ix_user_sessions_expires_at", "expires_at"),
        {"comment": "Signed-in browsers and API tokens; ended by revoked_at"},
    )

    token_hash: Mapped[str] = mapped_column(primary_key=True, comment="SHA-256, hex, of the cookie or token id")
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str]
    created_at: Mapped[Now]
    expires_at: Mapped[Instant]
    revoked_at: Mapped[Instant | None]
    ip: Mapped[str | None]
    user_agent: Mapped[str | None]


class SignInAttempt(Base):
    __tablename__ = "sign_in_attempts"
    __table_args__ = (
        Index("ix_sign_in_attempts_username_at", "username", "at"),
        Index("ix_sign_in_attempts_ip_at", "ip", "at"),
        {"comment": "Refused sign-ins, for throttling by name and by address"},
    )

    id: Mapped[BigId]
    at: Mapped[Now]
    username: Mapped[str] = mapped_column(comment="Lower case, as typed; it need not exist")
    ip: Mapped[str]


class Portal(Base):
    __tablename__ = "portals"
    __table_args__ = (
        one_of("engine", Engine),
        CheckConstraint("max_concurrent_accounts BETWEEN 1 AND 64", name="concurrency_bounded"),
        CheckConstraint("min_seconds_between_requests >= 0", name="spacing_not_negative"),
        CheckConstraint("(authorised_at IS NULL) OR (authorised_by IS NOT NULL)", name="authorised_by_someone"),
        {"comment": "One per login host: how it is visited and how gently"},
    )

    id: Mapped[BigId]
    host: Mapped[str] = mapped_column(unique=True, comment="host or host:port of the login URL, lower case")
    engine: Mapped[str] = mapped_column(server_default=Engine.HTTP, default=Engine.HTTP)
    username_selector: Mapped[str | None] = mapped_column(comment="CSS; NULL finds the field by itself")
    password_selector: Mapped[str | None] = mapped_column(comment="CSS; NULL finds the field by itself")
    link_selector: Mapped[str | None] = mapped_column(comment="CSS of bill links; NULL finds them by itself")
    max_concurrent_accounts: Mapped[int] = mapped_column(server_default=text("2"), default=2)
    min_seconds_between_requests: Mapped[float] = mapped_column(
        server_default=text("0.05"), default=0.05, comment="Spacing held across runs and machines"
    )
    next_request_at: Mapped[Instant | None] = mapped_column(comment="When the next request may be sent")
    breaker_open_until: Mapped[Instant | None] = mapped_column(comment="No sign-ins before this instant")
    breaker_reason: Mapped[str | None]
    authorised_by: Mapped[str | None] = mapped_column(comment="User id; kept when the user goes")
    authorised_at: Mapped[Instant | None]
    created_at: Mapped[Now]


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
    created_at: Mapped[Now]


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


class Result(Base):
    __tablename__ = "import_results"
    __table_args__ = (
        one_of("status", ResultStatus),
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
    error: Mapped[str | None] = mapped_column(comment="What went wrong, in words for a person")
    retry_attempts: Mapped[Count] = mapped_column(comment="Requests sent again after a passing portal error")
    final_error: Mapped[str | None] = mapped_column(comment="The last technical error behind it")
    file_url: Mapped[str | None] = mapped_column(comment="The account's newest bill document")
    bills_new: Mapped[Count]
    bills_seen: Mapped[Count]
    started_at: Mapped[Instant | None]
    finished_at: Mapped[Instant | None]
    created_at: Mapped[Now]


class Bill(Base):
    __tablename__ = "bills"
    __table_args__ = (
        Index("uq_bills_session_id_username_bill_key", "session_id", "username", "bill_key", unique=True),
        Index("ix_bills_account_id", "account_id"),
        Index("ix_bills_last_seen_run", "last_seen_run"),
        Index("ix_bills_first_seen_run", "first_seen_run"),
        Index("ix_bills_changed_run", "changed_run"),
        {"comment": "Bills found at the portals, one row each, whichever runs saw them"},
    )

    id: Mapped[BigId]
    session_id: Mapped[str] = mapped_column(ForeignKey("import_sessions.id", ondelete="CASCADE"))
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    username: Mapped[str]
    bill_key: Mapped[str] = mapped_column(comment="The number, or the document's name where there is none")
    number: Mapped[str | None]
    issued_on: Mapped[date | None]
    due_on: Mapped[date | None]
    amount: Mapped[Decimal | None]
    currency: Mapped[str | None] = mapped_column(comment="ISO 4217")
    portal_status: Mapped[str | None] = mapped_column(comment="The portal's own word, such as Paid")
    fields: Mapped[dict[str, Any]] = mapped_column(
        server_default=text("'{}'"), default=dict, comment="The table's cells as they stood, by header"
    )
    documents: Mapped[list[dict[str, Any]]] = mapped_column(
        server_default=text("'[]'"),
        default=list,
        comment="file_url, file_name, content_type, size_bytes, sha256 of each document",
    )
    file_url: Mapped[str | None] = mapped_column(comment="The main document, a PDF where there is one")
    sha256: Mapped[str | None] = mapped_column(comment="Of the main document")
    first_seen_run: Mapped[int | None] = mapped_column(ForeignKey("import_runs.id", ondelete="SET NULL"))
    last_seen_run: Mapped[int | None] = mapped_column(ForeignKey("import_runs.id", ondelete="SET NULL"))
    changed_run: Mapped[int | None] = mapped_column(ForeignKey("import_runs.id", ondelete="SET NULL"))
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


class OrphanedFile(Base):
    __tablename__ = "orphaned_files"
    __table_args__ = (
        Index("ix_orphaned_files_orphaned_at", "orphaned_at"),
        {"comment": "Files of deleted jobs' bills, until the scheduler has removed them from the storage"},
    )

    file_url: Mapped[str] = mapped_column(primary_key=True)
    orphaned_at: Mapped[Instant]


class RetentionMark(Base):
    __tablename__ = "retention_marks"
    __table_args__ = (
        one_of("history", History),
        {"comment": "Up to when the purge has removed history, so that nobody takes it for lost"},
    )

    history: Mapped[str] = mapped_column(primary_key=True)
    kept_since: Mapped[Instant] = mapped_column(comment="What ended before this instant may have been removed")


class SchedulerInstance(Base):
    __tablename__ = "scheduler_instances"
    __table_args__ = ({"comment": "scheduler_service processes and when each last made progress"},)

    id: Mapped[TextId]
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    slots: Mapped[int]
    zone_rules: Mapped[str | None] = mapped_column(comment="Version of the time zone rules that it fires by")
    started_at: Mapped[Now]
    last_seen_at: Mapped[Now]
    last_fire_at: Mapped[Instant | None] = mapped_column(comment="End of the last fire pass that succeeded")
    stopped_at: Mapped[Instant | None]


class Notification(Base):
    __tablename__ = "notifications"
    __table_args__ = (
        one_of("state", NotificationState),
        Index("ix_notifications_pending", "run_after", "id", postgresql_where=text("state = 'pending'")),
        Index("ix_notifications_run_id", "run_id"),
        {"comment": "Outbox of messages to people"},
    )

    id: Mapped[BigId]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("import_runs.id", ondelete="CASCADE"))
    cause: Mapped[str]
    channel: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=NotificationState.PENDING, default=NotificationState.PENDING)
    attempts: Mapped[Count]
    run_after: Mapped[Now]
    created_at: Mapped[Now]
    sent_at: Mapped[Instant | None]
    error: Mapped[str | None]


class AuditEntry(Base):
    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_subject_at", "subject", text("at DESC")),
        Index("ix_audit_log_at", text("at DESC")),
        {"comment": "Who changed what; never a secret"},
    )

    id: Mapped[BigId]
    at: Mapped[Now]
    user_id: Mapped[str | None] = mapped_column(comment="Kept when the user goes")
    action: Mapped[str]
    subject: Mapped[str]
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
