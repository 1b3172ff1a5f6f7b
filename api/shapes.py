"""What requests and answers look like. Answers name every field they show, so nothing else leaks out.

Instants are UTC in ISO 8601 and end in `Z`. No shape has a place for a password or a key of the storage.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from recurrence.errors import quoted

Item = TypeVar("Item")


class StrictShape(BaseModel):
    """What a client sends; unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, data: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        unknown = [name for name in data if name not in known] if isinstance(data, dict) else []
        if unknown:
            names = ", ".join(quoted(name) for name in unknown[:5])
            allowed = ", ".join(known)
            # As values, not in the template: a name may hold braces.
            raise PydanticCustomError(
                "unknown_fields",
                "unknown field {names}; allowed: {allowed}",  # pyright: ignore[reportArgumentType]
                {"names": names, "allowed": allowed},
            )
        return data


class ErrorShape(BaseModel):
    """What every error looks like; `fields` names the fields at fault where there are such."""

    error: str
    fields: dict[str, str] | None = None


class TokenShape(BaseModel):
    """A new access token."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - no password
    expires_in: int


class PageShape(BaseModel, Generic[Item]):
    """A page of a list; `next_cursor` is null on the last one."""

    items: list[Item]
    next_cursor: str | None


class OwnerShape(BaseModel):
    """Whose job it is."""

    id: str
    name: str


class JobShape(BaseModel):
    """A job. `next_run` is when it really runs next, days off left out; `owner` is shown to admins only."""

    id: str
    name: str
    login_url: str
    billing_url: str
    status: str
    created_at: datetime
    accounts_count: int
    results_count: int
    is_scheduled: bool
    schedule_type: str | None
    schedule_config: dict[str, Any] | None
    time_zone: str
    next_run: datetime | None
    last_scheduled_run: datetime | None
    schedule_description: str | None
    paused_at: datetime | None
    last_outcome: str | None
    last_run_id: int | None
    last_run_at: datetime | None
    catch_up: str
    overlap: str
    misfire_grace_seconds: int | None
    calendar_ids: list[int]
    on_holiday: str
    max_attempts: int
    retry_delay_seconds: int
    timeout_seconds: int
    updated_at: datetime
    version: int
    owner: OwnerShape | None


class AccountShape(BaseModel):
    """An account of a job. `status_reason` says why one with the status `needs_attention` is left alone."""

    id: int
    row_number: int
    username: str
    status: str
    status_reason: str | None
    last_success_at: datetime | None


class AccountChangesShape(BaseModel):
    """What replacing a job's accounts did, in numbers of accounts.

    `changed` have another password (`changed_password` of them), other columns or another spelling.
    """

    added: int
    changed: int
    changed_password: int
    removed: int
    unchanged: int


class AccountNamesShape(BaseModel):
    """The user names of each kind of change, up to 50 of each."""

    added: list[str]
    changed_password: list[str]
    changed_otherwise: list[str]
    removed: list[str]


class AccountsPreviewShape(AccountChangesShape):
    """What replacing a job's accounts would do.

    Of the accounts that needed attention, `ready_again` would be tried again and `still_waiting` left alone.
    """

    ready_again: int
    still_waiting: int
    usernames: AccountNamesShape
    version: int


class RunShape(BaseModel):
    """A run, or an occurrence that was missed or skipped, or several of them up to `scheduled_until`.

    It starts at `run_after` at the earliest. A retry of the accounts that failed in an earlier run has that as
    `parent_run_id`, until the earlier one is deleted.
    `lateness_seconds` is from when it was due or asked for to the first start of its import.
    While it is queued, `queue_position` counts from 1 in the order in which runs start (those of its portal, where it
    waits for that), as far as it has a place in line and that is among the first 200, and `waits_for` says in words
    what it waits for.
    """

    id: int
    job_id: str
    parent_run_id: int | None
    trigger: str
    status: str
    cause: str | None
    reason: str | None
    attempt: int
    scheduled_for: datetime | None
    occurrences: int
    scheduled_until: datetime | None
    moved_to: datetime | None
    start_by: datetime | None
    queued_at: datetime
    run_after: datetime
    started_at: datetime | None
    finished_at: datetime | None
    lateness_seconds: float | None
    stop_requested_at: datetime | None
    queue_position: int | None
    waits_for: str | None
    accounts_total: int
    accounts_done: int
    accounts_succeeded: int
    requested_by: str | None


class AttemptShape(BaseModel):
    """One time that a worker took the run; `outcome` is `queued` when the run was given back."""

    attempt: int
    worker: str
    host: str | None
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None


class RunDetailShape(RunShape):
    """A run with its job's name, how many accounts ended in each way, who worked on it, and its retries.

    `accounts_retryable` is how many accounts `POST /runs/{id}/retry-failed` would sign in to; `accounts_untried` of
    them had no turn, because the run was stopped, timed out or failed before.
    """

    job_name: str
    results: dict[str, int]
    attempts: list[AttemptShape]
    retry_run_ids: list[int]
    accounts_retryable: int
    accounts_untried: int


class ResultShape(BaseModel):
    """What a run brought for one account; `file_url` is where the API serves its newest document."""

    id: str
    run_id: int
    username: str
    row_number: int | None
    status: str
    cause: str | None
    advice: str
    error: str | None
    final_error: str | None
    retry_attempts: int
    bills_new: int
    bills_seen: int
    file_url: str | None
    started_at: datetime | None
    finished_at: datetime | None


class LogLineShape(BaseModel):
    """A line of a run's log."""

    id: int
    at: datetime
    level: str
    account_id: int | None
    message: str


class DocumentShape(BaseModel):
    """A stored document of a bill; `file_url` is where the API serves it."""

    file_url: str
    file_name: str
    content_type: str | None
    size_bytes: int | None
    sha256: str | None


class BillShape(BaseModel):
    """A bill. `amount` is text, so that no cent is lost; `fields` are the portal's own cells by header.

    `from_document` names the values that were read from the PDF, since the table lacked them. `versions_count` is how
    many earlier versions there are at `versions_url`.
    """

    id: int
    job_id: str
    username: str
    number: str | None
    issued_on: date | None
    due_on: date | None
    amount: Decimal | None
    currency: str | None
    portal_status: str | None
    fields: dict[str, Any]
    from_document: list[str]
    sha256: str | None
    file_url: str | None
    documents: list[DocumentShape]
    versions_count: int
    versions_url: str
    first_seen_run: int | None
    last_seen_run: int | None
    changed_run: int | None


class BillVersionShape(BaseModel):
    """A bill as it was until `replaced_at`, when the run `replaced_in_run` found it changed."""

    id: int
    number: str | None
    issued_on: date | None
    due_on: date | None
    amount: Decimal | None
    currency: str | None
    portal_status: str | None
    fields: dict[str, Any]
    documents: list[DocumentShape]
    replaced_in_run: int | None
    replaced_at: datetime


class SchedulerShape(BaseModel):
    """Whether schedules are being fired, and runs can be executed."""

    firing: bool
    can_execute: bool
    instances: int
    last_fire_at: datetime | None
    overdue_jobs: int


class HealthShape(BaseModel):
    """How Punctual is; `error` says what is wrong when `status` is not `ok`."""

    status: str
    scheduler: SchedulerShape | None
    database: str
    version: str
    error: str | None = None
