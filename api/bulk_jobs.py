"""`/jobs/bulk/…`: change many jobs at once, all of them or none: schedule, retries, pause, resume.

Where a change moves runs, `dry_run` only looks what it does.
"""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import StrictBool, StrictInt

from api.authentication import Writer
from api.job_forms import check_schedule
from api.paging import TextId
from api.resources import Here
from api.schedule_shapes import BulkChangeShape, BulkPreviewShape, bulk_preview_shape
from api.shapes import StrictShape
from db.bulk_jobs import (
    pause_jobs,
    preview_pauses,
    preview_reschedule,
    preview_resumes,
    reschedule_jobs,
    resume_jobs,
    set_retries,
)
from db.retries import RetryPolicy
from db.schedules import Schedule
from portal_import.job_draft import InvalidJobError, check_retries

router = APIRouter(prefix="/jobs/bulk", tags=["jobs"])


class JobSelection(StrictShape):
    """Which jobs; with `dry_run` the answer says what would happen and nothing is written."""

    job_ids: list[TextId]
    dry_run: StrictBool = False


class BulkSchedule(StrictShape):
    """Which jobs, and the schedule for all of them. Without a time zone, the user's own counts."""

    job_ids: list[TextId]
    schedule_type: str
    schedule_config: dict[str, Any]
    time_zone: str | None = None
    dry_run: StrictBool = False


class BulkRetries(StrictShape):
    """Which jobs, and how often and after which wait failed accounts of all of them are tried again."""

    job_ids: list[TextId]
    max_attempts: StrictInt
    retry_delay_seconds: StrictInt


@router.post("/reschedule")
def reschedule_all(change: BulkSchedule, viewer: Writer, here: Here) -> BulkPreviewShape | BulkChangeShape:
    """Give the jobs this schedule; paused ones stay paused, and each keeps its policy."""
    now = datetime.now(UTC)
    time_zone = change.time_zone if change.time_zone is not None else viewer.time_zone or "UTC"
    schedule = Schedule(change.schedule_type, change.schedule_config, time_zone)
    problems = check_schedule(schedule, now)
    if problems:
        raise InvalidJobError(problems)
    with here.transaction() as session:
        if change.dry_run:
            return bulk_preview_shape(preview_reschedule(session, viewer, change.job_ids, schedule, now))
        return BulkChangeShape(changed=reschedule_jobs(session, viewer, change.job_ids, schedule, now=now))


@router.post("/retries")
def set_retries_of_all(change: BulkRetries, viewer: Writer, here: Here) -> BulkChangeShape:
    """Have failed accounts of the jobs tried again by these rules; retries that wait already keep their time."""
    retries = RetryPolicy(change.max_attempts, change.retry_delay_seconds)
    problems = check_retries(retries)
    if problems:
        raise InvalidJobError(problems)
    with here.transaction() as session:
        return BulkChangeShape(changed=set_retries(session, viewer, change.job_ids, retries, now=datetime.now(UTC)))


@router.post("/pause")
def pause_all(selection: JobSelection, viewer: Writer, here: Here) -> BulkPreviewShape | BulkChangeShape:
    """Pause those that have a schedule and are not paused yet."""
    now = datetime.now(UTC)
    with here.transaction() as session:
        if selection.dry_run:
            return bulk_preview_shape(preview_pauses(session, viewer, selection.job_ids, now))
        return BulkChangeShape(changed=pause_jobs(session, viewer, selection.job_ids, now=now))


@router.post("/resume")
def resume_all(selection: JobSelection, viewer: Writer, here: Here) -> BulkPreviewShape | BulkChangeShape:
    """Resume those that are paused, each from its first occurrence after now."""
    now = datetime.now(UTC)
    with here.transaction() as session:
        if selection.dry_run:
            return bulk_preview_shape(preview_resumes(session, viewer, selection.job_ids, now))
        return BulkChangeShape(changed=resume_jobs(session, viewer, selection.job_ids, now=now))
