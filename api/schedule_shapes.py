"""What a schedule's preview and the impact of a change look like. Instants are UTC, `local` ones have an offset."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel

from db.bulk_jobs import JobImpact
from db.schedule_impact import ScheduleImpact, describe_now
from recurrence import summarise


class OccurrenceShape(BaseModel):
    """An instant of the schedule, on the walls of its zone and of the viewer's.

    With `day_off` it does not run then, but at `moved_to` if there is one; `is_moved` is such a run. `note` says
    what daylight saving did to it.
    """

    utc: datetime
    local: str
    offset: str
    note: str
    viewer_local: str
    viewer_offset: str
    runs: bool
    day_off: str | None
    moved_to: datetime | None
    is_moved: bool


class ClockChangeShape(BaseModel):
    """A coming change of the zone's clock: what it showed until then, what it shows from then, what the rule does."""

    utc: datetime
    local_before: str
    local_after: str
    shift_seconds: int
    effect: str


class SchedulePreviewShape(BaseModel):
    """A schedule in words, its next occurrences and the next two changes of its zone's clock."""

    description: str
    time_zone: str
    viewer_time_zone: str
    occurrences: list[OccurrenceShape]
    clock_changes: list[ClockChangeShape]


class MovedShape(BaseModel):
    """A run that takes place at another time."""

    before: datetime
    after: datetime


class ImpactShape(BaseModel):
    """What a change of a schedule does up to `until`; `is_cut` when there were too many runs for 30 days.

    `given_up` counts runs that are due, not fired yet, and will be recorded as missed.
    """

    summary: str
    nothing_runs_now: bool
    now: str
    given_up: int
    next_run: datetime | None
    until: datetime
    is_cut: bool
    unchanged: int
    appears: list[datetime]
    disappears: list[datetime]
    moved: list[MovedShape]
    first_change: datetime | None


class JobImpactShape(BaseModel):
    """What a change does to one of many jobs."""

    job_id: str
    name: str
    impact: ImpactShape


class BulkPreviewShape(BaseModel):
    """What a change would do to each of the jobs that it concerns."""

    jobs: list[JobImpactShape]


class BulkChangeShape(BaseModel):
    """How many jobs were changed."""

    changed: int


def impact_shape(change: ScheduleImpact) -> ImpactShape:
    """The impact with its words."""
    impact = change.impact
    return ImpactShape(
        summary=summarise(impact),
        first_change=change.first_change,
        nothing_runs_now=True,  # no change of a schedule makes anything run at once; `now` says it in words
        now=describe_now(change),
        given_up=change.given_up,
        next_run=change.next_run,
        until=impact.until,
        is_cut=impact.is_cut,
        unchanged=impact.unchanged,
        appears=list(impact.appears),
        disappears=list(impact.disappears),
        moved=[MovedShape(before=move.before, after=move.after) for move in impact.moved],
    )


def bulk_preview_shape(impacts: Sequence[JobImpact]) -> BulkPreviewShape:
    """The impacts in their order."""
    return BulkPreviewShape(
        jobs=[JobImpactShape(job_id=i.job_id, name=i.name, impact=impact_shape(i.change)) for i in impacts]
    )
