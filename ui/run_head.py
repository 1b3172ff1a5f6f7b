"""The top of a run's page: what it is, what can be done with it, and how far it is."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.engine import transaction
from db.errors import PunctualError
from db.models import LIVE_RUN_STATUSES, Job, Run, RunStatus
from db.queue import Waiting
from db.retry_requests import RetryOutlook
from db.runs import request_stop
from db.viewers import Viewer
from ui.moments import duration
from ui.outcomes import RUN_LOOKS, render_badge
from ui.plain_text import plain
from ui.retry_view import render_call_off_button, render_retry_button
from ui.retry_words import describe_retry_wait, waits_for_its_time
from ui.runs_table import describe_run, run_duration
from ui.waiting import describe_wait

RETRY_PACE_SECONDS = 3


def choose_pace(run: Run, retries: Sequence[Run]) -> int | None:
    """After how many seconds the page is to be drawn again; None when nothing of it changes any more."""
    if run.status in LIVE_RUN_STATUSES:
        return 1
    return RETRY_PACE_SECONDS if any(retry.status in LIVE_RUN_STATUSES for retry in retries) else None


def render_run_title(viewer: Viewer, run: Run, job: Job, outlook: RetryOutlook, zone: ZoneInfo) -> None:
    """What this run is, and the stop button while it is live."""
    now = datetime.now(UTC)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.title(f"Run {run.id}", anchor=False, width="content")
            render_badge(RUN_LOOKS, run.status)
        if viewer.may_write:
            _render_buttons(viewer, run, job, outlook, now)
    st.caption(describe_run(run, zone, now))
    if run.reason:
        show = st.info if run.status in (RunStatus.STOPPED, RunStatus.SKIPPED) else st.warning
        # It may quote what a portal said.
        show(f"{plain(run.reason[:1].upper() + run.reason[1:])}.", icon=RUN_LOOKS[run.status].icon)


def _render_buttons(viewer: Viewer, run: Run, job: Job, outlook: RetryOutlook, now: datetime) -> None:
    """What a person can do with the run: end it while it is live, then have its failed accounts tried again."""
    if waits_for_its_time(run):
        render_call_off_button(viewer, run)
    elif run.status not in LIVE_RUN_STATUSES:
        render_retry_button(viewer, run, job, outlook)
    elif run.stop_requested_at is None and st.button("Stop", icon=":material/stop:", key="run-stop"):
        _stop(viewer, job.id, now)


def render_run_progress(run: Run, waiting: Waiting | None, zone: ZoneInfo) -> None:
    """How far it is, or what it waits for."""
    now = datetime.now(UTC)
    if waits_for_its_time(run) and run.run_after > now:
        words = describe_retry_wait(run, now)
        st.progress(0.0, text=f"{words[:1].upper()}{words[1:]}.")
        return
    if waiting is not None:
        st.progress(0.0, text=f"{plain(describe_wait(waiting, zone, now))}.")
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


def _stop(viewer: Viewer, job_id: str, now: datetime) -> None:
    """Ask for the run to stop."""
    try:
        with transaction() as session:
            request_stop(session, viewer, job_id, now=now)
    except PunctualError as error:
        st.toast(f"{str(error)[:1].upper()}{str(error)[1:]}.", icon=":material/error:")
    else:
        st.toast("Stopping the run.", icon=":material/stop:")
