"""The retries of a run on its page: the button, and the links to the runs before and after it."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.engine import transaction
from db.errors import PunctualError
from db.models import Job, JobStatus, Run
from db.result_words import count_accounts
from db.retry_requests import RetryOutlook, cancel_retry, request_retry
from db.viewers import Viewer
from ui.retry_words import describe_retry


def render_retry_button(viewer: Viewer, run: Run, job: Job, outlook: RetryOutlook) -> None:
    """Retry failed accounts, or go on with a run that was cut short, where no run of the job is under way."""
    if not outlook.retryable or job.status in (JobStatus.QUEUED, JobStatus.RUNNING):
        return
    again = f"Signs in again to {count_accounts(outlook.retryable - outlook.untried)} that may do better now"
    untried = f"Signs in to {count_accounts(outlook.untried)} that this run did not come to"
    if not outlook.untried:
        label, what = "Retry failed accounts", again
    else:
        label = "Continue"
        what = untried if outlook.untried == outlook.retryable else f"{untried}. {again}"
    if st.button(label, icon=":material/replay:", type="primary", key="run-retry", help=f"{what}, and to no others."):
        retry(viewer, run.id)


def render_call_off_button(viewer: Viewer, run: Run) -> None:
    """The way to keep a retry that waits from beginning."""
    if st.button(
        "Call off", icon=":material/event_busy:", key="run-call-off", help="Nothing else of the job is stopped"
    ):
        try:
            with transaction() as session:
                cancel_retry(session, viewer, run.id, now=datetime.now(UTC))
        except PunctualError as error:
            st.toast(_sentence(str(error)), icon=":material/error:")


def render_chain(run: Run, job: Job, outlook: RetryOutlook, zone: ZoneInfo, now: datetime) -> None:
    """Links to the run that this one retries, and to those that retry it."""
    if run.parent_run_id is None and not outlook.retries:
        return
    with st.container(gap="xxsmall"):
        if run.parent_run_id is not None:
            _link(run.parent_run_id, f"Retry of run {run.parent_run_id}", ":material/undo:")
        for again in outlook.retries:
            _link(again.id, describe_retry(again, job.max_attempts, zone, now), ":material/replay:")


def retry(viewer: Viewer, run_id: int) -> None:
    """Queue the retry and go to it."""
    try:
        with transaction() as session:
            queued_id = request_retry(session, viewer, run_id, now=datetime.now(UTC)).id
    except PunctualError as error:
        st.toast(_sentence(str(error)), icon=":material/error:")
        return
    st.switch_page("pages/run.py", query_params={"id": str(queued_id)})


def _link(run_id: int, label: str, icon: str) -> None:
    """A button: a page link to another run of the page that is shown leaves the address as it was."""
    if st.button(label, icon=icon, type="tertiary", key=f"run-link-{run_id}"):
        st.switch_page("pages/run.py", query_params={"id": str(run_id)})


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
