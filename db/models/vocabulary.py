"""The one vocabulary of roles, statuses and policies that everything else uses."""

from enum import IntEnum, StrEnum


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


class DateOrder(StrEnum):
    """What a portal means by a date such as 03/04/2026."""

    DAY_FIRST = "day_first"
    MONTH_FIRST = "month_first"


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


class ResultCause(StrEnum):
    """Why an account ended as it did, where its status alone does not say what to do about it."""

    ONE_TIME_CODE = "one_time_code"
    CAPTCHA = "captcha"
    LOCKED = "locked"
    NEW_TERMS = "new_terms"
    EXPIRED_PASSWORD = "expired_password"  # noqa: S105
    LEFT_ALONE = "left_alone"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"
    BUSY = "busy"
    INSECURE = "insecure"
    FORBIDDEN_ADDRESS = "forbidden_address"
    NO_FORM = "no_form"
    UNSAFE_FORM = "unsafe_form"
    SELECTOR = "selector"
    PAGE_GONE = "page_gone"
    NOT_LET_IN = "not_let_in"
    NO_BILLS_FOUND = "no_bills_found"
    BILLS_GONE = "bills_gone"
    BREAKER = "breaker"


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
