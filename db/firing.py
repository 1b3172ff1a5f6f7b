"""Fire: turn due occurrences into runs, exactly once each, and advance the schedules.

One transaction a batch. The rule's answers are computed here in Python; the batch then takes four
statements, whatever its size: lock, insert, advance, notify.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from db.audit import record_audit
from db.models import CatchUp, Job, JobStatus, Overlap, Portal, RunStatus, RunTrigger
from db.wake import Wake, send_wake
from recurrence import InvalidScheduleError, Rule, next_occurrence, parse_rule

BATCH_SIZE = 500
MAX_OCCURRENCES_PER_PASS = 1000
MAX_RUNS_CAUGHT_UP = 100
ON_TIME = timedelta(seconds=60)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedRun:
    """A row of `import_runs` to be inserted for one or several occurrences."""

    session_id: str
    scheduled_for: datetime
    status: RunStatus
    reason: str | None = None
    occurrences: int = 1


@dataclass(frozen=True)
class JobPlan:
    """What one pass does for one due job: its rows, the last occurrence they cover, and what is due next."""

    session_id: str
    runs: Sequence[PlannedRun]
    last_fired: datetime
    next_run: datetime | None


@dataclass(frozen=True)
class FirePass:
    """What one batch did: how many schedules were due, how many runs are now queued."""

    due: int
    queued: int


def fire_due_jobs(session: Session, now: datetime, *, limit: int = BATCH_SIZE) -> FirePass:
    """Fire up to `limit` due schedules; jobs that another scheduler holds are left to it."""
    rows = session.execute(
        select(Job, Portal.breaker_open_until)
        .outerjoin(Portal, Portal.id == Job.portal_id)
        .where(Job.is_scheduled, Job.paused_at.is_(None), Job.next_run <= now)
        .order_by(Job.next_run)
        .limit(limit)
        .with_for_update(of=Job, skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    plans: list[JobPlan] = []
    for job, breaker_open_until in rows:
        try:
            plans.append(plan_job(job, breaker_open_until, now))
        except InvalidScheduleError as error:
            _suspend_job(session, job, error, now)
    queued = 0
    if plans:
        queued_ids = _insert_runs(session, [run for plan in plans for run in plan.runs], now)
        queued = len(queued_ids)
        _advance_jobs(session, plans, set(queued_ids))
    if queued:
        send_wake(session, Wake.CLAIM)
    return FirePass(due=len(rows), queued=queued)


def get_earliest_next_run(session: Session) -> datetime | None:
    """When the next schedule is due; None when nothing is scheduled."""
    return session.execute(select(func.min(Job.next_run)).where(Job.is_scheduled, Job.paused_at.is_(None))).scalar_one()


def plan_job(job: Job, breaker_open_until: datetime | None, now: datetime) -> JobPlan:
    """The rows for a due job's occurrences up to now, and its next occurrence after them.

    After a very long outage the occurrences are worked off in several passes of bounded size; the newest
    that a pass found stay due, so that the last pass can catch up on as many as ever.
    """
    assert job.next_run is not None
    rule = _rule(job)
    due = [job.next_run]
    following = _next(rule, job.next_run)
    while following is not None and following <= now and len(due) < MAX_OCCURRENCES_PER_PASS:
        due.append(following)
        following = _next(rule, following)
    if following is not None and following <= now:
        worked_off, left = due[:-MAX_RUNS_CAUGHT_UP], due[-MAX_RUNS_CAUGHT_UP:]
        return JobPlan(job.id, [_collapse(job.id, worked_off)], worked_off[-1], left[0])
    return JobPlan(job.id, _apply_policies(job, due, breaker_open_until, now), due[-1], following)


def _apply_policies(
    job: Job, due: Sequence[datetime], breaker_open_until: datetime | None, now: datetime
) -> list[PlannedRun]:
    if job.catch_up == CatchUp.ALL:
        missed, wanted = due[:-MAX_RUNS_CAUGHT_UP], due[-MAX_RUNS_CAUGHT_UP:]
    elif job.catch_up == CatchUp.LATEST or now - due[-1] <= ON_TIME:
        missed, wanted = due[:-1], due[-1:]
    else:
        missed, wanted = due, due[:0]
    rows = [_collapse(job.id, missed[:-MAX_RUNS_CAUGHT_UP])] if len(missed) > MAX_RUNS_CAUGHT_UP else []
    rows += [
        PlannedRun(job.id, at, RunStatus.MISSED, "no scheduler was running at that time")
        for at in missed[-MAX_RUNS_CAUGHT_UP:]
    ]
    is_live = job.status in (JobStatus.QUEUED, JobStatus.RUNNING)
    for at in wanted:
        if breaker_open_until is not None and breaker_open_until > now:
            reason = f"the portal is left alone until {breaker_open_until:%d %b %H:%M} UTC after refused sign-ins"
            rows.append(PlannedRun(job.id, at, RunStatus.SKIPPED, reason))
        elif is_live and job.overlap == Overlap.SKIP:
            rows.append(PlannedRun(job.id, at, RunStatus.SKIPPED, f"the previous run was still {job.status}"))
        else:
            rows.append(PlannedRun(job.id, at, RunStatus.QUEUED))
    return rows


def _collapse(job_id: str, occurrences: Sequence[datetime]) -> PlannedRun:
    first, last = occurrences[0], occurrences[-1]
    reason = f"no scheduler was running from {first:%d %b %H:%M} to {last:%d %b %H:%M} UTC"
    return PlannedRun(job_id, first, RunStatus.MISSED, reason, len(occurrences))


def _rule(job: Job) -> Rule:
    return parse_rule(job.schedule_type or "", job.schedule_config or {}, job.time_zone)


@lru_cache(maxsize=4096)
def _next(rule: Rule, after: datetime) -> datetime | None:
    """Memoised: many jobs share a rule and an instant."""
    return next_occurrence(rule, after)


def _insert_runs(session: Session, planned: Sequence[PlannedRun], now: datetime) -> list[str]:
    """Insert the rows, save for occurrences that fired before; returns the job of each row that is queued."""
    inserted = session.execute(
        text("""
            INSERT INTO import_runs
                (session_id, trigger, scheduled_for, status, reason, occurrences, queued_at, run_after, finished_at)
            SELECT v.session_id, :trigger, v.scheduled_for, v.status, v.reason, v.occurrences, :now, :now,
                   CASE WHEN v.status <> 'queued' THEN CAST(:now AS timestamptz) END
            FROM unnest(
                CAST(:sessions AS text[]), CAST(:instants AS timestamptz[]), CAST(:statuses AS text[]),
                CAST(:reasons AS text[]), CAST(:counts AS int[])
            ) WITH ORDINALITY AS v(session_id, scheduled_for, status, reason, occurrences, position)
            ORDER BY v.position
            ON CONFLICT (session_id, scheduled_for) WHERE trigger = 'schedule' DO NOTHING
            RETURNING session_id, status
        """),
        {
            "trigger": RunTrigger.SCHEDULE.value,
            "now": now,
            "sessions": [p.session_id for p in planned],
            "instants": [p.scheduled_for for p in planned],
            "statuses": [p.status.value for p in planned],
            "reasons": [p.reason for p in planned],
            "counts": [p.occurrences for p in planned],
        },
    )
    return [session_id for session_id, status in inserted if status == RunStatus.QUEUED]


def _advance_jobs(session: Session, plans: Sequence[JobPlan], queued_ids: set[str]) -> None:
    session.execute(
        text("""
            UPDATE import_sessions AS s
            SET next_run = v.next_run,
                last_scheduled_run = greatest(s.last_scheduled_run, v.fired),
                status = CASE WHEN v.queued AND s.status <> 'running' THEN 'queued' ELSE s.status END
            FROM unnest(
                CAST(:ids AS text[]), CAST(:next_runs AS timestamptz[]), CAST(:fired AS timestamptz[]),
                CAST(:queued AS boolean[])
            ) AS v(id, next_run, fired, queued)
            WHERE s.id = v.id
        """),
        {
            "ids": [p.session_id for p in plans],
            "next_runs": [p.next_run for p in plans],
            "fired": [p.last_fired for p in plans],
            "queued": [p.session_id in queued_ids for p in plans],
        },
    )


def _suspend_job(session: Session, job: Job, error: InvalidScheduleError, now: datetime) -> None:
    """A schedule that can no longer be read must not stop the others: its job is paused, and says why."""
    logger.error("job %s: its schedule cannot be read and was paused: %s", job.id, error)
    reason = f"the schedule was paused because it cannot be read: {error}"
    assert job.next_run is not None
    _insert_runs(session, [PlannedRun(job.id, job.next_run, RunStatus.SKIPPED, reason)], now)
    job.paused_at = now
    record_audit(session, None, reason, f"job {job.id}")
