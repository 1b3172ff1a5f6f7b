"""What a fire pass does for one due job: which rows its occurrences leave, and what is due next.

Pure: rows of the tables go in, rows to be stored come out. Every occurrence leaves exactly one row: it is
queued, missed or skipped. The newest 100 leave one each; what is older shares one row that counts them.
A plan does not name its job: jobs that are due alike share one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from db.models import CatchUp, Cause, Job, JobStatus, OnHoliday, Overlap, RunStatus
from recurrence import (
    Calendar,
    Rule,
    count_occurrences,
    day_off_at,
    last_occurrences,
    next_occurrence,
    next_working_time,
    parse_rule,
)

MAX_SINGLE_ROWS = 100
WILL_MOVE = "; runs on the next working day instead"
TICK = timedelta(microseconds=1)
ON_TIME = timedelta(seconds=60)


@dataclass(frozen=True)
class DueJob:
    """What a plan depends on, of a due job's row. A `Job` has the same attributes."""

    next_run: datetime
    schedule_type: str | None
    schedule_config: dict[str, Any] | None
    time_zone: str
    status: str
    catch_up: str
    overlap: str
    misfire_grace_seconds: int | None
    calendar_ids: Sequence[int]
    on_holiday: str
    moved_runs: Sequence[datetime]


@dataclass(frozen=True)
class PlannedRun:
    """A row of `import_runs` to be inserted for one occurrence, or for `occurrences` up to `scheduled_until`."""

    scheduled_for: datetime
    status: RunStatus
    cause: Cause | None = None
    reason: str | None = None
    occurrences: int = 1
    scheduled_until: datetime | None = None
    moved_to: datetime | None = None
    start_by: datetime | None = None


@dataclass(frozen=True)
class JobPlan:
    """What one pass does for one due job: its rows, the last occurrence they cover, and what is due next."""

    runs: Sequence[PlannedRun]
    last_fired: datetime
    next_run: datetime | None
    moved_runs: Sequence[datetime] = ()


@dataclass(frozen=True)
class Surroundings:
    """What is so for the job at this moment, beside its own row."""

    now: datetime
    breaker_open_until: datetime | None = None
    calendars: tuple[Calendar, ...] = ()
    outages: Sequence[tuple[datetime, datetime]] = field(default=())  # when nobody fired: (from, to)


@dataclass(frozen=True)
class Due:
    """A rule's occurrences up to now: the newest one by one, the older ones as a span."""

    newest: tuple[datetime, ...]
    following: datetime | None
    older: int = 0
    older_until: datetime | None = None


def plan_job(job: Job | DueJob, here: Surroundings) -> JobPlan:
    """The rows for a due job's occurrences up to now, and its next occurrence after them.

    Raises recurrence.InvalidScheduleError when the job's schedule cannot be read.
    """
    assert job.next_run is not None
    rule = rule_of(job)
    due = find_due(rule, job.next_run, here.now)
    rows = _collapse(job, due, _cause_of_missing(job, job.next_run, here))
    to_place = {*due.newest, *_list_due_moves(job, rule, due, here.now)}
    placed, days_off, moved_runs = _set_days_off_aside(job, to_place, here)
    ordinary = [at for at in placed if not _is_counted(job, rule, due, at)]
    wanted = _choose_wanted(job, ordinary, here.now)
    for at in ordinary:
        if at in wanted:
            rows.append(_plan_wanted(job, at, here))
        else:
            cause, reason = _cause_of_missing(job, at, here)
            rows.append(PlannedRun(at, RunStatus.MISSED, cause, reason))
    rows = sorted([*rows, *days_off], key=lambda row: row.scheduled_for)
    return JobPlan(rows, due.newest[-1], _earliest(due.following, moved_runs), moved_runs)


def plan_giving_up(job: Job | DueJob, now: datetime, cause: Cause, reason: str) -> list[PlannedRun]:
    """Rows for occurrences that are due and that nobody will fire any more, because the schedule ends or changes."""
    if job.next_run is None or job.next_run > now:
        return []
    rule = rule_of(job)
    due = find_due(rule, job.next_run, now)
    singles = sorted({*due.newest, *_list_due_moves(job, rule, due, now)})
    return _collapse(job, due, (cause, reason)) + [PlannedRun(at, RunStatus.MISSED, cause, reason) for at in singles]


def rule_of(job: Job | DueJob) -> Rule:
    """The job's schedule. Raises recurrence.InvalidScheduleError."""
    return parse_rule(job.schedule_type or "", job.schedule_config or {}, job.time_zone)


@lru_cache(maxsize=4096)
def find_due(rule: Rule, first: datetime, now: datetime) -> Due:
    """`first`, which is due, and the rule's occurrences after it up to now. Memoised: many jobs share all three."""
    newest = [first]
    following = next_occurrence(rule, first)
    while following is not None and following <= now and len(newest) < MAX_SINGLE_ROWS:
        newest.append(following)
        following = next_occurrence(rule, following)
    if following is None or following > now:
        return Due(tuple(newest), following)
    newest = last_occurrences(rule, first, now, MAX_SINGLE_ROWS)
    older = 1 + count_occurrences(rule, first, now) - len(newest)
    (before_newest,) = last_occurrences(rule, first, newest[0] - TICK, 1) or [first]
    return Due(tuple(newest), next_occurrence(rule, now), older, before_newest)


def _collapse(job: Job | DueJob, due: Due, why: tuple[Cause, str]) -> list[PlannedRun]:
    if not due.older:
        return []
    assert job.next_run is not None
    return [PlannedRun(job.next_run, RunStatus.MISSED, *why, occurrences=due.older, scheduled_until=due.older_until)]


def _list_due_moves(job: Job | DueJob, rule: Rule, due: Due, now: datetime) -> list[datetime]:
    return [at for at in job.moved_runs if at <= now and not _is_counted(job, rule, due, at)]


def _is_counted(job: Job | DueJob, rule: Rule, due: Due, at: datetime) -> bool:
    """Whether the row that counts the older occurrences accounts for this one, so that no other row may."""
    if due.older_until is None or at > due.older_until:
        return False
    return at == job.next_run or next_occurrence(rule, at - TICK) == at


def _set_days_off_aside(
    job: Job | DueJob, due: Collection[datetime], here: Surroundings
) -> tuple[list[datetime], list[PlannedRun], list[datetime]]:
    """Of what is due: what falls on ordinary days, rows for days off, and what was moved and is due later."""
    if not here.calendars and not job.moved_runs:
        return sorted(due), [], []
    ordinary: set[datetime] = set()
    rows: list[PlannedRun] = []
    later = {at for at in job.moved_runs if at > here.now}
    for at in sorted(due):
        name = day_off_at(here.calendars, at, job.time_zone)
        if name is None:
            ordinary.add(at)
            continue
        moved_to = next_working_time(here.calendars, at, job.time_zone) if job.on_holiday == OnHoliday.MOVE else None
        reason = f"holiday: {name}" + (WILL_MOVE if moved_to else "")
        rows.append(PlannedRun(at, RunStatus.SKIPPED, Cause.HOLIDAY, reason, moved_to=moved_to))
        if moved_to is not None:
            (ordinary if moved_to <= here.now else later).add(moved_to)
    return sorted(ordinary), rows, sorted(later)


def _choose_wanted(job: Job | DueJob, due: Sequence[datetime], now: datetime) -> set[datetime]:
    """The occurrences that still run, by the job's catch-up and start window."""
    grace = _start_window(job)
    in_time = [at for at in due if grace is None or now - at <= grace]
    if job.catch_up == CatchUp.ALL:
        return set(in_time[-MAX_SINGLE_ROWS:])
    newest = set(in_time[-1:])
    if job.catch_up == CatchUp.NONE and grace is None:
        return {at for at in newest if now - at <= ON_TIME}
    return newest


def _plan_wanted(job: Job | DueJob, at: datetime, here: Surroundings) -> PlannedRun:
    if here.breaker_open_until is not None and here.breaker_open_until > here.now:
        until = f"{here.breaker_open_until:%d %b %H:%M} UTC"
        reason = f"the portal is left alone until {until} after refused sign-ins"
        return PlannedRun(at, RunStatus.SKIPPED, Cause.BREAKER, reason)
    if job.status in (JobStatus.QUEUED, JobStatus.RUNNING) and job.overlap == Overlap.SKIP:
        reason = f"the previous run was still {job.status}"
        return PlannedRun(at, RunStatus.SKIPPED, Cause.OVERLAP, reason)
    grace = _start_window(job)
    return PlannedRun(at, RunStatus.QUEUED, start_by=at + grace if grace is not None else None)


def _cause_of_missing(job: Job | DueJob, at: datetime, here: Surroundings) -> tuple[Cause, str]:
    for began, ended in here.outages:
        if began <= at <= ended:
            return Cause.OUTAGE, f"no scheduler was running from {began:%d %b %H:%M} to {ended:%d %b %H:%M} UTC"
    grace = _start_window(job)
    if grace is not None and here.now - at > grace:
        return Cause.LATE, f"not started within its start window of {in_words(int(grace.total_seconds()))}"
    return Cause.LATE, "no scheduler came to it before it was too late"


def _start_window(job: Job | DueJob) -> timedelta | None:
    return None if job.misfire_grace_seconds is None else timedelta(seconds=job.misfire_grace_seconds)


def _earliest(following: datetime | None, moved_runs: Sequence[datetime]) -> datetime | None:
    return min((at for at in (following, *moved_runs) if at is not None), default=None)


def in_words(seconds: int) -> str:
    """A start window as people say it: "90 s", "10 min", "2 h", "1 day"."""
    for unit, name in ((86400, "day"), (3600, "h"), (60, "min")):
        if seconds % unit == 0:
            count = seconds // unit
            return f"{count} {name}" + ("s" if name == "day" and count > 1 else "")
    return f"{seconds} s"
