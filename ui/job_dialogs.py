"""Dialogs of the Job page: edit, replace accounts, delete."""

from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.engine import transaction
from db.errors import ConflictError, PortalNotAuthorisedError, PunctualError
from db.jobs import delete_job, get_job, resume_job, update_job, update_schedule
from db.models import Job
from db.retries import RetryPolicy, retry_policy_of
from db.schedule_impact import preview_change, preview_resume
from db.schedules import Schedule, policy_of, schedule_of
from db.viewers import Viewer
from portal_import.job_draft import check_job_urls, check_name
from portal_import.url_templates import portal_host
from recurrence import InvalidScheduleError
from ui.authorisation import CONFIRM, host_of, is_authorised, render_authorisation
from ui.dialogs import close_form, form_key, render_decision
from ui.impact_view import render_impact, render_paused_change
from ui.plain_text import plain
from ui.retry_editor import render_retry_editor
from ui.schedule_editor import ScheduleChoice, render_schedule_editor


@st.dialog("Edit job", width="large", dismissible=False)
def edit_job(viewer: Viewer, job: Job, zone: ZoneInfo, columns: tuple[str, ...]) -> None:
    """Name, addresses, schedule and retries; nothing runs because of an edit."""
    form = f"edit-{job.id}-{job.version}"
    key = form_key(form)
    name = st.text_input("Name", value=job.name, max_chars=120, key=f"{key}-name")
    login_url = st.text_input("Login URL", value=job.login_url, key=f"{key}-login")
    billing_url = st.text_input("Billing URL", value=job.billing_url, key=f"{key}-billing")
    host = host_of(login_url)
    must_vouch = host != "" and (host != portal_host(job.login_url) or not is_authorised(host))
    authorised = render_authorisation(login_url, key) if must_vouch else False
    choice = render_schedule_editor(
        key, zone, schedule=_last_schedule(job), policy=policy_of(job), is_scheduled=job.is_scheduled
    )
    retries = render_retry_editor(key, retry_policy_of(job))
    if choice.problem is None:
        render_change(job, choice, zone)
    if not render_decision("Save changes", form):
        return
    problems = check_name(name.strip()) | check_job_urls(login_url, billing_url, columns)
    if choice.problem is not None:
        problems["schedule"] = choice.problem
    if problems:
        st.error(_refusal("Not saved", problems), icon=":material/error:")
        return
    try:
        _save(viewer, job, name.strip(), login_url.strip(), billing_url.strip(), choice, retries, authorised)
    except PortalNotAuthorisedError:
        st.error(f"Not saved. {CONFIRM}", icon=":material/error:")
        return
    except ConflictError:
        st.error(
            "Not saved: somebody changed this job meanwhile. What you entered is still here; press Cancel and open "
            "Edit again to see the job as it is now.",
            icon=":material/error:",
        )
        return
    except (PunctualError, InvalidScheduleError) as error:
        st.error(f"Not saved: {plain(str(error))}", icon=":material/error:")
        return
    st.session_state["job-message"] = "Saved."
    close_form(form)


def render_change(job: Job, choice: ScheduleChoice, zone: ZoneInfo) -> None:
    """What saving would do to the coming runs; nothing is shown while nothing about them is changed."""
    if choice.schedule == schedule_of(job) and choice.policy == policy_of(job):
        return
    now = datetime.now(UTC)
    is_paused = job.paused_at is not None
    try:
        with transaction() as session:
            change = preview_change(session, None if is_paused else job, choice.schedule, choice.policy, now)
    except InvalidScheduleError as error:
        st.error(plain(str(error)), icon=":material/event_busy:")
        return
    if is_paused:
        render_paused_change(change.next_run, zone, now)
    else:
        render_impact(change, zone, now)


@st.dialog("Resume job")
def confirm_resume(viewer: Viewer, job: Job, zone: ZoneInfo) -> None:
    """Says what resuming will do, and does it."""
    now = datetime.now(UTC)
    try:
        with transaction() as session:
            change = preview_resume(session, job, now)
    except InvalidScheduleError as error:
        st.error(f"This job cannot be resumed: {plain(str(error))}. Edit its schedule first.", icon=":material/error:")
        return
    render_impact(change, zone, now)
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Leave it paused", key="resume-cancel"):
            st.rerun()
        if st.button("Resume job", type="primary", icon=":material/resume:", key="resume-confirm"):
            try:
                with transaction() as session:
                    resume_job(session, viewer, job.id, now=datetime.now(UTC))
            except (PunctualError, InvalidScheduleError) as error:
                st.error(f"Not resumed: {plain(str(error))}", icon=":material/error:")
                return
            st.session_state["job-message"] = "Resumed: nothing runs before the next occurrence."
            st.rerun()


@st.dialog("Delete job")
def confirm_delete(viewer: Viewer, job: Job) -> None:
    """Asks once more, saying what goes."""
    st.markdown(
        f"**{plain(job.name)}** goes with its accounts ({job.accounts_count:,}), its runs and the list of its bills. "
        "This cannot be undone."
    )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep it"):
            st.rerun()
        if st.button("Delete job", type="primary", icon=":material/delete:"):
            try:
                with transaction() as session:
                    delete_job(session, viewer, job.id)
            except PunctualError as error:
                st.error(f"Not deleted: {plain(str(error))}", icon=":material/error:")
                return
            st.switch_page("pages/jobs.py")


def _refusal(what: str, problems: Mapping[str, str]) -> str:
    return f"{what}. Please correct:\n\n" + "\n".join(f"- {plain(why)}" for why in problems.values())


def _save(
    viewer: Viewer,
    job: Job,
    name: str,
    login_url: str,
    billing_url: str,
    choice: ScheduleChoice,
    retries: RetryPolicy,
    authorised: bool,
) -> None:
    now = datetime.now(UTC)
    host = portal_host(login_url)
    with transaction() as session:
        current = get_job(session, viewer, job.id)
        update_job(
            session,
            viewer,
            job.id,
            now=now,
            name=name,
            login_url=login_url,
            billing_url=billing_url,
            portal_host=host if host != portal_host(current.login_url) else None,
            policy=choice.policy,
            retries=retries,
            expected_version=job.version,
            authorised=authorised,
        )
        if choice.schedule != schedule_of(job):
            update_schedule(session, viewer, job.id, choice.schedule, now=now)


def _last_schedule(job: Job) -> Schedule | None:
    """The job's schedule, also one that is switched off."""
    if job.schedule_type is None or job.schedule_config is None:
        return None
    return Schedule(job.schedule_type, job.schedule_config, job.time_zone)
