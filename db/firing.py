"""Fire: turn due occurrences into runs, exactly once each, and advance the schedules.

One transaction a batch. The rule's answers are computed in Python (`db.planning`), once for all jobs of the
batch that are due alike; the batch then takes four statements, whatever its size: lock, insert, advance,
notify. Calendars and outages are read once a batch, and only when a job keeps a calendar or something is late.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from db.array_literals import bool_array, int_array, text_array
from db.audit import record_audit
from db.calendars import load_calendars
from db.models import Cause, Job, RunStatus, RunTrigger
from db.outages import list_outages
from db.planning import DueJob, JobPlan, PlannedRun, Surroundings, plan_giving_up, plan_job
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


class RunOwner(NamedTuple):
    """The job that a run belongs to, and whose and where it is."""

    job_id: str
    user_id: str
    portal_id: int | None


class DueAlike(NamedTuple):
    """Jobs that are due in the same way, so that one plan serves them all."""

    job: DueJob
    breaker_open_until: datetime | None
    owners: list[RunOwner]


def fire_due_jobs(
    session: Session, now: datetime, *, limit: int = BATCH_SIZE, on_full: Callable[[], None] | None = None
) -> FirePass:
    """Fire up to `limit` due schedules; jobs that another scheduler holds are left to it.

    `on_full` is called once they are locked, when there are so many that more may be due.
    """
    groups = _lock_due_jobs(session, now, limit)
    due = sum(len(group.owners) for group in groups)
    if due == limit and on_full is not None:
        on_full()
    calendars, outages = _look_around(session, [group.job for group in groups], now)
    plans: list[tuple[JobPlan, Sequence[RunOwner]]] = []
    for group in groups:
        try:
            kept = _calendars_of(group.job, calendars)
            plan = plan_job(group.job, Surroundings(now, group.breaker_open_until, kept, outages))
        except InvalidScheduleError as error:
            for owner in group.owners:
                _suspend_job(session, owner.job_id, error, now)
        else:
            plans.append((plan, group.owners))
    queued: list[str] = []
    if plans:
        queued = insert_planned_runs(session, [(plan.runs, owners) for plan, owners in plans], now)
        _advance_jobs(session, plans, set(queued))
    if queued:
        send_wake(session, Wake.CLAIM)
    return FirePass(due=due, queued=len(queued))


def rehearse_firing(session: Session, now: datetime) -> None:
    """Run a batch's statements with nothing to fire: a connection's first batch would take 20 ms longer."""
    _lock_due_jobs(session, now, 0)
    insert_planned_runs(session, [], now)
    _advance_jobs(session, [], set())


def get_earliest_next_run(session: Session) -> datetime | None:
    """When the next schedule is due; None when nothing is scheduled."""
    return session.execute(select(func.min(Job.next_run)).where(Job.is_scheduled, Job.paused_at.is_(None))).scalar_one()


def insert_planned_runs(
    session: Session, planned: Sequence[tuple[Sequence[PlannedRun], Sequence[RunOwner]]], now: datetime
) -> list[str]:
    """Insert rows, each for several jobs, save for occurrences that fired before.

    Returns the job of each row that is queued now.
    """
    rows = [(number, row) for number, (runs, _) in enumerate(planned) for row in runs]
    members = [(owner, number) for number, (_, owners) in enumerate(planned) for owner in owners]
    inserted = session.execute(
        text("""
            INSERT INTO import_runs
                (session_id, trigger, scheduled_for, status, cause, reason, occurrences, scheduled_until, moved_to,
                 start_by, queued_at, run_after, finished_at, owner_id, portal_id)
            SELECT m.id, :trigger, r.scheduled_for, r.status, r.cause, r.reason, r.occurrences,
                   r.scheduled_until, r.moved_to, r.start_by, :now, :now,
                   CASE WHEN r.status <> 'queued' THEN CAST(:now AS timestamptz) END, m.user_id, m.portal_id
            FROM unnest(
                CAST(:ids AS text[]), CAST(:users AS text[]), CAST(:portals AS bigint[]), CAST(:plans AS int[])
            ) WITH ORDINALITY AS m(id, user_id, portal_id, plan, position)
            JOIN unnest(
                CAST(:row_plans AS int[]), CAST(:instants AS timestamptz[]), CAST(:statuses AS text[]),
                CAST(:causes AS text[]), CAST(:reasons AS text[]), CAST(:counts AS int[]),
                CAST(:untils AS timestamptz[]), CAST(:moves AS timestamptz[]), CAST(:start_bys AS timestamptz[])
            ) WITH ORDINALITY AS r(plan, scheduled_for, status, cause, reason, occurrences, scheduled_until,
                                   moved_to, start_by, position) ON r.plan = m.plan
            ORDER BY m.position, r.position
            ON CONFLICT (session_id, scheduled_for) WHERE trigger = 'schedule' DO NOTHING
            RETURNING CASE WHEN status = 'queued' THEN session_id END
        """),
        {
            "trigger": RunTrigger.SCHEDULE.value,
            "now": now,
            "ids": text_array(owner.job_id for owner, _ in members),
            "users": text_array(owner.user_id for owner, _ in members),
            "portals": int_array(owner.portal_id for owner, _ in members),
            "plans": int_array(number for _, number in members),
            "row_plans": [number for number, _ in rows],
            "instants": [row.scheduled_for for _, row in rows],
            "statuses": [row.status.value for _, row in rows],
            "causes": [row.cause.value if row.cause else None for _, row in rows],
            "reasons": [row.reason for _, row in rows],
            "counts": [row.occurrences for _, row in rows],
            "untils": [row.scheduled_until for _, row in rows],
            "moves": [row.moved_to for _, row in rows],
            "start_bys": [row.start_by for _, row in rows],
        },
    )
    return [job_id for job_id in inserted.scalars() if job_id is not None]


def owner_of(job: Job) -> RunOwner:
    """Whose the job's runs are, and where."""
    return RunOwner(job.id, job.user_id, job.portal_id)


def _lock_due_jobs(session: Session, now: datetime, limit: int) -> list[DueAlike]:
    """What is due, the most overdue first, grouped by all that a plan depends on."""
    found = session.execute(
        text("""
            SELECT s.id, s.user_id, s.portal_id, s.next_run, s.schedule_type, CAST(s.schedule_config AS text),
                   s.time_zone, s.status, s.catch_up, s.overlap, s.misfire_grace_seconds,
                   CAST(to_json(s.calendar_ids) AS text), s.on_holiday, CAST(to_json(s.moved_runs) AS text),
                   p.breaker_open_until
            FROM import_sessions AS s LEFT JOIN portals AS p ON p.id = s.portal_id
            WHERE s.is_scheduled AND s.paused_at IS NULL AND s.next_run <= :now
            ORDER BY s.next_run
            LIMIT :limit
            FOR NO KEY UPDATE OF s SKIP LOCKED
        """),
        {"now": now, "limit": limit},
    )
    owners_by_state: dict[tuple[Any, ...], list[RunOwner]] = {}
    for job_id, user_id, portal_id, *state in found:
        owners_by_state.setdefault(tuple(state), []).append(RunOwner(job_id, user_id, portal_id))
    return [_group(owners, *state) for state, owners in owners_by_state.items()]


def _group(
    owners: list[RunOwner],
    next_run: datetime,
    schedule_type: str | None,
    schedule_config: str | None,
    time_zone: str,
    status: str,
    catch_up: str,
    overlap: str,
    misfire_grace_seconds: int | None,
    calendar_ids: str,
    on_holiday: str,
    moved_runs: str,
    breaker_open_until: datetime | None,
) -> DueAlike:
    job = DueJob(
        next_run=next_run,
        schedule_type=schedule_type,
        schedule_config=json.loads(schedule_config or "null"),
        time_zone=time_zone,
        status=status,
        catch_up=catch_up,
        overlap=overlap,
        misfire_grace_seconds=misfire_grace_seconds,
        calendar_ids=json.loads(calendar_ids),
        on_holiday=on_holiday,
        moved_runs=[datetime.fromisoformat(at) for at in json.loads(moved_runs)],
    )
    return DueAlike(job, breaker_open_until, owners)


def _look_around(
    session: Session, jobs: Sequence[DueJob], now: datetime
) -> tuple[dict[int, Calendar], Sequence[tuple[datetime, datetime]]]:
    """The calendars that the jobs keep, and the outages since the first of them was due."""
    calendars = load_calendars(session, {calendar_id for job in jobs for calendar_id in job.calendar_ids})
    earliest = min((job.next_run for job in jobs), default=now)
    return calendars, list_outages(session, earliest, now) if earliest <= now - LATE else ()


def _calendars_of(job: DueJob, calendars: dict[int, Calendar]) -> tuple[Calendar, ...]:
    unknown = [calendar_id for calendar_id in job.calendar_ids if calendar_id not in calendars]
    if unknown:
        raise InvalidScheduleError(f"there is no calendar {unknown[0]} any more")
    return tuple(calendars[calendar_id] for calendar_id in job.calendar_ids)


def _advance_jobs(session: Session, plans: Sequence[tuple[JobPlan, Sequence[RunOwner]]], queued_ids: set[str]) -> None:
    members = [(owner.job_id, number) for number, (_, owners) in enumerate(plans) for owner in owners]
    session.execute(
        text("""
            UPDATE import_sessions AS s
            SET next_run = p.next_run,
                last_scheduled_run = greatest(s.last_scheduled_run, p.fired),
                moved_runs = CAST(p.moved_runs AS timestamptz[]),
                status = CASE WHEN m.queued AND s.status <> 'running' THEN 'queued' ELSE s.status END
            FROM unnest(CAST(:ids AS text[]), CAST(:plans AS int[]), CAST(:queued AS boolean[])) AS m(id, plan, queued)
            JOIN unnest(
                CAST(:plan_numbers AS int[]), CAST(:next_runs AS timestamptz[]), CAST(:fired AS timestamptz[]),
                CAST(:moved_runs AS text[])
            ) AS p(plan, next_run, fired, moved_runs) ON p.plan = m.plan
            WHERE s.id = m.id
        """),
        {
            "ids": text_array(job_id for job_id, _ in members),
            "plans": int_array(number for _, number in members),
            "queued": bool_array(job_id in queued_ids for job_id, _ in members),
            "plan_numbers": list(range(len(plans))),
            "next_runs": [plan.next_run for plan, _ in plans],
            "fired": [plan.last_fired for plan, _ in plans],
            # As text: an array of arrays would have to be as long in every row.
            "moved_runs": ["{" + ",".join(at.isoformat() for at in plan.moved_runs) + "}" for plan, _ in plans],
        },
    )


def _suspend_job(session: Session, job_id: str, error: InvalidScheduleError, now: datetime) -> None:
    """A schedule that can no longer be read must not stop the others: its job is paused, and says why."""
    logger.error("job %s: its schedule cannot be read and was paused: %s", job_id, error)
    reason = f"the schedule was paused because it cannot be read: {error}"
    job = session.get_one(Job, job_id, populate_existing=True)
    assert job.next_run is not None
    try:
        given_up = plan_giving_up(job, now, Cause.UNREADABLE, reason)  # the rule is sound, a calendar is not
    except InvalidScheduleError:
        given_up = [PlannedRun(job.next_run, RunStatus.SKIPPED, Cause.UNREADABLE, reason)]
    insert_planned_runs(session, [(given_up, [owner_of(job)])], now)
    job.paused_at = now
    end_period(session, job.id, now)
    record_audit(session, None, reason, f"job {job.id}")
