"""Gaps: occurrences of many jobs that were expected and left no row. There should never be one.

Bounded whatever the history: the newest day of a sample of jobs, by a few statements for all of them together.
What was checked is counted and told; nothing is said about the rest.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from db.ledger_book import Book, FoundRows, LedgerRow, covers, span_of, walk
from db.models import History, Job, Run, RunTrigger, SchedulePeriod
from db.retention import get_kept_since
from db.viewers import Viewer
from recurrence import InvalidScheduleError, parse_rule

WINDOW = timedelta(hours=24)
MAX_JOBS = 200
MAX_OCCURRENCES = 20_000
MAX_COUNTED = 100_000
MAX_ROWS_BEFORE = 100


@dataclass(frozen=True)
class GapCheck:
    """What was looked at from `since` to now, and what was lost. `jobs_in_force` stops counting at 100,000."""

    since: datetime
    jobs_in_force: int
    jobs: int
    occurrences: int
    lost: Sequence[tuple[Job, datetime]]


@dataclass
class _Candidate:
    """A job of the sample, with what its schedules expected of it."""

    job: Job
    periods: list[SchedulePeriod] = field(default_factory=list[SchedulePeriod])
    expected: list[datetime] = field(default_factory=list[datetime])


def find_gaps(session: Session, viewer: Viewer, now: datetime, *, sample_from: str) -> GapCheck:
    """Check jobs whose schedule is in force, in the order of their ids from `sample_from` on, round to the start.

    Reads several tables: the caller's transaction sees one snapshot, or what fires meanwhile looks lost.
    """
    kept_since = get_kept_since(session, History.RUNS)  # what was purged is not lost
    since = max(now - WINDOW, kept_since) if kept_since is not None else now - WINDOW
    candidates = _within_budget(_sample(session, viewer, since, now, sample_from), since, now)
    books = _keep_books(session, candidates, since, now)
    _forgive_spans(session, books, since)
    return GapCheck(
        since=since,
        jobs_in_force=_count_in_force(session, viewer),
        jobs=len(books),
        occurrences=sum(len(book.seen) for _, book in books),
        lost=[(job, at) for job, book in books for at in book.lost],
    )


def _sample(
    session: Session, viewer: Viewer, since: datetime, until: datetime, sample_from: str
) -> Sequence[_Candidate]:
    """Jobs with their periods of the window."""
    in_force = (
        select(Job).join(SchedulePeriod, SchedulePeriod.session_id == Job.id).where(SchedulePeriod.ends_at.is_(None))
    )
    if not viewer.is_admin:
        in_force = in_force.where(Job.user_id == viewer.user_id)
    order = SchedulePeriod.session_id
    # Said of both tables, or a merge of them reads the jobs from the first one on.
    from_there = (order >= sample_from, Job.id >= sample_from)
    jobs = [*session.scalars(in_force.where(*from_there).order_by(order).limit(MAX_JOBS))]
    if len(jobs) < MAX_JOBS:
        jobs += session.scalars(in_force.where(order < sample_from).order_by(order).limit(MAX_JOBS - len(jobs)))
    sample = {job.id: _Candidate(job) for job in jobs}
    overlapping = (
        SchedulePeriod.session_id.in_(sample),
        SchedulePeriod.starts_at <= until,
        or_(SchedulePeriod.ends_at.is_(None), SchedulePeriod.ends_at >= since),
    )
    for period in session.scalars(select(SchedulePeriod).where(*overlapping).order_by(SchedulePeriod.id)):
        sample[period.session_id].periods.append(period)
    return list(sample.values())


def _within_budget(sample: Sequence[_Candidate], since: datetime, until: datetime) -> list[_Candidate]:
    """The jobs that can be checked, with what is expected of them, until there are too many occurrences.

    A schedule that cannot be read expects nothing that can be known: its job is left out.
    """
    known: dict[object, list[datetime]] = {}  # many jobs share a rule
    chosen: list[_Candidate] = []
    total = 0
    for candidate in sample:
        try:
            for period in candidate.periods:
                rule = parse_rule(period.schedule_type, period.schedule_config, period.time_zone)
                after, last = span_of(period, since, until)
                if (rule, after, last) not in known:
                    known[rule, after, last] = list(walk(rule, after, last))
                candidate.expected += known[rule, after, last]
        except InvalidScheduleError:
            continue
        total += len(candidate.expected)
        if total > MAX_OCCURRENCES:
            break
        chosen.append(candidate)
    return chosen


def _keep_books(
    session: Session, candidates: Sequence[_Candidate], since: datetime, until: datetime
) -> list[tuple[Job, Book]]:
    ids = [candidate.job.id for candidate in candidates]
    found = _find_rows(session, ids, since, until)
    books: list[tuple[Job, Book]] = []
    for candidate in candidates:
        rows = found[candidate.job.id]
        book = Book(candidate.job, rows)
        moved = (at for at in sorted(rows.moved_to) if any(covers(period, at) for period in candidate.periods))
        for at in (*candidate.expected, *moved):
            book.account_for(at)
        books.append((candidate.job, book))
    return books


def _find_rows(session: Session, job_ids: Sequence[str], since: datetime, until: datetime) -> dict[str, FoundRows]:
    found: dict[str, FoundRows] = defaultdict(FoundRows)
    columns = (Run.id, Run.scheduled_for, Run.scheduled_until, Run.status, Run.cause, Run.started_at)
    scheduled = (Run.session_id.in_(job_ids), Run.trigger == RunTrigger.SCHEDULE)
    within = Run.scheduled_for.between(since, until)
    for values in session.execute(select(*columns, Run.session_id).where(*scheduled, within)):
        row, rows = LedgerRow._make(values[:-1]), found[values[-1]]
        if row.scheduled_until is None:
            rows.single[row.scheduled_for] = row
        else:
            rows.spans.append(row)
    moved_here = (Run.session_id.in_(job_ids), Run.moved_to.between(since, until))
    for job_id, moved_to in session.execute(select(Run.session_id, Run.moved_to).where(*moved_here)):
        if moved_to is not None:
            found[job_id].moved_to.add(moved_to)
    return found


def _forgive_spans(session: Session, books: Iterable[tuple[Job, Book]], since: datetime) -> None:
    """What a row accounts for that counts many occurrences and begins before the window is not lost.

    Only jobs are asked for that seem to have lost something. Such a row is among the newest before the window:
    what a span covers has no row of its own, save for a few runs that were moved into it.
    """
    suspects = {job.id: book for job, book in books if book.lost}
    if not suspects:
        return
    newest_before = text("""
        SELECT wanted.session_id, r.scheduled_until
        FROM unnest(CAST(:ids AS text[])) AS wanted(session_id)
        CROSS JOIN LATERAL (
            SELECT scheduled_until FROM import_runs
            WHERE session_id = wanted.session_id AND trigger = 'schedule' AND scheduled_for < :since
            ORDER BY scheduled_for DESC LIMIT :rows
        ) AS r
        WHERE r.scheduled_until >= :since
    """)
    values = {"ids": list(suspects), "since": since, "rows": MAX_ROWS_BEFORE}
    for job_id, until in session.execute(newest_before, values):
        book = suspects[job_id]
        book.lost = [at for at in book.lost if at > until]


def _count_in_force(session: Session, viewer: Viewer) -> int:
    in_force = select(SchedulePeriod.session_id).where(SchedulePeriod.ends_at.is_(None))
    if not viewer.is_admin:
        in_force = in_force.join(Job, Job.id == SchedulePeriod.session_id).where(Job.user_id == viewer.user_id)
    return session.execute(select(func.count()).select_from(in_force.limit(MAX_COUNTED).subquery())).scalar_one()
