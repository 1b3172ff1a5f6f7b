"""Job: what it is, what it will do next, what it did, and the buttons to steer it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.accounts import list_accounts_needing_attention
from db.engine import transaction
from db.errors import NotFoundError
from db.jobs import get_job
from db.models import Account, Job, Run
from db.runs import get_run, list_runs
from db.viewers import Viewer
from ui.current_user import require_role
from ui.job_actions import LIVE, render_actions, render_waiting
from ui.moments import both
from ui.outcomes import JOB_LOOKS, job_state, render_look
from ui.paging import render_paging
from ui.plain_text import code, plain
from ui.runs_table import render_runs_table, runs_frame
from ui.schedule_editor import describe_job_schedule
from ui.shell import is_phone, set_tab_title, viewer_zone

RUNS_SHOWN = 20


@dataclass(frozen=True)
class JobView:
    """What the page shows."""

    job: Job
    runs: Sequence[Run]
    older_before: int | None
    waiting: Sequence[Account]


def main() -> None:
    """Draw the page."""
    viewer = require_role()
    try:
        job = load_head(viewer, st.query_params.get("id", ""))
    except NotFoundError:
        st.title("Job", anchor=False)
        st.warning("There is no such job, or it belongs to someone else.", icon=":material/search_off:")
        st.page_link("pages/jobs.py", label="Back to the jobs", icon=":material/arrow_back:")
        return
    set_tab_title(job.name)
    with st.container(key="back"):
        st.page_link("pages/jobs.py", label="Jobs", icon=":material/arrow_back:")
    render_job(viewer, job.id, viewer_zone(viewer))


@st.fragment(run_every=2)
def render_job(viewer: Viewer, job_id: str, zone: ZoneInfo) -> None:
    """Everything about the job, kept up to date."""
    try:
        view = load_job(viewer, job_id)
    except NotFoundError:
        st.info("This job was deleted.", icon=":material/delete:")
        return
    now = datetime.now(UTC)
    render_title(viewer, view.job, zone)
    message = st.session_state.pop("job-message", None)
    if message:
        st.toast(message)
    render_facts(view.job, zone, now)
    if view.job.accounts_count == 0:
        st.warning(
            "This job has no accounts yet, so it cannot run. Upload its accounts CSV.", icon=":material/group_off:"
        )
    render_waiting(viewer, view.job, view.waiting)
    st.subheader("Runs")
    render_runs(view, zone, now)


def render_title(viewer: Viewer, job: Job, zone: ZoneInfo) -> None:
    """Name and state at the left, actions at the right."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.title(plain(job.name), anchor=False, width="content")
            render_look(job_state(job))
        if viewer.may_write:
            with st.container(horizontal=True, width="content"):
                render_actions(viewer, job, zone)


def render_facts(job: Job, zone: ZoneInfo, now: datetime) -> None:
    """The schedule, the portal and the numbers."""
    next_run = "Paused" if job.paused_at is not None else both(job.next_run, zone, now)
    looks_at = job.status if job.status in LIVE else job.last_outcome
    last_outcome = JOB_LOOKS[looks_at].label if looks_at else ""
    facts = [
        ("Next run", next_run if job.is_scheduled else "By hand only", describe_job_schedule(job, viewer_zone=zone)),
        ("Last run", both(job.last_run_at, zone, now), last_outcome),
        ("Accounts", f"{job.accounts_count:,}", f"{job.results_count:,} results so far"),
    ]
    with st.container(key="facts"):
        for column, (label, value, note) in zip(st.columns([3, 3, 2]), facts, strict=True):
            with column, st.container(border=True, height="stretch", gap="xxsmall"):
                st.caption(label)
                st.markdown(f"**{value}**")
                st.caption(plain(note) or "–")
    st.caption(f"Signs in at {code(job.login_url)} and reads bills at {code(job.billing_url)}")


def render_runs(view: JobView, zone: ZoneInfo, now: datetime) -> None:
    """The job's runs, newest first, a page at a time."""
    if not view.runs:
        st.caption("No runs yet.")
        return
    key = f"runs-{view.job.id}-{view.runs[0].id}-{view.runs[-1].id}"
    chosen = render_runs_table(view.runs, runs_frame(view.runs, zone, now), phone=is_phone(), key=key)
    if chosen is not None:
        st.switch_page("pages/run.py", query_params={"id": str(chosen.id)})
    trail: list[int] = st.session_state.setdefault(f"runs-trail-{view.job.id}", [])
    render_paging(trail, view.older_before, "runs")


def load_head(viewer: Viewer, address_id: str) -> Job:
    """The job of the address, or of the run that it numbers. Raises NotFoundError.

    On the way from a job to its run the browser keeps this page with the run's number: Back ends here.
    """
    with transaction() as session:
        if address_id.isascii() and address_id.isdigit() and len(address_id) <= 18:
            return get_run(session, viewer, int(address_id))[1]
        return get_job(session, viewer, address_id)


def load_job(viewer: Viewer, job_id: str) -> JobView:
    """The job with a page of its runs and its accounts that need attention. Raises NotFoundError."""
    trail: list[int] = st.session_state.get(f"runs-trail-{job_id}", [])
    with transaction() as session:
        job = get_job(session, viewer, job_id)
        runs, older = list_runs(session, viewer, job_id, before_id=trail[-1] if trail else None, limit=RUNS_SHOWN)
        return JobView(job, runs, older, list_accounts_needing_attention(session, job, limit=50))


main()
