"""Run: live progress, what happened to each account, the bills, and the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.attempts import AttemptView, list_attempts
from db.bills import list_run_bills
from db.engine import transaction
from db.errors import NotFoundError, PunctualError
from db.jobs import get_job_portal
from db.models import LIVE_RUN_STATUSES, Bill, History, Job, Portal, Result, Run, RunLogLine, RunStatus
from db.queue import Waiting, describe_waiting
from db.results import list_results
from db.retention import get_kept_since
from db.retry_requests import RetryOutlook, look_out_for_retry
from db.run_log import list_newest_log_lines
from db.runs import get_run, request_stop
from db.viewers import Viewer
from ui.attempts_table import render_attempts
from ui.bills_table import render_bills
from ui.current_user import require_role
from ui.moments import duration, exact
from ui.outcomes import RUN_LOOKS, render_badge
from ui.plain_text import plain
from ui.portals_table import render_portal_link
from ui.results_table import render_log, render_results
from ui.retry_view import render_call_off_button, render_chain, render_retry_button
from ui.retry_words import describe_retry_wait, waits_for_its_time
from ui.runs_table import describe_run, run_duration
from ui.shell import set_tab_title, viewer_zone
from ui.waiting import describe_wait

RESULTS_SHOWN = 500


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
        run, job, portal = load_head(viewer, run_id)
    except NotFoundError:
        st.title("Run", anchor=False)
        st.warning("There is no such run, or it belongs to someone else.", icon=":material/search_off:")
        st.page_link("pages/jobs.py", label="Back to the jobs", icon=":material/arrow_back:")
        return
    set_tab_title(f"Run {run.id} · {job.name}")
    with st.container(key="back", horizontal=True):
        st.page_link("pages/job.py", label=plain(job.name), icon=":material/arrow_back:", query_params={"id": job.id})
        if portal is not None:
            render_portal_link(portal, job.id)
    render = st.fragment(render_run, run_every=1 if run.status in LIVE_RUN_STATUSES else None)
    render(viewer, run.id, viewer_zone(viewer))


def render_run(viewer: Viewer, run_id: int, zone: ZoneInfo) -> None:
    """Everything about the run; drawn again every second while it is live."""
    try:
        view = load_run(viewer, run_id)
    except NotFoundError:
        st.info("This run was deleted.", icon=":material/delete:")
        return
    was_live = st.session_state.get(f"live-{run_id}", False)
    is_live = view.run.status in LIVE_RUN_STATUSES
    st.session_state[f"live-{run_id}"] = is_live
    if was_live and not is_live:
        st.rerun()  # the whole page once more, so that it stops refreshing
    render_title(viewer, view, zone)
    render_chain(view.run, view.job, view.outlook, zone, datetime.now(UTC))
    render_progress(view, zone)
    render_attempts(view.attempts, zone, datetime.now(UTC))
    # Fixed labels: tabs whose labels change while the run is live fall back to the first one.
    accounts, bills, log = st.tabs(["Accounts", "Bills", "Log"], key=f"run-tabs-{run_id}")
    with accounts:
        render_results(view.results, waits=is_live)
        if view.has_more_results:
            st.caption(f"The first {RESULTS_SHOWN} accounts. The API lists all of them.")
    with bills:
        render_bills(view.bills, run_id)
    with log:
        render_log(view.log, zone)
        kept_since = view.log_kept_since
        if kept_since is not None and (view.run.started_at or view.run.queued_at) < kept_since:
            st.caption(
                f"Log lines are kept since {exact(kept_since, zone, datetime.now(UTC))}; older ones were removed."
            )


def render_title(viewer: Viewer, view: RunView, zone: ZoneInfo) -> None:
    """What this run is, and the stop button while it is live."""
    now = datetime.now(UTC)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.title(f"Run {view.run.id}", anchor=False, width="content")
            render_badge(RUN_LOOKS, view.run.status)
        if viewer.may_write:
            render_buttons(viewer, view, now)
    st.caption(describe_run(view.run, zone, now))
    if view.run.reason:
        show = st.info if view.run.status in (RunStatus.STOPPED, RunStatus.SKIPPED) else st.warning
        show(f"{view.run.reason[:1].upper()}{view.run.reason[1:]}.", icon=RUN_LOOKS[view.run.status].icon)


def render_buttons(viewer: Viewer, view: RunView, now: datetime) -> None:
    """What a person can do with the run: end it while it is live, then have its failed accounts tried again."""
    if waits_for_its_time(view.run):
        render_call_off_button(viewer, view.run)
    elif view.run.status not in LIVE_RUN_STATUSES:
        render_retry_button(viewer, view.run, view.job, view.outlook)
    elif view.run.stop_requested_at is None and st.button("Stop", icon=":material/stop:", key="run-stop"):
        stop(viewer, view.job.id, now)


def render_progress(view: RunView, zone: ZoneInfo) -> None:
    """How far it is, or what it waits for."""
    run, now = view.run, datetime.now(UTC)
    if waits_for_its_time(run) and run.run_after > now:
        words = describe_retry_wait(run, now)
        st.progress(0.0, text=f"{words[:1].upper()}{words[1:]}.")
        return
    if view.waiting is not None:
        st.progress(0.0, text=f"{plain(describe_wait(view.waiting, zone, now))}.")
        return
    if not run.accounts_total:
        return
    took = duration(run_duration(run, now))
    left = run.accounts_total - run.accounts_done
    words = [f"{run.accounts_done:,} of {run.accounts_total:,} accounts", f"{run.accounts_succeeded:,} succeeded"]
    if run.status == RunStatus.RUNNING:
        words.append("stopping" if run.stop_requested_at else f"running for {took}")
    else:
        words += [f"{left:,} left out"] if left else []
        words.append(f"took {took}")
    st.progress(min(1.0, run.accounts_done / run.accounts_total), text=" · ".join(words))


def stop(viewer: Viewer, job_id: str, now: datetime) -> None:
    """Ask for the run to stop."""
    try:
        with transaction() as session:
            request_stop(session, viewer, job_id, now=now)
    except PunctualError as error:
        st.toast(f"{str(error)[:1].upper()}{str(error)[1:]}.", icon=":material/error:")
    else:
        st.toast("Stopping the run.", icon=":material/stop:")


def load_head(viewer: Viewer, run_id: str) -> tuple[Run, Job, Portal | None]:
    """The run of the address, its job and that one's portal. Raises NotFoundError."""
    if not run_id.isascii() or not run_id.isdigit() or len(run_id) > 18:
        raise NotFoundError
    with transaction() as session:
        run, job = get_run(session, viewer, int(run_id))
        return run, job, get_job_portal(session, job)


def load_run(viewer: Viewer, run_id: int) -> RunView:
    """The run with its results, bills and newest log lines. Raises NotFoundError."""
    with transaction() as session:
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
