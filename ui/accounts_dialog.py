"""The dialog that replaces the accounts of a job: what the new file would change is shown before it is saved."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from db.accounts import AccountChanges, AccountsPreview, preview_accounts
from db.encryption import open_secret_box
from db.engine import transaction
from db.errors import PunctualError
from db.jobs import get_job, update_accounts
from db.models import Job
from db.result_words import count_accounts
from db.viewers import Viewer
from portal_import.accounts_csv import AccountsFile
from portal_import.job_draft import check_job_urls, new_accounts
from settings import get_settings
from ui.accounts_upload import render_accounts_upload
from ui.dialogs import close_form, form_key, render_decision
from ui.plain_text import plain

CHANGED_MEANWHILE = (
    "Somebody changed this job meanwhile. Press Cancel and open Accounts again to see what this file would change now."
)


@st.dialog("Replace accounts", width="large", dismissible=False)
def replace_accounts(viewer: Viewer, job: Job) -> None:
    """Another CSV for the job; accounts that stay keep their history."""
    form = f"replace-{job.id}-{job.version}"
    st.caption("Accounts are matched by user name. Those that are not in the new file are removed from the job.")
    _, accounts = render_accounts_upload(form_key(form))
    is_usable = accounts is not None and _render_preview(viewer, job, accounts)
    if not render_decision("Replace accounts", form):
        return
    if accounts is None or not is_usable:
        st.error("Not replaced: choose a file that can be used.", icon=":material/error:")
        return
    try:
        changes = _save(viewer, job, accounts)
    except PunctualError as error:
        st.error(f"Not replaced: {plain(str(error))}.", icon=":material/error:")
        return
    st.session_state["job-message"] = f"Accounts replaced: {describe_changes(changes)}."
    close_form(form)


def describe_changes(changes: AccountChanges) -> str:
    """`3 added, 2 changed password, 1 removed, 14 unchanged`."""
    otherwise = changes.changed - changes.changed_password
    parts = [f"{changes.added:,} added", f"{changes.changed_password:,} changed password"]
    parts += [f"{otherwise:,} changed otherwise"] if otherwise else []
    return ", ".join([*parts, f"{changes.removed:,} removed", f"{changes.unchanged:,} unchanged"])


def changes_frame(preview: AccountsPreview) -> pd.DataFrame:
    """The first user names of each kind of change."""
    kinds: tuple[tuple[str, Sequence[str], int], ...] = (
        ("added", preview.added, preview.changes.added),
        ("changed password", preview.changed_password, preview.changes.changed_password),
        (
            "changed otherwise",
            preview.changed_otherwise,
            preview.changes.changed - preview.changes.changed_password,
        ),
        ("removed", preview.removed, preview.changes.removed),
    )
    rows: list[dict[str, str]] = []
    for what, names, total in kinds:
        rows += [{"change": what, "username": name} for name in names]
        if total > len(names):
            rows.append({"change": what, "username": f"… and {total - len(names):,} more"})
    return pd.DataFrame(rows, columns=["change", "username"])


def describe_consequences(preview: AccountsPreview) -> list[str]:
    """What becomes of history and of accounts that wait for somebody, in sentences."""
    changes = preview.changes
    sentences = ["Results and bills so far stay readable, also those of removed accounts."] if changes.removed else []
    if preview.ready_again:
        sentences.append(f"Left alone until now, and signed in to again by the next run: {preview.ready_again:,}.")
    if preview.still_waiting:
        sentences.append(f"Still left alone, because their rows are the same as before: {preview.still_waiting:,}.")
    return sentences


def _render_preview(viewer: Viewer, job: Job, accounts: AccountsFile) -> bool:
    """What saving would do; False when it cannot be done."""
    problems = check_job_urls(job.login_url, job.billing_url, accounts.extra_columns)
    if problems:
        lines = "\n".join(f"- {plain(why)}" for why in problems.values())
        st.error(f"This file does not fit the job's addresses:\n\n{lines}", icon=":material/error:")
        return False
    try:
        with transaction() as session:
            current = get_job(session, viewer, job.id)
            preview = preview_accounts(session, current, new_accounts(accounts), open_secret_box(get_settings()))
    except PunctualError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return False
    if preview.version != job.version:
        st.error(CHANGED_MEANWHILE, icon=":material/error:")
        return False
    st.info(f"**{describe_changes(preview.changes)}**", icon=":material/compare_arrows:")
    if preview.changes.removed and not (preview.changes.changed or preview.changes.unchanged):
        st.warning(
            f"None of the job's {count_accounts(preview.changes.removed)} is in this file: every one is removed.",
            icon=":material/group_remove:",
        )
    frame = changes_frame(preview)
    if len(frame):
        column = st.column_config.TextColumn
        st.dataframe(
            frame,
            hide_index=True,
            # Where not all fit, the last row is cut through: it shows that there are more.
            height="content" if len(frame) <= 8 else 315,
            column_config={"change": column("Change", width=130), "username": column("Account")},
        )
    for sentence in describe_consequences(preview):
        st.caption(sentence)
    return True


def _save(viewer: Viewer, job: Job, accounts: AccountsFile) -> AccountChanges:
    box, now = open_secret_box(get_settings()), datetime.now(UTC)
    with transaction() as session:
        rows = new_accounts(accounts)
        return update_accounts(session, viewer, job.id, rows, box, now=now, expected_version=job.version)
