"""The accounts CSV of a form: uploaded, read at once, and shown as it was understood, secrets masked."""

import pandas as pd
import streamlit as st

from db.result_words import count_accounts
from portal_import.accounts_csv import AccountsFile, InvalidAccountsFileError, read_accounts_csv
from ui.plain_text import inert_frame, plain

PREVIEW_ROWS = 5
MASK = "••••••••"
DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}


def render_accounts_upload(key: str) -> tuple[bytes | None, AccountsFile | None]:
    """The uploader with its preview; returns the file's bytes and, when they could be read, its accounts."""
    upload = st.file_uploader(
        "Accounts CSV",
        key=f"{key}-csv",
        help="One row per portal account, with a user name and a password column. Other columns can be used "
        "in the addresses as {column}. The file itself is not kept; passwords are stored encrypted.",
    )
    if upload is None:
        return None, None
    data = upload.getvalue()
    try:
        accounts = read_accounts_csv(data)
    except InvalidAccountsFileError as error:
        _render_problems(error)
        return data, None
    _render_preview(accounts)
    return data, accounts


def _render_problems(error: InvalidAccountsFileError) -> None:
    lines = [f"- {plain(str(problem))}" for problem in error.problems[:10]]
    more = len(error.problems) - 10 + error.omitted
    if more > 0:
        lines.append(f"- … and {more} more")
    st.error("This file cannot be used:\n\n" + "\n".join(lines), icon=":material/table_view:")


def _render_preview(accounts: AccountsFile) -> None:
    shown = accounts.rows[:PREVIEW_ROWS]
    frame = pd.DataFrame(
        [
            {"Row": row.row_number, accounts.username_column: row.username, accounts.password_column: MASK} | row.extra
            for row in shown
        ]
    )
    how = DELIMITER_NAMES.get(accounts.delimiter, accounts.delimiter)
    more = f", the first {len(shown)} shown" if len(accounts.rows) > len(shown) else ""
    st.success(
        f"{count_accounts(len(accounts.rows))}{more} · separated by {how} · {accounts.encoding}",
        icon=":material/check:",
    )
    st.dataframe(inert_frame(frame), hide_index=True, height="content")
