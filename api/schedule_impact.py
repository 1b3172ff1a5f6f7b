"""`/jobs/{id}/schedule/impact`: what an edit or a resume will do, before it is saved. Nothing is written."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import StrictBool, StrictInt
from sqlalchemy.orm import Session

from api.authentication import Writer
from api.job_forms import read_details, read_schedule_change
from api.paging import TextId
from api.policy_forms import CalendarIds, require_known_calendars
from api.resources import Here
from api.schedule_shapes import ImpactShape, impact_shape
from api.shapes import StrictShape
from db.jobs import get_job
from db.models import CatchUp, Job, OnHoliday, Overlap
from db.schedule_impact import ScheduleImpact, preview_change, preview_resume
from db.schedules import policy_of, schedule_of
from portal_import.job_draft import InvalidJobError

router = APIRouter(prefix="/jobs", tags=["schedules"])


class ImpactQuestion(StrictShape):
    """The fields of PATCH /jobs/{id} that decide when the job runs, or `resume` by itself."""

    is_scheduled: StrictBool = False
    schedule_type: str = ""
    schedule_config: dict[str, Any] = {}
    time_zone: str = ""
    catch_up: CatchUp = CatchUp.LATEST
    overlap: Overlap = Overlap.SKIP
    misfire_grace_seconds: StrictInt | None = None
    calendar_ids: CalendarIds = []
    on_holiday: OnHoliday = OnHoliday.SKIP
    resume: StrictBool = False


@router.post("/{job_id}/schedule/impact")
def show_impact(job_id: TextId, question: ImpactQuestion, viewer: Writer, here: Here) -> ImpactShape:
    """Which runs of the next 30 days appear, disappear or move; and that nothing runs right now."""
    now = datetime.now(UTC)
    given = question.model_dump(exclude_unset=True)
    _check(given)
    with here.transaction() as session:
        job = get_job(session, viewer, job_id)
        change = _preview_resume(session, job, now) if "resume" in given else _preview_edit(session, job, given, now)
        return impact_shape(change)


def _check(given: Mapping[str, Any]) -> None:
    if not given:
        names = ", ".join(ImpactQuestion.model_fields)
        raise InvalidJobError({"body": f"nothing to compare; send at least one of {names}"})
    if "resume" in given and (len(given) > 1 or not given["resume"]):
        raise InvalidJobError({"resume": "send true and nothing else, or leave it out"})


def _preview_edit(session: Session, job: Job, given: Mapping[str, Any], now: datetime) -> ScheduleImpact:
    policy = read_details(given, job, ()).get("policy", policy_of(job))
    change = read_schedule_change(given, job, now)
    require_known_calendars(session, policy.calendar_ids, job.calendar_ids)
    if change is None:
        return preview_change(session, job, schedule_of(job), policy, now)
    return preview_change(session, job, change.schedule if change.is_scheduled else None, policy, now)


def _preview_resume(session: Session, job: Job, now: datetime) -> ScheduleImpact:
    if job.paused_at is None:  # resuming it does nothing
        return preview_change(session, job, schedule_of(job), policy_of(job), now)
    return preview_resume(session, job, now)
