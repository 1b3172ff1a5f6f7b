"""What a person can do with several jobs at once. Ids are checked again when acting."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

import streamlit as st

from db.bulk_jobs import pause_jobs, preview_reschedule, preview_resumes, reschedule_jobs, resume_jobs, set_retries
from db.engine import transaction
from db.errors import PunctualError
from db.models import Job
from db.retries import retry_policy_of
from db.schedules import Schedule, schedule_of
from db.viewers import Viewer
from recurrence import InvalidScheduleError
from ui.dialogs import ask_for_dialog, close_form, form_key, open_wanted_dialog, render_decision
from ui.impact_view import render_impacts
from ui.plain_text import plain
from ui.retry_editor import render_retry_editor
from ui.schedule_editor import render_schedule_editor

DIALOG = "jobs-dialog"


def render_bulk_actions(viewer: Viewer, jobs: Sequence[Job]) -> None:
    """The buttons for the ticked jobs; nothing while none is ticked."""
    if not jobs:
        return
    scheduled = [job.id for job in jobs if job.is_scheduled and job.paused_at is None]
    paused = [job.id for job in jobs if job.is_scheduled and job.paused_at is not None]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{len(jobs)} selected**", width="content")
        st.button(
            f"Reschedule {counted(len(jobs))}",
            icon=":material/edit_calendar:",
            key="bulk-reschedule",
            on_click=ask_for_dialog,
            args=(DIALOG, "reschedule", jobs),
        )
        st.button(
            f"Retries of {counted(len(jobs))}",
            icon=":material/replay:",
            key="bulk-retries",
            on_click=ask_for_dialog,
            args=(DIALOG, "retries", jobs),
        )
        if scheduled:
            st.button(
                f"Pause {counted(len(scheduled))}",
                icon=":material/pause:",
                key="bulk-pause",
                on_click=pause,
                args=(viewer, scheduled),
            )
        if paused:
            st.button(
                f"Resume {counted(len(paused))}",
                icon=":material/resume:",
                key="bulk-resume",
                on_click=ask_for_dialog,
                args=(DIALOG, "resume", paused),
            )


def open_dialogs(viewer: Viewer, zone: ZoneInfo) -> None:
    """Open the dialog that a button asked for, on the jobs that were ticked."""
    open_wanted_dialog(
        DIALOG,
        {
            "reschedule": lambda jobs: reschedule(viewer, jobs, zone),
            "retries": lambda jobs: choose_retries(viewer, jobs),
            "resume": lambda ids: confirm_resumes(viewer, ids, zone),
        },
    )


@st.dialog("Reschedule jobs", width="large", dismissible=False)
def reschedule(viewer: Viewer, jobs: Sequence[Job], zone: ZoneInfo) -> None:
    """One schedule for all of them; shows what it changes for each before it is saved."""
    ids = [job.id for job in jobs]
    st.caption(
        f"{counted(len(jobs)).capitalize()} will run by this schedule. Paused ones stay paused, and how each treats "
        "late runs and holidays stays as it is."
    )
    first = next((schedule for job in jobs if (schedule := schedule_of(job)) is not None), None)
    form = f"bulk-{hash(tuple(ids))}"
    key = form_key(form)
    choice = render_schedule_editor(key, zone, schedule=first, policy=None)
    schedule, now = choice.schedule, datetime.now(UTC)
    if choice.problem is None and schedule is not None:
        render_reschedule_impact(viewer, ids, schedule, zone, now)
    if not render_decision(f"Reschedule {counted(len(ids))}", form):
        return
    if choice.problem is not None or schedule is None:
        st.error(f"Nothing was changed: {plain(choice.problem or '')}", icon=":material/error:")
        return
    problem = act(partial(reschedule_jobs, viewer=viewer, job_ids=ids, schedule=schedule), "Rescheduled {}.")
    if problem is None:
        close_form(form)
    st.error(plain(problem), icon=":material/error:")


@st.dialog("Retries of jobs", dismissible=False)
def choose_retries(viewer: Viewer, jobs: Sequence[Job]) -> None:
    """One rule of retries for all of them; it opens with that of the first."""
    ids = [job.id for job in jobs]
    st.caption(
        f"Failed accounts of {counted(len(jobs))} will be tried again by this rule. Retries that wait already keep "
        "their time."
    )
    form = f"bulk-retries-{hash(tuple(ids))}"
    retries = render_retry_editor(form_key(form), retry_policy_of(jobs[0]), expanded=True)
    if not render_decision(f"Save for {counted(len(ids))}", form):
        return
    problem = act(partial(set_retries, viewer=viewer, job_ids=ids, retries=retries), "Changed the retries of {}.")
    if problem is None:
        close_form(form)
    st.error(plain(problem), icon=":material/error:")


def render_reschedule_impact(
    viewer: Viewer, ids: Sequence[str], schedule: Schedule, zone: ZoneInfo, now: datetime
) -> None:
    """What the schedule would change for each of the jobs."""
    try:
        with transaction() as session:
            impacts = preview_reschedule(session, viewer, ids, schedule, now)
    except (PunctualError, InvalidScheduleError) as error:
        st.error(plain(_sentence(str(error))), icon=":material/error:")
        return
    render_impacts(impacts, zone, now)


@st.dialog("Resume jobs", width="large")
def confirm_resumes(viewer: Viewer, ids: Sequence[str], zone: ZoneInfo) -> None:
    """Says what resuming will do, and does it."""
    now = datetime.now(UTC)
    try:
        with transaction() as session:
            impacts = preview_resumes(session, viewer, ids, now)
    except (PunctualError, InvalidScheduleError) as error:
        st.error(plain(_sentence(str(error))), icon=":material/error:")
        return
    render_impacts(impacts, zone, now)
    if st.button(f"Resume {counted(len(ids))}", type="primary", key="bulk-resume-confirm"):
        problem = act(partial(resume_jobs, viewer=viewer, job_ids=ids), "Resumed {}.")
        if problem is None:
            st.rerun()
        st.error(plain(problem), icon=":material/error:")


def pause(viewer: Viewer, ids: Sequence[str]) -> None:
    """Pause the jobs, and have it said when the page is drawn next."""
    problem = act(partial(pause_jobs, viewer=viewer, job_ids=ids), "Paused {}.")
    if problem is not None:
        st.session_state["jobs-message"] = problem


def act(verb: Callable[..., int], done: str) -> str | None:
    """Carry out a change of several jobs and have it said when the page is drawn next; or why it was refused."""
    try:
        with transaction() as session:
            count = verb(session, now=datetime.now(UTC))
    except (PunctualError, InvalidScheduleError) as error:
        return f"Nothing was changed: {error}."
    st.session_state["jobs-message"] = done.format(counted(count))
    return None


def counted(count: int) -> str:
    """ "1 job", "3 jobs"."""
    return f"{count:,} job" + ("" if count == 1 else "s")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
