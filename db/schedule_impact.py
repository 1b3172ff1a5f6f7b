"""What a change of schedules will do, told before it is saved: nothing here writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from db.calendars import load_calendars
from db.models import Cause, Job, OnHoliday
from db.planning import plan_giving_up
from db.schedules import NEVER_FIRES, RunPolicy, Schedule, next_after_resuming, policy_of, schedule_of
from recurrence import (
    Calendar,
    Impact,
    InvalidScheduleError,
    coming,
    compare_instants,
    next_occurrence,
    next_on_ordinary_day,
)

HORIZON = timedelta(days=30)
MAX_COMPARED = 500
MAX_LOOKED_AT = 5000  # occurrences, those on days off included


@dataclass(frozen=True)
class ScheduleState:
    """A schedule with what decides which of its occurrences run. None: nothing runs by itself."""

    schedule: Schedule | None
    policy: RunPolicy
    moved_runs: Sequence[datetime] = ()


@dataclass(frozen=True)
class ScheduleImpact:
    """The difference in the next 30 days, the next run after the change, and what the change gives up.

    `given_up` counts occurrences that are due and not fired yet; they are recorded as missed.
    """

    impact: Impact
    next_run: datetime | None
    given_up: int


def state_of(job: Job) -> ScheduleState:
    """The job as it stands; a paused one runs nothing."""
    is_active = job.is_scheduled and job.paused_at is None
    return ScheduleState(schedule_of(job) if is_active else None, policy_of(job), tuple(job.moved_runs))


def preview_change(
    session: Session, job: Job | None, schedule: Schedule | None, policy: RunPolicy, now: datetime
) -> ScheduleImpact:
    """What saving this schedule and policy does to the job, or to none yet; a paused job stays paused.

    Raises recurrence.InvalidScheduleError when the new schedule cannot be read or never fires.
    """
    if schedule is not None and next_occurrence(schedule.rule, now) is None:
        raise InvalidScheduleError(NEVER_FIRES)
    if job is not None and job.paused_at is not None:
        return _compare(session, None, ScheduleState(None, policy), ScheduleState(None, policy), now)
    before = state_of(job) if job is not None else ScheduleState(None, policy)
    kept = job.moved_runs if job is not None and schedule == schedule_of(job) else ()
    return _compare(session, job, before, ScheduleState(schedule, policy, tuple(kept)), now)


def preview_resume(session: Session, job: Job, now: datetime) -> ScheduleImpact:
    """What resuming a paused job does. Raises recurrence.InvalidScheduleError."""
    _, moved_runs = next_after_resuming(job, now)
    policy = policy_of(job)
    after = ScheduleState(schedule_of(job), policy, tuple(moved_runs))
    return _compare(session, job, ScheduleState(None, policy), after, now)


def describe_now(change: ScheduleImpact) -> str:
    """Whether anything runs because of the change, in words without a time; it never does."""
    if not change.given_up:
        return "nothing runs now"
    due = "1 run that is due now is" if change.given_up == 1 else f"{change.given_up:,} runs that are due now are"
    return f"nothing runs now; {due} recorded as missed"


def _compare(
    session: Session, job: Job | None, before: ScheduleState, after: ScheduleState, now: datetime
) -> ScheduleImpact:
    calendars = load_calendars(session, {*before.policy.calendar_ids, *after.policy.calendar_ids})
    old, old_until = _runs(before, calendars, now)
    new, new_until = _runs(after, calendars, now)
    until = min(old_until, new_until)
    schedule = after.schedule or before.schedule
    impact = compare_instants(
        [at for at in old if at <= until],
        [at for at in new if at <= until],
        schedule.time_zone if schedule else "UTC",
        until,
        is_cut=until < now + HORIZON,
    )
    return ScheduleImpact(impact, _next_run(after, calendars, now), _count_given_up(job, before, after, now))


def _runs(state: ScheduleState, calendars: dict[int, Calendar], now: datetime) -> tuple[list[datetime], datetime]:
    """The runs after now, and up to when they are known: 30 days, or as far as was looked."""
    until = now + HORIZON
    if state.schedule is None:
        return [], until
    try:
        rule = state.schedule.rule
    except InvalidScheduleError:  # an old schedule that nobody can read runs nothing
        return [], until
    found: list[datetime] = []
    kept, moves = _days_off_of(state, calendars)
    items = coming(rule, now, kept, moves=moves, pending=state.moved_runs, until=until)
    for looked, item in enumerate(items, start=1):
        if item.runs:
            found.append(item.at)
        if len(found) == MAX_COMPARED or looked == MAX_LOOKED_AT:
            return found, item.at
    return found, until


def _next_run(state: ScheduleState, calendars: dict[int, Calendar], now: datetime) -> datetime | None:
    if state.schedule is None:
        return None
    kept, moves = _days_off_of(state, calendars)
    return next_on_ordinary_day(state.schedule.rule, now, kept, moves=moves, pending=state.moved_runs)


def _days_off_of(state: ScheduleState, calendars: dict[int, Calendar]) -> tuple[tuple[Calendar, ...], bool]:
    """The calendars that the schedule keeps, and whether it moves what falls on their days."""
    kept = tuple(calendars[i] for i in state.policy.calendar_ids if i in calendars)
    return kept, state.policy.on_holiday == OnHoliday.MOVE


def _count_given_up(job: Job | None, before: ScheduleState, after: ScheduleState, now: datetime) -> int:
    """Occurrences that are due and will be recorded as missed, because the schedule is replaced."""
    if job is None or before.schedule is None or before.schedule == after.schedule:
        return 0
    try:
        return sum(row.occurrences for row in plan_giving_up(job, now, Cause.EDITED, ""))
    except InvalidScheduleError:
        return 0
