"""Job: what it is, what it will do next, what it did, and the buttons to steer it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.accounts import list_accounts_needing_attention
from db.calendars import load_calendars
from db.engine import snapshot, transaction
from db.errors import NotFoundError
from db.jobs import get_job, get_job_portal
from db.models import Account, Job, Portal, Run
from db.queue import Waiting, describe_waiting_jobs
from db.retries import get_waiting_retry, retry_policy_of
from db.runs import get_run
from db.schedules import next_run_of, policy_of
from db.viewers import Viewer
from ui.coming_up import render_coming_up
from ui.current_user import require_role
from ui.dialogs import pass_on_wish
from ui.history_charts import render_job_figures
from ui.job_actions import DIALOG, LIVE, open_dialogs, render_actions, render_waiting
from ui.job_history import render_history
from ui.ledger_view import render_ledger
from ui.moments import both
from ui.outcomes import JOB_LOOKS, job_state, render_look
from ui.plain_text import code, plain
from ui.policy_editor import describe_policy
from ui.portals_table import render_portal_link
from ui.retry_editor import describe_retries
from ui.retry_words import describe_retry_wait
from ui.schedule_editor import describe_job_schedule
from ui.shell import set_tab_title, viewer_zone
from ui.waiting import describe_wait


@dataclass(frozen=True)
class JobView:
    """What the top of the page shows."""

    job: Job
    portal: Portal | None
    next_run: datetime | None
    calendar_names: dict[int, str]
    retry: Run | None
    stuck: Sequence[Account]
    queued: Waiting | None


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
    zone = viewer_zone(viewer)
    if viewer.may_write:
        open_dialogs(viewer, job, zone)
    render_head(viewer, job.id, zone)
    # Only the tab that is looked at is computed: a ledger of many runs takes a second.
    tabs = dict(zip(TABS, st.tabs(list(TABS), key="tab", bind="query-params"), strict=True))
    for name, render in TABS.items():
        if tabs[name].open:
            with tabs[name]:
                render(viewer, job.id, zone)


@st.fragment(run_every=2)
def render_head(viewer: Viewer, job_id: str, zone: ZoneInfo) -> None:
    """What the job is and does now, kept up to date."""
    pass_on_wish(DIALOG)
    try:
        view = load_job(viewer, job_id)
    except NotFoundError:
        st.info("This job was deleted.", icon=":material/delete:")
        return
    render_title(viewer, view.job)
    message = st.session_state.pop("job-message", None)
    if message:
        st.toast(message)
    render_facts(view, zone, datetime.now(UTC))
    if view.job.accounts_count == 0:
        st.warning(
            "This job has no accounts yet, so it cannot run. Upload its accounts CSV.", icon=":material/group_off:"
        )
    render_waiting(viewer, view.job, view.stuck)


def render_title(viewer: Viewer, job: Job) -> None:
    """Name and state at the left, actions at the right."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.title(plain(job.name), anchor=False, width="content")
            render_look(job_state(job))
        if viewer.may_write:
            with st.container(horizontal=True, width="content"):
                render_actions(viewer, job)


def render_facts(view: JobView, zone: ZoneInfo, now: datetime) -> None:
    """The schedule, the portal and the numbers."""
    job = view.job
    next_run = "Paused" if job.paused_at is not None else both(view.next_run, zone, now)
    looks_at = job.status if job.status in LIVE else job.last_outcome
    last_outcome = JOB_LOOKS[looks_at].label if looks_at else ""
    if view.queued is not None:
        last_outcome += f": {describe_wait(view.queued, zone, now)}"
    if view.retry is not None:
        last_outcome += f"; {describe_retry_wait(view.retry, now)}"
    facts = [
        ("Next run", next_run if job.is_scheduled else "By hand only", describe_job_schedule(job, viewer_zone=zone)),
        ("Last run", both(job.last_run_at, zone, now), last_outcome),
        (
            "Accounts",
            f"{job.accounts_count:,}",
            f"{job.results_count:,} result{'' if job.results_count == 1 else 's'} so far",
        ),
    ]
    with st.container(key="facts"):
        for column, (label, value, note) in zip(st.columns([3, 3, 2]), facts, strict=True):
            with column, st.container(border=True, height="stretch", gap="xxsmall"):
                st.caption(label)
                st.markdown(f"**{value}**")
                st.caption(plain(note) or "–")
    policies = [describe_policy(policy_of(job), view.calendar_names)] if job.is_scheduled else []
    treatment = "; ".join(filter(None, (*policies, describe_retries(retry_policy_of(job)))))
    if treatment:
        st.caption(f":material/tune: {treatment[:1].upper()}{treatment[1:]}")
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        addresses = f"Signs in at {code(job.login_url)} and reads bills at {code(job.billing_url)}"
        st.caption(addresses, width="content")
        if view.portal is not None:
            render_portal_link(view.portal, job.id)
        if job.results_count:
            for kind, words in (("csv", "All bills as CSV"), ("xlsx", "All bills as Excel")):
                address = f"/files/jobs/{job.id}/bills.{kind}"
                st.link_button(words, address, type="tertiary", icon=":material/download:")


def load_head(viewer: Viewer, address_id: str) -> Job:
    """The job of the address, or of the run that it numbers. Raises NotFoundError.

    On the way from a job to its run the browser keeps this page with the run's number: Back ends here.
    """
    with transaction() as session:
        if address_id.isascii() and address_id.isdigit() and len(address_id) <= 18:
            return get_run(session, viewer, int(address_id))[1]
        return get_job(session, viewer, address_id)


def load_job(viewer: Viewer, job_id: str) -> JobView:
    """The job, when it runs next, and its accounts that need attention. Raises NotFoundError."""
    with snapshot() as session:
        job = get_job(session, viewer, job_id)
        calendars = load_calendars(session, job.calendar_ids)
        names = {calendar_id: calendar.name for calendar_id, calendar in calendars.items()}
        next_run = next_run_of(job, tuple(calendars[i] for i in job.calendar_ids if i in calendars))
        retry = get_waiting_retry(session, job.id)
        stuck = list_accounts_needing_attention(session, job, limit=50)
        queued = describe_waiting_jobs(session, [job], datetime.now(UTC)).get(job.id)
        return JobView(job, get_job_portal(session, job), next_run, names, retry, stuck, queued)


TABS: dict[str, Callable[[Viewer, str, ZoneInfo], None]] = {
    "Runs": render_history,
    "History": render_job_figures,
    "Coming up": render_coming_up,
    "Ledger": render_ledger,
}

main()
