"""A job's schedule: put it in force, change it, pause and resume it, and how occurrences are treated.

Callers hold the job's lock and know that the viewer may change it. No change makes anything run at once:
what is due by the old schedule and was not fired is recorded as missed. A change counts from now, or from the
last occurrence that a scheduler fired by a clock ahead of the caller's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.calendars import InvalidCalendarError, load_calendars, require_calendars
from db.firing import insert_planned_runs, owner_of
from db.models import CatchUp, Cause, Job, OnHoliday, Overlap, Run, RunTrigger
from db.planning import TICK, WILL_MOVE, plan_giving_up, rule_of
from db.schedule_periods import begin_period, end_period
from recurrence import Calendar, InvalidScheduleError, Rule, next_occurrence, next_on_ordinary_day, parse_rule

MAX_CALENDARS = 10
CALLED_OFF = "; was to run on the next working day, but the schedule was changed"
NEVER_FIRES = "this schedule never fires: no day and time fits it"


@dataclass(frozen=True)
class Schedule:
    """When a job runs by itself; see `recurrence.parse_rule`."""

    schedule_type: str
    schedule_config: Mapping[str, Any]
    time_zone: str

    @property
    def rule(self) -> Rule:
        """Raises recurrence.InvalidScheduleError."""
        return parse_rule(self.schedule_type, self.schedule_config, self.time_zone)


@dataclass(frozen=True)
class RunPolicy:
    """How the job treats occurrences that come late, collide with a run, or fall on a day off."""

    catch_up: CatchUp = CatchUp.LATEST
    overlap: Overlap = Overlap.SKIP
    misfire_grace_seconds: int | None = None
    calendar_ids: tuple[int, ...] = ()
    on_holiday: OnHoliday = OnHoliday.SKIP


DEFAULT_POLICY = RunPolicy()


def policy_of(job: Job) -> RunPolicy:
    """The job's policy as it stands."""
    return RunPolicy(
        CatchUp(job.catch_up),
        Overlap(job.overlap),
        job.misfire_grace_seconds,
        tuple(job.calendar_ids),
        OnHoliday(job.on_holiday),
    )


def schedule_of(job: Job) -> Schedule | None:
    """The job's schedule, paused or not; None when it runs by hand only."""
    if not job.is_scheduled or job.schedule_type is None:
        return None
    return Schedule(job.schedule_type, job.schedule_config or {}, job.time_zone)


def apply_policy(session: Session, job: Job, policy: RunPolicy) -> None:
    """Use the policy from the next occurrence on. Raises InvalidCalendarError."""
    calendar_ids = list(dict.fromkeys(policy.calendar_ids))
    if len(calendar_ids) > MAX_CALENDARS:
        raise InvalidCalendarError(f"found {len(calendar_ids)} calendars; a job keeps at most {MAX_CALENDARS}")
    require_calendars(session, set(calendar_ids) - set(job.calendar_ids or ()))
    job.catch_up, job.overlap = policy.catch_up, policy.overlap
    job.misfire_grace_seconds = policy.misfire_grace_seconds
    job.calendar_ids = calendar_ids
    job.on_holiday = policy.on_holiday


def set_schedule(session: Session, job: Job, schedule: Schedule | None, now: datetime) -> None:
    """Give a stored job another schedule, or none; a paused job stays paused.

    The next run is the first occurrence after now. What the old schedule moved off days off is called off. The
    schedule that the job has already changes nothing. Raises recurrence.InvalidScheduleError.
    """
    now = _after_what_fired(session, job, now)
    first = None if schedule is None else next_occurrence(schedule.rule, now)
    if schedule is not None and first is None:
        raise InvalidScheduleError(NEVER_FIRES)
    if schedule == schedule_of(job):
        return
    _end(session, job, now, "the schedule was changed before a scheduler came to it")
    _call_off_moves(session, job, now)
    job.is_scheduled = schedule is not None
    job.next_run, job.moved_runs = first, []
    if schedule is None:
        job.paused_at = None
        return
    job.schedule_type = schedule.schedule_type
    job.schedule_config = dict(schedule.schedule_config)
    job.time_zone = schedule.time_zone
    if job.paused_at is None:
        begin_period(session, job, now)


def pause_schedule(session: Session, job: Job, now: datetime) -> None:
    """Expect nothing from now on."""
    now = _after_what_fired(session, job, now)
    _end(session, job, now, "the schedule was paused before a scheduler came to it")
    job.paused_at = now


def resume_schedule(session: Session, job: Job, now: datetime) -> None:
    """Expect the first occurrence after now. Raises recurrence.InvalidScheduleError."""
    now = _after_what_fired(session, job, now)
    job.next_run, job.moved_runs = next_after_resuming(job, now)
    if job.next_run is None:
        raise InvalidScheduleError(NEVER_FIRES)
    job.paused_at = None
    begin_period(session, job, now)


def next_after_resuming(job: Job, now: datetime) -> tuple[datetime | None, list[datetime]]:
    """What a paused job would have as next run, and as runs that were moved off a day off before the pause."""
    moved_runs = [at for at in job.moved_runs if at > now]
    candidates = [at for at in (next_occurrence(rule_of(job), now), *moved_runs) if at is not None]
    return min(candidates, default=None), moved_runs


def list_next_runs(session: Session, jobs: Sequence[Job]) -> dict[str, datetime | None]:
    """When each job runs next, days off left out; None for those that do not run by themselves.

    `next_run` itself is the next occurrence to leave a row, be it only a skipped one.
    """
    calendars = load_calendars(session, {i for job in jobs for i in job.calendar_ids})
    return {job.id: next_run_of(job, tuple(calendars[i] for i in job.calendar_ids if i in calendars)) for job in jobs}


def next_run_of(job: Job, calendars: tuple[Calendar, ...]) -> datetime | None:
    """The first of the job's coming runs that is on no day off; None while it is paused or runs by hand only."""
    if not job.is_scheduled or job.paused_at is not None or job.next_run is None:
        return None
    if not calendars:
        return job.next_run
    moves = job.on_holiday == OnHoliday.MOVE
    try:
        return next_on_ordinary_day(rule_of(job), job.next_run - TICK, calendars, moves=moves, pending=job.moved_runs)
    except InvalidScheduleError:  # of the rule or of a calendar's country: it is paused when it falls due
        return job.next_run


def _after_what_fired(session: Session, job: Job, now: datetime) -> datetime:
    """Now, unless a scheduler fired a later occurrence: its clock is ahead, or it held the job until this moment."""
    fired = select(func.max(Run.scheduled_for)).where(
        Run.session_id == job.id, Run.trigger == RunTrigger.SCHEDULE, Run.scheduled_for > now
    )
    return session.execute(fired).scalar_one() or now


def _call_off_moves(session: Session, job: Job, now: datetime) -> None:
    """What was moved and is still to run, no longer is: the rows of the days off say so, and the ledger reads them."""
    if not any(at > now for at in job.moved_runs):
        return
    session.execute(
        update(Run)
        .where(Run.session_id == job.id, Run.moved_to > now)
        .values(moved_to=None, reason=func.replace(Run.reason, WILL_MOVE, CALLED_OFF))
        .execution_options(synchronize_session=False)
    )


def _end(session: Session, job: Job, now: datetime, reason: str) -> None:
    """Close the period in force, if there is one, with a row for what was due and will not be fired."""
    if not job.is_scheduled or job.paused_at is not None:
        return
    try:
        rows = plan_giving_up(job, now, Cause.EDITED, reason)
    except InvalidScheduleError:
        rows = []
    if rows:
        insert_planned_runs(session, [(rows, [owner_of(job)])], now)
    end_period(session, job.id, now)
