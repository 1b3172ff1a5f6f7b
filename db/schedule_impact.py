"""What a change of schedules will do, told before it is saved: nothing here writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from db.calendars import load_calendars
from db.models import Cause, Job, OnHoliday
from db.planning import TICK, plan_giving_up
from db.schedules import NEVER_FIRES, RunPolicy, Schedule, next_after_resuming, policy_of, schedule_of
from recurrence import (
    Calendar,
    Impact,
    InvalidScheduleError,
    Rule,
    coming,
    compare_instants,
    next_occurrence,
    next_on_ordinary_day,
)
from recurrence.impact import HORIZON

FAR_HORIZON = timedelta(days=366)
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

    `given_up` counts occurrences that are due and not fired yet; they are recorded as missed. `first_change` is the
    first difference within a year, where the next 30 days have none.
    """

    impact: Impact
    next_run: datetime | None
    given_up: int
    first_change: datetime | None = None


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
    """What resuming a paused job does. Raises recurrence.InvalidScheduleError, as resuming would."""
    first, moved_runs = next_after_resuming(job, now)
    if first is None:
        raise InvalidScheduleError(NEVER_FIRES)
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
    rule = after.schedule.rule if after.schedule is not None else _readable_rule(before)
    time_zone = rule.time_zone if rule is not None else "UTC"
    horizon = end_of_horizon(now, time_zone)
    old, old_until = _runs(before, calendars, now, horizon)
    new, new_until = _runs(after, calendars, now, horizon)
    until = min(old_until, new_until)
    impact = compare_instants(
        [at for at in old if at <= until], [at for at in new if at <= until], time_zone, until, is_cut=until < horizon
    )
    is_same = not impact.is_cut and not (impact.appears or impact.disappears or impact.moved)
    return ScheduleImpact(
        impact,
        _next_run(after, calendars, now),
        _count_given_up(job, before, after, now),
        _first_change(before, after, calendars, now) if is_same and before != after else None,
    )


def _first_change(
    before: ScheduleState, after: ScheduleState, calendars: dict[int, Calendar], now: datetime
) -> datetime | None:
    old, old_until = _runs(before, calendars, now, now + FAR_HORIZON)
    new, new_until = _runs(after, calendars, now, now + FAR_HORIZON)
    until = min(old_until, new_until)
    return min((at for at in set(old) ^ set(new) if at <= until), default=None)


def end_of_horizon(now: datetime, time_zone: str) -> datetime:
    """30 days on, at the end of the day: a run that moves within its day is compared with its twin, on the last too."""
    zone = ZoneInfo(time_zone)
    tomorrow = (now + HORIZON).astimezone(zone).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), zone).astimezone(UTC) - TICK


def _runs(
    state: ScheduleState, calendars: dict[int, Calendar], now: datetime, until: datetime
) -> tuple[Sequence[datetime], datetime]:
    """The runs after now, and up to when they are known: `until`, or as far as was looked."""
    rule = _readable_rule(state)
    if rule is None:
        return [], until
    kept, moves = _days_off_of(state, calendars)
    return _runs_of(rule, kept, moves, tuple(state.moved_runs), now, until)


def _readable_rule(state: ScheduleState) -> Rule | None:
    """None where nothing runs: without a schedule, or by an old one that nobody can read."""
    try:
        return state.schedule.rule if state.schedule is not None else None
    except InvalidScheduleError:
        return None


@lru_cache(maxsize=64)
def _runs_of(
    rule: Rule,
    calendars: tuple[Calendar, ...],
    moves: bool,
    moved_runs: tuple[datetime, ...],
    now: datetime,
    until: datetime,
) -> tuple[Sequence[datetime], datetime]:
    """Memoised: jobs that are rescheduled together share their new schedule, and often the old one."""
    found: list[datetime] = []
    items = coming(rule, now, calendars, moves=moves, pending=moved_runs, until=until)
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
