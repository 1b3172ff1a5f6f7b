"""The book of one job: expected occurrences, one after another, against the rows that account for them.

Pure: no database. `db.ledger` draws up a job's ledger with it, `db.ledger_gaps` looks for what is lost in many jobs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from db.errors import PunctualError
from db.models import Cause, Job, RunStatus, SchedulePeriod
from recurrence import Rule, count_occurrences, next_occurrence, parse_rule

MAX_EXPECTED = 100_000
TICK = timedelta(microseconds=1)


class InvalidPeriodError(PunctualError):
    """The ledger cannot be drawn up for this period."""


class Account(StrEnum):
    """What became of an expected occurrence."""

    RAN = "ran"
    LIVE = "live"
    STOPPED = "stopped"
    MISSED = "missed"
    SKIPPED = "skipped"
    DUE = "due"


class LedgerRow(NamedTuple):
    """A scheduled row of `import_runs`."""

    id: int
    scheduled_for: datetime
    scheduled_until: datetime | None
    status: str
    cause: str | None
    started_at: datetime | None


@dataclass
class FoundRows:
    """The rows of the period: those of one occurrence by its instant, those of several, and moves into it."""

    single: dict[datetime, LedgerRow] = field(default_factory=dict[datetime, LedgerRow])
    spans: list[LedgerRow] = field(default_factory=list[LedgerRow])
    moved_to: set[datetime] = field(default_factory=set[datetime])

    def row_at(self, at: datetime) -> LedgerRow | None:
        """The row that accounts for this instant."""
        if at in self.single:
            return self.single[at]
        return next(
            (r for r in self.spans if r.scheduled_until is not None and r.scheduled_for <= at <= r.scheduled_until),
            None,
        )


class Book:
    """Expected occurrences, one after another, against what was found."""

    def __init__(self, job: Job, found: FoundRows) -> None:
        self._job = job
        self._found = found
        self.seen: set[datetime] = set()
        self.lost: list[datetime] = []
        self.accounts: dict[tuple[Account, Cause | None], list[datetime]] = {}

    def account_for(self, at: datetime) -> None:
        """Find out what became of this occurrence; once is enough."""
        if at in self.seen:
            return
        self.seen.add(at)
        row = self._found.row_at(at)
        if row is not None:
            key = _account_of(row)
        elif self._is_still_to_fire(at):
            key = (Account.DUE, None)
        else:
            self.lost.append(at)
            return
        self.accounts.setdefault(key, []).append(at)

    def _is_still_to_fire(self, at: datetime) -> bool:
        job = self._job
        return job.is_scheduled and job.paused_at is None and job.next_run is not None and job.next_run <= at


def list_expected(period: SchedulePeriod, since: datetime, until: datetime, *, limit: int) -> Iterator[datetime]:
    """What the period's rule says, strictly after its start and up to its end.

    Raises InvalidScheduleError, and InvalidPeriodError when it says more than `limit`.
    """
    rule = parse_rule(period.schedule_type, period.schedule_config, period.time_zone)
    after, last = span_of(period, since, until)
    count = count_occurrences(rule, after, last) if last > after else 0
    if count > limit:
        found = f"{count + MAX_EXPECTED - limit:,}"
        raise InvalidPeriodError(
            f"{found} occurrences are expected in this period; choose one of at most {MAX_EXPECTED:,}"
        )
    return walk(rule, after, last)


def span_of(period: SchedulePeriod, since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """The part of the period from `since` to `until`: strictly after the first instant, up to the second."""
    after = period.starts_at if since <= period.starts_at else since - TICK
    return after, min(until, period.ends_at) if period.ends_at is not None else until


def walk(rule: Rule, after: datetime, last: datetime) -> Iterator[datetime]:
    """The rule's occurrences strictly after `after` and up to `last`."""
    at = next_occurrence(rule, after)
    while at is not None and at <= last:
        yield at
        at = next_occurrence(rule, at)


def _account_of(row: LedgerRow) -> tuple[Account, Cause | None]:
    cause = Cause(row.cause) if row.cause else None
    match row.status:
        case RunStatus.MISSED:
            return Account.MISSED, cause
        case RunStatus.SKIPPED:
            return Account.SKIPPED, cause
        case RunStatus.QUEUED | RunStatus.RUNNING:
            return Account.LIVE, None
        case RunStatus.STOPPED if row.started_at is None:
            return Account.STOPPED, None
        case _:
            return Account.RAN, None


def covers(period: SchedulePeriod, at: datetime) -> bool:
    """Whether the period's schedule was in force then."""
    return period.starts_at < at and (period.ends_at is None or at <= period.ends_at)
