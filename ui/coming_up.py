"""What a job's schedule will do next: runs, days off, clock changes."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.calendars import load_calendars_of
from db.engine import transaction
from db.errors import NotFoundError
from db.jobs import get_job
from db.models import Job
from db.viewers import Viewer
from recurrence import Calendar
from ui.schedule_preview import render_upcoming


@st.fragment(run_every=60)
def render_coming_up(viewer: Viewer, job_id: str, zone: ZoneInfo) -> None:
    """What the schedule will do next: runs, days off, clock changes."""
    try:
        job, calendars = load_plan(viewer, job_id)
    except NotFoundError:
        return
    if not job.is_scheduled:
        st.caption("This job has no schedule: it runs when somebody presses Run now, or through the API.")
        return
    if job.paused_at is not None:
        st.caption("Paused: nothing runs by itself. This is what the schedule would do.")
    render_upcoming(job, calendars, zone, datetime.now(UTC))


def load_plan(viewer: Viewer, job_id: str) -> tuple[Job, tuple[Calendar, ...]]:
    """The job with the calendars that it keeps. Raises NotFoundError."""
    with transaction() as session:
        job = get_job(session, viewer, job_id)
        return job, load_calendars_of(session, job)
