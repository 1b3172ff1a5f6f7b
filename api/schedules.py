"""`/schedules/preview`: what a schedule means, before a job has it."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from api.authentication import CurrentViewer
from api.shapes import OccurrenceShape, SchedulePreviewShape, StrictShape
from recurrence import InvalidScheduleError, Occurrence, describe, occurrences, parse_rule

router = APIRouter(prefix="/schedules", tags=["schedules"])


class ScheduleQuestion(StrictShape):
    """A schedule, and how many of its occurrences to show. Without a time zone, the user's own counts."""

    schedule_type: str
    schedule_config: dict[str, Any]
    time_zone: str | None = None
    count: Annotated[int, Field(ge=1, le=100, strict=True)] = 5


@router.post("/preview")
def preview_schedule(question: ScheduleQuestion, viewer: CurrentViewer) -> SchedulePreviewShape:
    """The schedule in words, and when it fires next."""
    time_zone = question.time_zone if question.time_zone is not None else viewer.time_zone or "UTC"
    rule = parse_rule(question.schedule_type, question.schedule_config, time_zone)
    upcoming = [_occurrence_shape(o) for o in occurrences(rule, datetime.now(UTC), limit=question.count)]
    if not upcoming:
        raise InvalidScheduleError("the schedule would never fire from now on")
    return SchedulePreviewShape(description=describe(rule), time_zone=time_zone, occurrences=upcoming)


def _occurrence_shape(occurrence: Occurrence) -> OccurrenceShape:
    local = occurrence.local.isoformat()
    return OccurrenceShape(
        utc=occurrence.at, local=local, offset=occurrence.local.isoformat()[19:], note=occurrence.note
    )
