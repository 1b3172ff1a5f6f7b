"""The ledger: what a job's schedule expected in a period, compared with the rows that account for it.

Expected is what the rules that were in force say, computed anew; found is what `import_runs` holds. They
agree unless something was lost or doubled, which should never happen and is shown where it does.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from db.jobs import get_job
from db.ledger_book import (
    MAX_EXPECTED,
    TICK,
    Account,
    Book,
    FoundRows,
    InvalidPeriodError,
    LedgerRow,
    covers,
    list_expected,
)
from db.models import Cause, History, Job, Run, RunTrigger, SchedulePeriod
from db.outages import list_outages
from db.retention import get_kept_since
from db.schedule_periods import list_periods
from db.viewers import Viewer
from recurrence import InvalidScheduleError

MAX_SHOWN = 20


@dataclass(frozen=True)
class LedgerGroup:
    """Occurrences that fared alike, for the same cause."""

    account: Account
    cause: Cause | None
    count: int
    first: datetime
    last: datetime
    outages: Sequence[tuple[datetime, datetime]] = ()


@dataclass(frozen=True)
class UnexpectedRun:
    """A scheduled row at an instant that no schedule in force has."""

    run_id: int
    scheduled_for: datetime
    status: str


@dataclass(frozen=True)
class Ledger:
    """`expected` occurrences from `starts_at` (inclusive) to `ends_at` (exclusive), and what became of them.

    `lost` and `unexpected` hold the first few; the counts are whole. `is_readable` is False when a schedule of
    the period can no longer be read, so that nothing can be expected of it. Nothing is expected before
    `known_since`, of which no schedule is known, nor before `kept_since`, of which the rows were purged.
    Of `retried_count` occurrences failed accounts were tried again, which makes none of its own.
    """

    starts_at: datetime
    ends_at: datetime
    expected: int
    groups: Sequence[LedgerGroup]
    lost: Sequence[datetime]
    lost_count: int
    unexpected: Sequence[UnexpectedRun]
    unexpected_count: int
    is_readable: bool
    known_since: datetime | None
    kept_since: datetime | None
    retried_count: int

    @property
    def accounted(self) -> int:
        return self.expected - self.lost_count

    @property
    def balances(self) -> bool:
        """Whether every expected occurrence left a row, and no other did."""
        return not self.lost_count and not self.unexpected_count

    def count(self, account: Account) -> int:
        return sum(group.count for group in self.groups if group.account == account)


def draw_up_ledger(
    session: Session, viewer: Viewer, job_id: str, *, starts_at: datetime, ends_at: datetime, now: datetime
) -> Ledger:
    """The job's ledger from `starts_at` to `ends_at`, or to now if that is earlier.

    Raises NotFoundError, and InvalidPeriodError for an empty period or one of more than 100,000 occurrences.
    """
    if ends_at <= starts_at:
        raise InvalidPeriodError(f"the period ends at {ends_at.isoformat()}, not after it starts")
    job = get_job(session, viewer, job_id)
    until = min(ends_at - TICK, now)
    periods = list_periods(session, job.id, starts_at, until)
    found = _find_rows(session, job, starts_at, until)
    # Read after the rows: what is purged meanwhile is then not expected, instead of missing.
    kept_since = get_kept_since(session, History.RUNS)
    since = starts_at if kept_since is None else max(starts_at, kept_since)
    book = Book(job, found)
    is_readable = True
    for period in periods:
        try:
            expected = list_expected(period, since, until, limit=MAX_EXPECTED - len(book.seen))
        except InvalidScheduleError:
            is_readable = False
            continue
        for at in expected:
            book.account_for(at)
    for at in sorted(found.moved_to):
        if at >= since and at not in book.seen and any(covers(period, at) for period in periods):
            book.account_for(at)
    known_since = _known_since(session, job)
    unexpected = [
        UnexpectedRun(row.id, at, row.status)
        for at, row in found.single.items()
        if is_readable and known_since is not None and at > known_since and at >= since and at not in book.seen
    ]
    return Ledger(
        starts_at,
        ends_at,
        len(book.seen),
        _group(book, list_outages(session, starts_at, until)),
        book.lost[:MAX_SHOWN],
        len(book.lost),
        unexpected[:MAX_SHOWN],
        len(unexpected),
        is_readable,
        known_since,
        kept_since,
        _count_retried(session, job, starts_at, until),
    )


def _find_rows(session: Session, job: Job, since: datetime, until: datetime) -> FoundRows:
    mine = (Run.session_id == job.id, Run.trigger == RunTrigger.SCHEDULE)
    found = FoundRows()
    within = Run.scheduled_for.between(since, until)
    reaches_in = (Run.scheduled_for < since, Run.scheduled_until >= since)
    columns = (Run.id, Run.scheduled_for, Run.scheduled_until, Run.status, Run.cause, Run.started_at)
    rows = select(*columns).where(*mine, within).union_all(select(*columns).where(*mine, *reaches_in))
    for values in session.execute(rows.order_by("scheduled_for")):
        row = LedgerRow(*values)
        if row.scheduled_until is not None:
            found.spans.append(row)
        else:
            found.single[row.scheduled_for] = row
    moved = select(Run.moved_to).where(Run.session_id == job.id, Run.moved_to.between(since, until)).distinct()
    found.moved_to = {at for at in session.scalars(moved) if at is not None}
    return found


def _count_retried(session: Session, job: Job, since: datetime, until: datetime) -> int:
    """How many of the scheduled runs have a retry that began."""
    retry = aliased(Run)
    has_retry = select(retry.id).where(retry.parent_run_id == Run.id, retry.started_at.is_not(None)).exists()
    return session.execute(
        select(func.count()).where(
            Run.session_id == job.id,
            Run.trigger == RunTrigger.SCHEDULE,
            Run.scheduled_for.between(since, until),
            has_retry,
        )
    ).scalar_one()


def _group(book: Book, outages: Sequence[tuple[datetime, datetime]]) -> list[LedgerGroup]:
    """The accounts in the order of `Account`, the largest cause first."""
    order = list(Account)
    groups: list[LedgerGroup] = []
    for (account, cause), instants in book.accounts.items():
        during: Counter[tuple[datetime, datetime]] = Counter()
        if cause == Cause.OUTAGE:
            during.update(span for at in instants for span in outages if span[0] <= at <= span[1])
        groups.append(LedgerGroup(account, cause, len(instants), instants[0], instants[-1], sorted(during)))
    return sorted(groups, key=lambda group: (order.index(group.account), -group.count))


def _known_since(session: Session, job: Job) -> datetime | None:
    return session.execute(
        select(func.min(SchedulePeriod.starts_at)).where(SchedulePeriod.session_id == job.id)
    ).scalar_one()
