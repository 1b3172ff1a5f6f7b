"""`/jobs`: list, create, read, change, delete, run, stop, pause and resume jobs."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from sqlalchemy.orm import Session

from api.authentication import CurrentViewer, Writer
from api.cursors import InvalidCursorError, make_cursor, read_cursor
from api.job_forms import JobEdit, NewJobForm, read_details, read_new_job, read_schedule_change
from api.multipart import require_multipart
from api.paging import PageQuery, SearchText, TextId
from api.policy_forms import require_known_calendars
from api.resources import Here
from api.runs import run_shapes
from api.shapes import JobShape, OwnerShape, PageShape, RunShape
from db.accounts import list_accounts
from db.job_lists import JobCursor, list_jobs, list_owner_names
from db.jobs import (
    create_job,
    delete_job,
    get_job,
    lock_job,
    pause_job,
    resume_job,
    update_job,
    update_schedule,
)
from db.models import Job, JobStatus, RunTrigger
from db.runs import request_run, request_stop
from db.schedules import list_next_runs
from db.viewers import Viewer
from portal_import.job_draft import InvalidJobError
from portal_import.url_templates import portal_host
from recurrence import InvalidScheduleError, describe, parse_rule

LIST_NAME = "jobs"

router = APIRouter(prefix="/jobs", tags=["jobs"])


class JobsQuery(PageQuery):
    """`?q=&status=&cursor=&limit=`; `q` is looked for in names and login URLs."""

    q: SearchText = ""
    status: JobStatus | None = None


@router.get("")
def get_jobs(query: Annotated[JobsQuery, Query()], viewer: CurrentViewer, here: Here) -> PageShape[JobShape]:
    """A page of jobs, newest first: your own, or for admins everyone's.

    With `q` or `status` a page may hold fewer than `limit` jobs, or none, and still have a `next_cursor`: it looked
    through 5,000 jobs, and the next page goes on behind them. The list ends where `next_cursor` is null.
    """
    key = here.box.signing_key
    cursor = _read_job_cursor(key, query.cursor) if query.cursor is not None else None
    with here.transaction() as session:
        jobs, following = list_jobs(session, viewer, q=query.q, status=query.status, cursor=cursor, limit=query.limit)
        items = job_shapes(session, viewer, jobs)
    position = [following.created_at.isoformat(), following.id] if following else None
    return PageShape(items=items, next_cursor=make_cursor(key, LIST_NAME, [*position]) if position else None)


@router.post("", status_code=201, dependencies=[Depends(require_multipart("csv"))])
def post_job(
    form: Annotated[NewJobForm, Form(media_type="multipart/form-data")],
    viewer: Writer,
    here: Here,
    request: Request,
    response: Response,
) -> JobShape:
    """Create a job from a CSV of accounts, two addresses and, if wanted, a schedule. Nothing is kept of the CSV."""
    now = datetime.now(UTC)
    new = read_new_job(form, viewer, now)
    with here.transaction() as session:
        require_known_calendars(session, new.draft.policy.calendar_ids)
        job = create_job(session, viewer, new.draft, here.box, authorised=new.is_authorised, now=now)
        if new.draft.schedule is not None and not new.is_scheduled:
            update_schedule(session, viewer, job.id, None, now=now)
        shape = job_shapes(session, viewer, [job])[0]
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/jobs/{job.id}"
    return shape


@router.get("/{job_id}")
def get_one_job(job_id: TextId, viewer: CurrentViewer, here: Here) -> JobShape:
    """One job."""
    with here.transaction() as session:
        return job_shapes(session, viewer, [get_job(session, viewer, job_id)])[0]


@router.patch("/{job_id}")
def patch_job(job_id: TextId, edit: JobEdit, viewer: Writer, here: Here) -> JobShape:
    """Change what is sent and nothing else; 409 when `version` is not the job's any more."""
    now = datetime.now(UTC)
    given = edit.model_dump(exclude_unset=True)
    version = given.pop("version", None)
    authorised = given.pop("authorised", False)
    if not given:
        changeable = [name for name in JobEdit.model_fields if name not in ("version", "authorised")]
        raise InvalidJobError({"body": f"nothing to change; send at least one of {', '.join(changeable)}"})
    with here.transaction() as session:
        job = lock_job(session, viewer, job_id)
        accounts = list_accounts(session, job, limit=1)
        details = read_details(given, job, tuple(accounts[0].extra) if accounts else ())
        change = read_schedule_change(given, job, now)
        if "policy" in details:
            require_known_calendars(session, details["policy"].calendar_ids, job.calendar_ids)
        if details:
            host = portal_host(details["login_url"]) if "login_url" in details else None
            update_job(
                session,
                viewer,
                job_id,
                now=now,
                portal_host=host,
                expected_version=version,
                authorised=authorised,
                **details,
            )
            version = None  # checked, and now one higher
        if change is not None and change.schedule is not None:
            update_schedule(session, viewer, job_id, change.schedule, now=now, expected_version=version)
            version = None
        if change is not None and not change.is_scheduled:
            update_schedule(session, viewer, job_id, None, now=now, expected_version=version)
        return job_shapes(session, viewer, [job])[0]


@router.delete("/{job_id}", status_code=204)
def remove_job(job_id: TextId, viewer: Writer, here: Here) -> Response:
    """Delete the job with its accounts, runs and bills; 409 while a run is in progress."""
    with here.transaction() as session:
        delete_job(session, viewer, job_id)
    return Response(status_code=204)


@router.post("/{job_id}/run", status_code=202)
def run_job(job_id: TextId, viewer: Writer, here: Here) -> RunShape:
    """Queue a run now; 409 when one is queued or running."""
    with here.transaction() as session:
        run = request_run(session, viewer, job_id, trigger=RunTrigger.API, now=datetime.now(UTC))
        return run_shapes(session, [run])[0]


@router.post("/{job_id}/stop", status_code=202)
def stop_job(job_id: TextId, viewer: Writer, here: Here) -> RunShape:
    """Stop the job's run: a queued one at once, a running one within seconds; 409 when there is none."""
    with here.transaction() as session:
        return run_shapes(session, [request_stop(session, viewer, job_id, now=datetime.now(UTC))])[0]


@router.post("/{job_id}/pause")
def pause_schedule(job_id: TextId, viewer: Writer, here: Here) -> JobShape:
    """Keep the schedule from firing; a run in progress goes on."""
    with here.transaction() as session:
        return job_shapes(session, viewer, [pause_job(session, viewer, job_id, now=datetime.now(UTC))])[0]


@router.post("/{job_id}/resume")
def resume_schedule(job_id: TextId, viewer: Writer, here: Here) -> JobShape:
    """Let the schedule fire again, from its next occurrence on."""
    with here.transaction() as session:
        return job_shapes(session, viewer, [resume_job(session, viewer, job_id, now=datetime.now(UTC))])[0]


def job_shapes(session: Session, viewer: Viewer, jobs: Sequence[Job]) -> list[JobShape]:
    """The jobs as this viewer sees them."""
    names = list_owner_names(session, {job.user_id for job in jobs}) if viewer.is_admin else {}
    next_runs = list_next_runs(session, jobs)
    return [_job_shape(job, next_runs[job.id], names.get(job.user_id)) for job in jobs]


def _job_shape(job: Job, next_run: datetime | None, owner_name: str | None) -> JobShape:
    return JobShape(
        id=job.id,
        name=job.name,
        login_url=job.login_url,
        billing_url=job.billing_url,
        status=job.status,
        created_at=job.created_at,
        accounts_count=job.accounts_count,
        results_count=job.results_count,
        is_scheduled=job.is_scheduled,
        schedule_type=job.schedule_type,
        schedule_config=job.schedule_config,
        time_zone=job.time_zone,
        next_run=next_run,
        last_scheduled_run=job.last_scheduled_run,
        schedule_description=_schedule_description(job),
        paused_at=job.paused_at,
        last_outcome=job.last_outcome,
        last_run_id=job.last_run_id,
        last_run_at=job.last_run_at,
        catch_up=job.catch_up,
        overlap=job.overlap,
        misfire_grace_seconds=job.misfire_grace_seconds,
        calendar_ids=job.calendar_ids,
        on_holiday=job.on_holiday,
        max_attempts=job.max_attempts,
        retry_delay_seconds=job.retry_delay_seconds,
        timeout_seconds=job.timeout_seconds,
        updated_at=job.updated_at,
        version=job.version,
        owner=OwnerShape(id=job.user_id, name=owner_name) if owner_name is not None else None,
    )


def _schedule_description(job: Job) -> str | None:
    if job.schedule_type is None or job.schedule_config is None:
        return None
    try:
        return describe(parse_rule(job.schedule_type, job.schedule_config, job.time_zone))
    except InvalidScheduleError:
        return None  # an older system's rule that nobody can read; the job is paused because of it


def _read_job_cursor(key: bytes, text: str) -> JobCursor:
    match read_cursor(key, LIST_NAME, text):
        case [str(created_at), str(job_id)]:
            return JobCursor(datetime.fromisoformat(created_at), job_id)
        case _:
            raise InvalidCursorError
