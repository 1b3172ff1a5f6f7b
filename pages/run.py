"""Run: live progress, what happened to each account, the bills, and the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.attempts import AttemptView, list_attempts
from db.bills import list_run_bills
from db.engine import snapshot, transaction
from db.errors import NotFoundError
from db.jobs import get_job_portal
from db.models import LIVE_RUN_STATUSES, Bill, History, Job, Portal, Result, Run, RunLogLine
from db.queue import Waiting, describe_waiting
from db.results import list_results
from db.retention import get_kept_since
from db.retry_requests import RetryOutlook, list_retries, look_out_for_retry
from db.run_log import list_newest_log_lines
from db.runs import get_run
from db.viewers import Viewer
from ui.attempts_table import render_attempts
from ui.bills_table import render_bills
from ui.current_user import require_role
from ui.moments import exact
from ui.plain_text import plain
from ui.portals_table import render_portal_link
from ui.results_table import render_log, render_results
from ui.retry_view import render_chain
from ui.run_head import choose_pace, render_run_progress, render_run_title
from ui.shell import set_tab_title, viewer_zone

RESULTS_SHOWN = 500


@dataclass(frozen=True)
class RunHead:
    """Which run the page shows, and what decides how often it is drawn."""

    run: Run
    job: Job
    portal: Portal | None
    retries: Sequence[Run]


@dataclass(frozen=True)
class RunView:
    """What the page shows."""

    run: Run
    job: Job
    waiting: Waiting | None
    results: Sequence[Result]
    has_more_results: bool
    bills: Sequence[Bill]
    log: Sequence[RunLogLine]
    attempts: Sequence[AttemptView]
    outlook: RetryOutlook
    log_kept_since: datetime | None


def main() -> None:
    """Draw the page."""
    viewer = require_role()
    run_id = st.query_params.get("id", "")
    try:
        head = load_head(viewer, run_id)
    except NotFoundError:
        st.title("Run", anchor=False)
        st.warning("There is no such run, or it belongs to someone else.", icon=":material/search_off:")
        st.page_link("pages/jobs.py", label="Back to the jobs", icon=":material/arrow_back:")
        return
    run, job = head.run, head.job
    set_tab_title(f"Run {run.id} · {job.name}")
    with st.container(key="back", horizontal=True):
        st.page_link("pages/job.py", label=plain(job.name), icon=":material/arrow_back:", query_params={"id": job.id})
        if head.portal is not None:
            render_portal_link(head.portal, job.id)
    render = st.fragment(render_run, run_every=choose_pace(run, head.retries))
    render(viewer, run.id, viewer_zone(viewer))


def render_run(viewer: Viewer, run_id: int, zone: ZoneInfo) -> None:
    """Everything about the run; drawn again while it, or a retry of it, is live."""
    try:
        view = load_run(viewer, run_id)
    except NotFoundError:
        st.info("This run was deleted.", icon=":material/delete:")
        return
    pace = choose_pace(view.run, view.outlook.retries)
    last_pace = st.session_state.get(f"pace-{run_id}", pace)
    st.session_state[f"pace-{run_id}"] = pace
    if pace != last_pace:
        st.rerun()  # the whole page once more, so that it is drawn again as often as it takes now
    render_run_title(viewer, view.run, view.job, view.outlook, zone)
    render_chain(view.run, view.job, view.outlook, zone, datetime.now(UTC))
    render_run_progress(view.run, view.waiting, zone)
    render_attempts(view.attempts, zone, datetime.now(UTC))
    # Fixed labels: tabs whose labels change while the run is live fall back to the first one.
    accounts, bills, log = st.tabs(["Accounts", "Bills", "Log"], key=f"run-tabs-{run_id}")
    with accounts:
        render_results(view.results, waits=view.run.status in LIVE_RUN_STATUSES)
        if view.has_more_results:
            st.caption(f"The first {RESULTS_SHOWN} accounts. The API lists all of them.")
    with bills:
        render_bills(view.bills, run_id, zone)
    with log:
        render_log(view.log, zone)
        kept_since = view.log_kept_since
        if kept_since is not None and (view.run.started_at or view.run.queued_at) < kept_since:
            st.caption(
                f"Log lines are kept since {exact(kept_since, zone, datetime.now(UTC))}; older ones were removed."
            )


def load_head(viewer: Viewer, run_id: str) -> RunHead:
    """The run of the address and what is around it. Raises NotFoundError."""
    if not run_id.isascii() or not run_id.isdigit() or len(run_id) > 18:
        raise NotFoundError
    with transaction() as session:
        run, job = get_run(session, viewer, int(run_id))
        return RunHead(run, job, get_job_portal(session, job), list_retries(session, run))


def load_run(viewer: Viewer, run_id: int) -> RunView:
    """The run with its results, bills and newest log lines. Raises NotFoundError."""
    with snapshot() as session:
        run, job = get_run(session, viewer, run_id)
        results, more = list_results(session, viewer, run_id, limit=RESULTS_SHOWN)
        bills = list_run_bills(session, viewer, run_id)
        log = list_newest_log_lines(session, run_id)
        attempts = list_attempts(session, viewer, run_id)
        log_kept_since = get_kept_since(session, History.LOG)
        outlook = look_out_for_retry(session, run)
        waiting = describe_waiting(session, [run], datetime.now(UTC)).get(run_id)
        return RunView(run, job, waiting, results, more is not None, bills, log, attempts, outlook, log_kept_since)


main()
