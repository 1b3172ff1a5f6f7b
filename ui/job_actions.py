"""What a person can do with a job on its page: the buttons, and the accounts that wait for somebody."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import streamlit as st
from sqlalchemy.orm import Session

from db.accounts import clear_attention, list_accounts
from db.engine import transaction
from db.errors import PunctualError
from db.jobs import get_job, lock_job, pause_job
from db.models import Account, Job, JobStatus, RunTrigger
from db.runs import request_run, request_stop
from db.viewers import Viewer
from ui.accounts_dialog import replace_accounts
from ui.dialogs import ask_for_dialog, open_wanted_dialog
from ui.job_dialogs import confirm_delete, confirm_resume, edit_job

DIALOG = "job-dialog"
LIVE = (JobStatus.QUEUED, JobStatus.RUNNING)


def render_actions(viewer: Viewer, job: Job) -> None:
    """Run now or stop, pause or resume, and the dialogs of the rarer ones."""

    def on_click(verb: Callable[..., object], done: str, **options: object) -> dict[str, Any]:
        return {"on_click": act, "args": (partial(verb, viewer=viewer, job_id=job.id, **options), done)}

    if job.status in LIVE:
        st.button(
            "Stop",
            icon=":material/stop:",
            type="primary",
            key="job-stop",
            **on_click(request_stop, "Stopping the run."),
        )
    else:
        st.button(
            "Run now",
            icon=":material/play_arrow:",
            type="primary",
            disabled=job.accounts_count == 0,
            key="job-run",
            **on_click(request_run, "The run is queued.", trigger=RunTrigger.MANUAL),
        )
    if job.is_scheduled and job.paused_at is None:
        done = "Paused: nothing runs by itself until you resume it."
        st.button("Pause", icon=":material/pause:", key="job-pause", **on_click(pause_job, done))
    elif job.is_scheduled:
        st.button("Resume", icon=":material/resume:", key="job-resume", **asks_for("resume"))
    st.button("Edit", icon=":material/edit:", key="job-edit", **asks_for("edit"))
    st.button(
        "Accounts",
        icon=":material/upload:",
        key="job-accounts",
        help="Replace the accounts CSV",
        **asks_for("accounts"),
    )
    st.button("Delete", icon=":material/delete:", key="job-delete", **asks_for("delete"))


def asks_for(dialog: str) -> dict[str, Any]:
    """What makes a button ask for a dialog."""
    return {"on_click": ask_for_dialog, "args": (DIALOG, dialog)}


def open_dialogs(viewer: Viewer, job: Job, zone: ZoneInfo) -> None:
    """Open the dialog that a button asked for, on the job as it is now."""
    open_wanted_dialog(
        DIALOG,
        {
            "resume": lambda: confirm_resume(viewer, job, zone),
            "edit": lambda: edit_job(viewer, job, zone, load_extra_columns(viewer, job.id)),
            "accounts": lambda: replace_accounts(viewer, job),
            "delete": lambda: confirm_delete(viewer, job),
        },
    )


def act(verb: Callable[..., object], done: str) -> None:
    """Carry out a change and have it said, or why not, when the page is drawn next."""
    try:
        with transaction() as session:
            verb(session, now=datetime.now(UTC))
    except PunctualError as error:
        st.session_state["job-message"] = f"{str(error)[:1].upper()}{str(error)[1:]}."
    else:
        st.session_state["job-message"] = done


def try_again(session: Session, *, viewer: Viewer, job_id: str, account_id: int, now: datetime) -> None:
    """Let the next run sign in to the account again."""
    clear_attention(session, lock_job(session, viewer, job_id), account_id)


def render_waiting(viewer: Viewer, job: Job, waiting: Sequence[Account]) -> None:
    """Accounts that the next run leaves alone, and the way to have them tried again."""
    if not waiting:
        return
    many = len(waiting)
    with st.expander(
        f"{many} account{'s' if many > 1 else ''} left alone until you act", icon=":material/person_alert:"
    ):
        st.caption(
            "Refused sign-ins are never repeated. Replace the CSV with corrected passwords, or let one try again."
        )
        for account in waiting:
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                st.text(f"{account.username}: {account.status_reason or ''}", width="stretch")
                if viewer.may_write:
                    verb = partial(try_again, viewer=viewer, job_id=job.id, account_id=account.id)
                    done = "The next run tries this account again."
                    st.button("Try again next run", key=f"clear-{account.id}", on_click=act, args=(verb, done))


def load_extra_columns(viewer: Viewer, job_id: str) -> tuple[str, ...]:
    """The CSV columns that the job's addresses may use."""
    with transaction() as session:
        accounts = list_accounts(session, get_job(session, viewer, job_id), limit=1)
    return tuple(accounts[0].extra) if accounts else ()
