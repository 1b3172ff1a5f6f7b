"""Jobs: every job of the viewer with its schedule, next and last run, and how it went."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.engine import snapshot, transaction
from db.job_lists import (
    LOOKED_THROUGH,
    PAGE_SIZE,
    JobCounts,
    JobCursor,
    count_jobs_by_status,
    list_jobs,
    list_owner_names,
)
from db.models import Job, JobStatus
from db.queue import Waiting, describe_waiting_jobs
from db.schedules import list_next_runs
from db.viewers import Viewer
from ui.bulk_actions import DIALOG, open_dialogs, render_bulk_actions
from ui.current_user import require_role
from ui.demo_job import create_demo_job
from ui.dialogs import pass_on_wish
from ui.jobs_table import jobs_frame, render_jobs_table
from ui.outcomes import JOB_LOOKS
from ui.paging import render_paging
from ui.shell import is_phone, viewer_zone

FILTER_LABELS = {JobStatus.IDLE: "Not run yet"}


@dataclass(frozen=True)
class JobsPage:
    """One page of the table."""

    jobs: Sequence[Job]
    next_cursor: JobCursor | None
    owners: dict[str, str]
    next_runs: dict[str, datetime | None]
    waiting: dict[str, Waiting]


def main() -> None:
    """Draw the page."""
    viewer = require_role()
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.title("Jobs", anchor=False, width="content")
        counts = load_counts(viewer)
        if counts.by_status and viewer.may_write and st.button("New job", type="primary", icon=":material/add:"):
            st.switch_page("pages/new_job.py")
    if not counts.by_status:
        render_welcome(viewer)
        return
    q, status = render_filters(counts)
    zone = viewer_zone(viewer)
    if viewer.may_write:
        open_dialogs(viewer, zone)
    render_table(viewer, zone, q, status)


def render_filters(counts: JobCounts) -> tuple[str, str | None]:
    """Search and status; returns what to look for."""
    with st.container(horizontal=True, vertical_alignment="center"):
        q = st.text_input(
            "Search",
            placeholder="Search by name or portal address",
            label_visibility="collapsed",
            icon=":material/search:",
            key="jobs-q",
            width=320,
        )
        status = st.pills(
            "Status",
            [s for s in JOB_LOOKS if counts.by_status.get(s) or not counts.is_all],
            format_func=lambda s: filter_label(s, counts),
            label_visibility="collapsed",
            key="jobs-status",
        )
    if not counts.is_all:
        st.caption(f"Of {LOOKED_THROUGH:,} jobs or more, the numbers count the newest {LOOKED_THROUGH:,}.")
    return q, status


def filter_label(status: JobStatus, counts: JobCounts) -> str:
    """The status and how many jobs have it: "512+" where there may be others that were not counted."""
    label = FILTER_LABELS.get(status, JOB_LOOKS[status].label)
    count = counts.by_status.get(status)
    return f"{label} {count:,}{'' if counts.is_all else '+'}" if count else label


@st.fragment(run_every=3)
def render_table(viewer: Viewer, zone: ZoneInfo, q: str, status: str | None) -> None:
    """The table, kept up to date, a page at a time."""
    pass_on_wish(DIALOG)
    filters = (q, status)
    trail: list[JobCursor] = st.session_state.setdefault("jobs-trail", [])
    if st.session_state.get("jobs-filters") != filters:
        st.session_state["jobs-filters"] = filters
        trail.clear()
    page = load_jobs(viewer, q, status, trail[-1] if trail else None)
    if not page.jobs:
        render_no_match(trail, page.next_cursor)
        return
    message = st.session_state.pop("jobs-message", None)
    if message:
        st.toast(message)
    frame = jobs_frame(page.jobs, zone, datetime.now(UTC), page.owners, page.next_runs, page.waiting)
    key = f"jobs-{hash(tuple(job.id for job in page.jobs))}"
    actions = st.container()
    pick = render_jobs_table(page.jobs, frame, phone=is_phone(), selects=viewer.may_write, key=key)
    if pick.opened is not None:
        st.switch_page("pages/job.py", query_params={"id": pick.opened.id})
    with actions:
        render_bulk_actions(viewer, pick.selected)
    if len(page.jobs) < PAGE_SIZE and page.next_cursor is not None:
        st.caption(f"All that match among {LOOKED_THROUGH:,} jobs. Older looks through the next {LOOKED_THROUGH:,}.")
    render_paging(trail, page.next_cursor, "jobs")


def render_no_match(trail: list[JobCursor], next_cursor: JobCursor | None) -> None:
    """Nothing here; among very many jobs there may be something further on."""
    if next_cursor is not None:
        st.info(
            f"None of {LOOKED_THROUGH:,} jobs matches. Older looks through the next {LOOKED_THROUGH:,}.",
            icon=":material/manage_search:",
        )
    elif trail:
        st.info("No other job matches.", icon=":material/search_off:")
    else:
        st.info("No job matches. Change the search or the status.", icon=":material/search_off:")
    render_paging(trail, next_cursor, "jobs")


def render_welcome(viewer: Viewer) -> None:
    """What a person without jobs sees: one click to a working example, one to their own."""
    with st.container(border=True):
        st.subheader("Bring your bills home on schedule")
        st.markdown(
            "A job signs in to a billing portal once for each account of a CSV, downloads the bills, and does so "
            "again every day, week or month. Nothing runs until you say when."
        )
        if not viewer.may_write:
            st.info("Your role may look at jobs but not create them.", icon=":material/visibility:")
            return
        with st.container(horizontal=True):
            if st.button("Load the demo job", type="primary", icon=":material/science:"):
                st.switch_page("pages/job.py", query_params={"id": create_demo_job(viewer, viewer_zone(viewer))})
            if st.button("New job", icon=":material/add:"):
                st.switch_page("pages/new_job.py")
        st.caption("The demo job imports 20 made-up accounts from the demo portal that comes with Punctual.")


def load_counts(viewer: Viewer) -> JobCounts:
    """How many jobs the viewer has in each status."""
    with transaction() as session:
        return count_jobs_by_status(session, viewer)


def load_jobs(viewer: Viewer, q: str, status: str | None, cursor: JobCursor | None) -> JobsPage:
    """One page of jobs, with the owners' names when an admin sees jobs of others."""
    with snapshot() as session:
        jobs, next_cursor = list_jobs(session, viewer, q=q, status=status, cursor=cursor)
        shows_owners = viewer.is_admin and any(job.user_id != viewer.user_id for job in jobs)
        owners = list_owner_names(session, {job.user_id for job in jobs}) if shows_owners else {}
        waiting = describe_waiting_jobs(session, jobs, datetime.now(UTC))
        return JobsPage(jobs, next_cursor, owners, list_next_runs(session, jobs), waiting)


main()
