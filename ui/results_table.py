"""What happened to each account of a run, and the run's log."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from db.models import SUCCEEDED_RESULTS, LogLevel, Result, RunLogLine
from db.result_advice import advise
from db.result_words import count_accounts
from ui.moments import duration
from ui.outcomes import RESULT_LOOKS, pill_column
from ui.plain_text import inert_frame, plain
from ui.shell import is_phone

PHONE_COLUMNS = ("username", "status")
FAILURES_SHOWN = 5
NAMES_SHOWN = 3
LEVEL_SIGNS = {LogLevel.INFO: "", LogLevel.WARNING: "!", LogLevel.ERROR: "✕"}


def render_results(results: Sequence[Result], *, waits: bool) -> None:
    """The accounts' results: those that failed first, each with its cause and what helps."""
    if not results:
        st.caption("No account is done yet." if waits else "No account was tried.")
        return
    ordered = sorted(results, key=lambda r: (r.status in SUCCEEDED_RESULTS, r.row_number or 0))
    _render_failures([r for r in ordered if r.status not in SUCCEEDED_RESULTS])
    column = st.column_config
    frame = inert_frame(
        pd.DataFrame(
            [
                {
                    "username": result.username,
                    "status": [RESULT_LOOKS[result.status].pill],
                    "bills": result.bills_seen,
                    "new": result.bills_new,
                    "retries": result.retry_attempts,
                    "took": duration(
                        result.finished_at - result.started_at if result.finished_at and result.started_at else None
                    ),
                    "error": result.error or "",
                }
                for result in ordered
            ]
        )
    )
    st.dataframe(
        frame,
        key="run-results",
        hide_index=True,
        height="content" if len(frame) <= 25 else 900,
        column_order=PHONE_COLUMNS if is_phone() else tuple(frame.columns),
        column_config={
            "username": column.TextColumn("Account"),
            "status": pill_column("Result", RESULT_LOOKS.values()),
            "bills": column.NumberColumn("Bills", width=60),
            "new": column.NumberColumn("New", width=60, help="Bills that no earlier run had seen"),
            "retries": column.NumberColumn(
                "Retries", width=70, help="Requests repeated after a passing portal error; sign-ins never are"
            ),
            "took": column.TextColumn("Took", width=80, alignment="right"),
            "error": column.TextColumn("What happened", width="large"),
        },
    )


def render_log(lines: Sequence[RunLogLine], zone: ZoneInfo) -> None:
    """The newest lines, the newest first: what happens now stays in sight."""
    if not lines:
        st.caption("Nothing logged yet.")
        return
    text = "\n".join(
        f"{line.at.astimezone(zone):%H:%M:%S}  {LEVEL_SIGNS[LogLevel(line.level)]:1}  {line.message}"
        for line in reversed(lines)
    )
    st.code(text, language=None, height=420, wrap_lines=True)
    newest = f"Newest first, times in {zone.key}."
    st.caption(f"{newest} The newest {len(lines)} lines; the API gives all of them.")


def _render_failures(failures: Sequence[Result]) -> None:
    """What happened and what helps, once for all accounts that failed alike; the first kinds of failure."""
    alike: dict[tuple[str, str | None, str | None], list[Result]] = {}
    for result in failures:
        alike.setdefault((result.status, result.cause, result.error), []).append(result)
    kinds = list(alike.values())
    for results in kinds[:FAILURES_SHOWN]:
        first = results[0]
        look = RESULT_LOOKS[first.status]
        with st.container(border=True, gap="xxsmall"):
            with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
                st.badge(look.label, icon=look.icon, color=look.colour)
                st.text(name_accounts(results))
            st.markdown(_sentence(plain(first.error or "")))
            st.caption(advise(first.status, first.cause))
    more = sum(map(len, kinds[FAILURES_SHOWN:]))
    if more:
        st.caption(f"{count_accounts(more)} more failed otherwise; the table begins with all that failed.")


def name_accounts(results: Sequence[Result]) -> str:
    """ "ann", "ann, bob", "20 accounts: ann, bob, cem and 17 more"."""
    names = ", ".join(result.username for result in results[:NAMES_SHOWN])
    if len(results) <= NAMES_SHOWN:
        return names
    return f"{count_accounts(len(results))}: {names} and {len(results) - NAMES_SHOWN:,} more"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
