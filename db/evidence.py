"""Evidence: live queries for what must never be, so that "exactly once" need not be believed.

Each line says what was counted and over how much, and names the index that makes it impossible, as the catalogue
has it now. Every query is bounded, however long the history: the newest rows by their key, live rows by a
partial index, a sample of jobs for the ledger. Nothing is claimed about what was not looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session

from db.doubles import (
    MAX_FINDINGS,
    Doubles,
    Finding,
    find_accounts_with_two_results,
    find_occurrences_fired_twice,
    find_runs_finished_twice,
)
from db.guards import FINISHED, OCCURRENCE, RESULT, RUNNING, GuardState, look_up_guards
from db.instances import OVERDUE_AFTER, SILENT_AFTER, list_instances
from db.ledger_gaps import GapCheck, find_gaps
from db.models import Job, Run, RunStatus
from db.viewers import Viewer

RECOVERY_GRACE = timedelta(seconds=15)  # three times the pause between two looks for expired leases


@dataclass(frozen=True)
class Line:
    """One thing that is counted. `checked` says over how much, `since` from when on, None when that has no start.

    `count` should be 0, save that of the schedulers alive. `findings` hold the first twenty.
    """

    key: str
    title: str
    meaning: str
    count: int
    is_fine: bool
    checked: Mapping[str, int]
    since: datetime | None = None
    guard: GuardState | None = None
    findings: Sequence[Finding] = ()


@dataclass(frozen=True)
class Evidence:
    """All lines, as they were at one moment. `is_everybodys` is False when only the viewer's jobs were looked at."""

    asked_at: datetime
    is_everybodys: bool
    lines: Sequence[Line]

    @property
    def is_fine(self) -> bool:
        """Whether every line is as it should be."""
        return all(line.is_fine for line in self.lines)


def gather_evidence(session: Session, viewer: Viewer, now: datetime, *, sample_from: str) -> Evidence:
    """Ask everything in one snapshot of the database; must be the transaction's first statements.

    `sample_from` is where the sample of jobs for the ledger begins, in the order of their ids.
    """
    session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    guards = look_up_guards(session, (OCCURRENCE, FINISHED, RESULT, RUNNING))
    gaps = find_gaps(session, viewer, now, sample_from=sample_from)
    lines = [
        _doubles(
            "fired_twice",
            "Occurrences fired twice",
            "Instants of a job's schedule that have two rows: bills may then have been fetched twice.",
            "runs",
            find_occurrences_fired_twice(session, viewer),
            guards[OCCURRENCE.name],
        ),
        _doubles(
            "finished_twice",
            "Runs finished by two workers",
            "Runs whose end was written by two workers, although only one can hold the lease.",
            "attempts",
            find_runs_finished_twice(session, viewer),
            guards[FINISHED.name],
        ),
        _doubles(
            "results_twice",
            "Accounts with two results in one run",
            "Accounts for which one run wrote down two results: it may then have signed in twice.",
            "results",
            find_accounts_with_two_results(session, viewer),
            guards[RESULT.name],
        ),
        _overlaps(session, viewer, guards[RUNNING.name]),
        _expired_leases(session, viewer, now),
        _lost(gaps),
        _overdue(session, viewer, now, gaps.jobs_in_force),
        _schedulers(session, now),
    ]
    return Evidence(now, viewer.is_admin, lines)


def _doubles(key: str, title: str, meaning: str, noun: str, found: Doubles, guard: GuardState) -> Line:
    return Line(
        key=key,
        title=title,
        meaning=meaning,
        count=found.count,
        is_fine=found.count == 0 and guard.holds,
        checked={noun: found.checked},
        since=found.since,
        guard=guard,
        findings=found.findings,
    )


def _overlaps(session: Session, viewer: Viewer, guard: GuardState) -> Line:
    overlapping = (
        select(Run.session_id, Job.name, func.array_agg(Run.id).label("ids"), func.max(Run.started_at).label("at"))
        .join(Job, Job.id == Run.session_id)
        .where(Run.status == RunStatus.RUNNING, *_mine(viewer))
        .group_by(Run.session_id, Job.name)
        .having(func.count() > 1)
    )
    rows = session.execute(overlapping.order_by(func.max(Run.id).desc())).all()
    return Line(
        key="overlapping",
        title="Jobs that overlap themselves",
        meaning="Jobs with two runs running at this moment, signing in to the same accounts.",
        count=len(rows),
        is_fine=not rows and guard.holds,
        checked={"running": _count_running(session, viewer)},
        guard=guard,
        findings=[
            Finding(row.session_id, row.name, sorted(row.ids), row.at, f"{len(row.ids)} runs at once")
            for row in rows[:MAX_FINDINGS]
        ],
    )


def _expired_leases(session: Session, viewer: Viewer, now: datetime) -> Line:
    expired = (Run.status == RunStatus.RUNNING, Run.lease_until < now - RECOVERY_GRACE, *_mine(viewer))
    joined = select(Run.id, Run.session_id, Job.name, Run.lease_until).join(Job, Job.id == Run.session_id)
    rows = session.execute(joined.where(*expired).order_by(Run.lease_until)).all()
    return Line(
        key="expired_leases",
        title="Expired leases not recovered",
        meaning="Runs still held for a worker that fell silent, although they should be back in the queue by now.",
        count=len(rows),
        is_fine=not rows,
        checked={"running": _count_running(session, viewer)},
        findings=[
            Finding(row.session_id, row.name, [row.id], row.lease_until, "lease ran out") for row in rows[:MAX_FINDINGS]
        ],
    )


def _lost(gaps: GapCheck) -> Line:
    return Line(
        key="gaps",
        title="Gaps in ledgers",
        meaning="Occurrences that a schedule expected, and no row says that they ran, were missed or were skipped.",
        count=len(gaps.lost),
        is_fine=not gaps.lost,
        checked={"jobs": gaps.jobs, "jobs_in_force": gaps.jobs_in_force, "occurrences": gaps.occurrences},
        since=gaps.since,
        findings=[Finding(job.id, job.name, [], at, "left no trace") for job, at in gaps.lost[:MAX_FINDINGS]],
    )


def _overdue(session: Session, viewer: Viewer, now: datetime, jobs_in_force: int) -> Line:
    overdue = (Job.is_scheduled, Job.paused_at.is_(None), Job.next_run < now - OVERDUE_AFTER, *_mine(viewer))
    count = session.execute(select(func.count()).select_from(Job).where(*overdue)).scalar_one()
    oldest = select(Job.id, Job.name, Job.next_run).where(*overdue).order_by(Job.next_run).limit(MAX_FINDINGS)
    return Line(
        key="overdue",
        title="Overdue schedules",
        meaning="Schedules that have been due for more than a minute, and nobody has fired them.",
        count=count,
        is_fine=count == 0,
        checked={"jobs_in_force": jobs_in_force},
        findings=[Finding(row.id, row.name, [], row.next_run, "was due") for row in session.execute(oldest)],
    )


def _schedulers(session: Session, now: datetime) -> Line:
    alive = list_instances(session, now)
    firing = [i for i in alive if i.last_fire_at is not None and i.last_fire_at > now - SILENT_AFTER]
    return Line(
        key="schedulers_alive",
        title="Schedulers alive",
        meaning="Processes that fire schedules and recover runs; without one nothing starts by itself.",
        count=len(alive),
        is_fine=bool(firing),
        checked={"firing": len(firing)},
    )


def _count_running(session: Session, viewer: Viewer) -> int:
    running = select(func.count()).select_from(Run).where(Run.status == RunStatus.RUNNING)
    if not viewer.is_admin:
        running = running.join(Job, Job.id == Run.session_id).where(Job.user_id == viewer.user_id)
    return session.execute(running).scalar_one()


def _mine(viewer: Viewer) -> list[ColumnElement[bool]]:
    return [] if viewer.is_admin else [Job.user_id == viewer.user_id]
