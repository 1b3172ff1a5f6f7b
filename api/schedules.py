"""`/schedules/preview`: what a schedule means, before a job has it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timezone
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter
from pydantic import Field

from api.authentication import CurrentViewer
from api.policy_forms import CalendarIds, require_known_calendars
from api.resources import Here, Resources
from api.schedule_shapes import ClockChangeShape, OccurrenceShape, SchedulePreviewShape
from api.shapes import StrictShape
from db.calendars import load_calendars
from db.models import OnHoliday
from db.schedules import RunPolicy
from portal_import.job_draft import InvalidJobError, check_policy
from recurrence import (
    Calendar,
    ClockChange,
    Coming,
    InvalidScheduleError,
    Rule,
    checked_time_zone,
    clock_changes,
    coming,
    describe,
    effect_of,
    parse_rule,
)

router = APIRouter(prefix="/schedules", tags=["schedules"])


class ScheduleQuestion(StrictShape):
    """A schedule, the calendars it keeps, and how many of its occurrences to show.

    Without a time zone, the user's own counts, for the schedule as for the viewer; `clock` is for the words.
    """

    schedule_type: str
    schedule_config: dict[str, Any]
    time_zone: str | None = None
    count: Annotated[int, Field(ge=1, le=100, strict=True)] = 10
    calendar_ids: CalendarIds = []
    on_holiday: OnHoliday = OnHoliday.SKIP
    clock: Literal[12, 24] = 24
    viewer_time_zone: str | None = None


@router.post("/preview")
def preview_schedule(question: ScheduleQuestion, viewer: CurrentViewer, here: Here) -> SchedulePreviewShape:
    """The schedule in words, when it fires next, and what it does when the clock changes. Nothing is stored."""
    now = datetime.now(UTC)
    own_zone = viewer.time_zone or "UTC"
    time_zone = question.time_zone if question.time_zone is not None else own_zone
    viewer_time_zone = _checked_viewer_zone(question.viewer_time_zone, own_zone)
    rule = parse_rule(question.schedule_type, question.schedule_config, time_zone)
    calendars = _load_calendars(here, question.calendar_ids)
    moves = question.on_holiday is OnHoliday.MOVE
    upcoming = list(coming(rule, now, calendars, moves=moves, limit=question.count))
    if not upcoming:
        raise InvalidScheduleError("the schedule would never fire from now on")
    return SchedulePreviewShape(
        description=describe(rule, clock=question.clock),
        time_zone=time_zone,
        viewer_time_zone=viewer_time_zone,
        occurrences=[_occurrence_shape(item, ZoneInfo(viewer_time_zone)) for item in upcoming],
        clock_changes=[_clock_change_shape(rule, change) for change in clock_changes(time_zone, now)],
    )


def _checked_viewer_zone(name: str | None, default: str) -> str:
    if name is None:
        return default
    try:
        return checked_time_zone(name)
    except InvalidScheduleError as error:
        raise InvalidJobError({"viewer_time_zone": str(error)}) from None


def _load_calendars(here: Resources, calendar_ids: Sequence[int]) -> tuple[Calendar, ...]:
    problems = check_policy(RunPolicy(calendar_ids=tuple(calendar_ids)))
    if problems:
        raise InvalidJobError(problems)
    if not calendar_ids:
        return ()
    with here.transaction() as session:
        require_known_calendars(session, calendar_ids)
        calendars = load_calendars(session, calendar_ids)
    return tuple(calendars[i] for i in calendar_ids)


def _occurrence_shape(item: Coming, viewer_zone: ZoneInfo) -> OccurrenceShape:
    local, offset = _shown(item.local)
    viewer_local, viewer_offset = _shown(item.at.astimezone(viewer_zone))
    return OccurrenceShape(
        utc=item.at,
        local=local,
        offset=offset,
        note=item.note,
        viewer_local=viewer_local,
        viewer_offset=viewer_offset,
        runs=item.runs,
        day_off=item.day_off,
        moved_to=item.moved_to,
        is_moved=item.is_moved,
    )


def _clock_change_shape(rule: Rule, change: ClockChange) -> ClockChangeShape:
    return ClockChangeShape(
        utc=change.at,
        local_before=_with_offset(change.wall_before, change.at),
        local_after=_with_offset(change.wall_after, change.at),
        shift_seconds=int(change.shift.total_seconds()),
        effect=effect_of(rule, change),
    )


def _shown(local: datetime) -> tuple[str, str]:
    """A local time with its offset, and the offset by itself."""
    text = local.isoformat()
    return text, text[19:]


def _with_offset(wall: datetime, at: datetime) -> str:
    return wall.replace(tzinfo=timezone(wall - at.replace(tzinfo=None))).isoformat()
