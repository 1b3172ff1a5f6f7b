"""Fire: turn due occurrences into runs, exactly once each, and advance the schedules.

One transaction a batch. The rule's answers are computed in Python (`db.planning`); the batch then takes
four statements, whatever its size: lock, insert, advance, notify. Calendars and outages are read once a
batch, and only when a job keeps a calendar or something is late.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from db.audit import record_audit
from db.calendars import load_calendars
from db.models import Cause, Job, Portal, RunStatus, RunTrigger
from db.outages import list_outages
from db.planning import JobPlan, PlannedRun, Surroundings, plan_giving_up, plan_job
from db.schedule_periods import end_period
from db.wake import Wake, send_wake
from recurrence import Calendar, InvalidScheduleError

BATCH_SIZE = 500
LATE = timedelta(seconds=1)  # the shortest start window: what is later may be missed, and an outage be why

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FirePass:
    """What one batch did: how many schedules were due, how many runs are now queued."""

    due: int
    queued: int


def fire_due_jobs(session: Session, now: datetime, *, limit: int = BATCH_SIZE) -> FirePass:
    """Fire up to `limit` due schedules; jobs that another scheduler holds are left to it."""
    found = session.execute(
        select(Job, Portal.breaker_open_until)
        .outerjoin(Portal, Portal.id == Job.portal_id)
        .where(Job.is_scheduled, Job.paused_at.is_(None), Job.next_run <= now)
        .order_by(Job.next_run)
        .limit(limit)
        .with_for_update(of=Job, skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    rows = [(job, breaker_open_until) for job, breaker_open_until in found]
    plans: list[JobPlan] = []
    calendars, outages = _look_around(session, [job for job, _ in rows], now)
    for job, breaker_open_until in rows:
        try:
            plans.append(plan_job(job, Surroundings(now, breaker_open_until, _calendars_of(job, calendars), outages)))
        except InvalidScheduleError as error:
            _suspend_job(session, job, error, now)
    queued = 0
    if plans:
        queued_ids = insert_planned_runs(session, [run for plan in plans for run in plan.runs], now)
        queued = len(queued_ids)
        _advance_jobs(session, plans, set(queued_ids))
    if queued:
        send_wake(session, Wake.CLAIM)
    return FirePass(due=len(rows), queued=queued)


def get_earliest_next_run(session: Session) -> datetime | None:
    """When the next schedule is due; None when nothing is scheduled."""
    return session.execute(select(func.min(Job.next_run)).where(Job.is_scheduled, Job.paused_at.is_(None))).scalar_one()


def insert_planned_runs(session: Session, planned: Sequence[PlannedRun], now: datetime) -> list[str]:
    """Insert the rows, save for occurrences that fired before; returns the job of each row that is queued."""
    inserted = session.execute(
        text("""
            INSERT INTO import_runs
                (session_id, trigger, scheduled_for, status, cause, reason, occurrences, scheduled_until, moved_to,
                 start_by, queued_at, run_after, finished_at, owner_id, portal_id)
            SELECT v.session_id, :trigger, v.scheduled_for, v.status, v.cause, v.reason, v.occurrences,
                   v.scheduled_until, v.moved_to, v.start_by, :now, :now,
                   CASE WHEN v.status <> 'queued' THEN CAST(:now AS timestamptz) END, s.user_id, s.portal_id
            FROM unnest(
                CAST(:sessions AS text[]), CAST(:instants AS timestamptz[]), CAST(:statuses AS text[]),
                CAST(:causes AS text[]), CAST(:reasons AS text[]), CAST(:counts AS int[]),
                CAST(:untils AS timestamptz[]), CAST(:moves AS timestamptz[]), CAST(:start_bys AS timestamptz[])
            ) WITH ORDINALITY AS v(session_id, scheduled_for, status, cause, reason, occurrences, scheduled_until,
                                   moved_to, start_by, position)
            JOIN import_sessions AS s ON s.id = v.session_id
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
            "causes": [p.cause.value if p.cause else None for p in planned],
            "reasons": [p.reason for p in planned],
            "counts": [p.occurrences for p in planned],
            "untils": [p.scheduled_until for p in planned],
            "moves": [p.moved_to for p in planned],
            "start_bys": [p.start_by for p in planned],
        },
    )
    return [session_id for session_id, status in inserted if status == RunStatus.QUEUED]


def _look_around(
    session: Session, jobs: Sequence[Job], now: datetime
) -> tuple[dict[int, Calendar], Sequence[tuple[datetime, datetime]]]:
    """The calendars that the jobs keep, and the outages since the first of them was due."""
    calendars = load_calendars(session, {calendar_id for job in jobs for calendar_id in job.calendar_ids})
    earliest = min((job.next_run for job in jobs if job.next_run is not None), default=now)
    return calendars, list_outages(session, earliest, now) if earliest <= now - LATE else ()


def _calendars_of(job: Job, calendars: dict[int, Calendar]) -> tuple[Calendar, ...]:
    unknown = [calendar_id for calendar_id in job.calendar_ids if calendar_id not in calendars]
    if unknown:
        raise InvalidScheduleError(f"there is no calendar {unknown[0]} any more")
    return tuple(calendars[calendar_id] for calendar_id in job.calendar_ids)


def _advance_jobs(session: Session, plans: Sequence[JobPlan], queued_ids: set[str]) -> None:
    session.execute(
        text("""
            UPDATE import_sessions AS s
            SET next_run = v.next_run,
                last_scheduled_run = greatest(s.last_scheduled_run, v.fired),
                moved_runs = CAST(v.moved_runs AS timestamptz[]),
                status = CASE WHEN v.queued AND s.status <> 'running' THEN 'queued' ELSE s.status END
            FROM unnest(
                CAST(:ids AS text[]), CAST(:next_runs AS timestamptz[]), CAST(:fired AS timestamptz[]),
                CAST(:moved_runs AS text[]), CAST(:queued AS boolean[])
            ) AS v(id, next_run, fired, moved_runs, queued)
            WHERE s.id = v.id
        """),
        {
            "ids": [p.session_id for p in plans],
            "next_runs": [p.next_run for p in plans],
            "fired": [p.last_fired for p in plans],
            # As text: an array of arrays would have to be as long in every row.
            "moved_runs": ["{" + ",".join(at.isoformat() for at in p.moved_runs) + "}" for p in plans],
            "queued": [p.session_id in queued_ids for p in plans],
        },
    )


def _suspend_job(session: Session, job: Job, error: InvalidScheduleError, now: datetime) -> None:
    """A schedule that can no longer be read must not stop the others: its job is paused, and says why."""
    logger.error("job %s: its schedule cannot be read and was paused: %s", job.id, error)
    reason = f"the schedule was paused because it cannot be read: {error}"
    assert job.next_run is not None
    try:
        given_up = plan_giving_up(job, now, Cause.UNREADABLE, reason)  # the rule is sound, a calendar is not
    except InvalidScheduleError:
        given_up = [PlannedRun(job.id, job.next_run, RunStatus.SKIPPED, Cause.UNREADABLE, reason)]
    insert_planned_runs(session, given_up, now)
    job.paused_at = now
    end_period(session, job.id, now)
    record_audit(session, None, reason, f"job {job.id}")
