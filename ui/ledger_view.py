"""The ledger of a job: what its schedule expected in a period, and what became of each occurrence."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from db.engine import transaction
from db.errors import NotFoundError
from db.ledger import Account, InvalidPeriodError, Ledger, draw_up_ledger
from db.ledger_words import ACCOUNT_WORDS, CAUSE_WORDS, describe_ledger
from db.viewers import Viewer
from ui.moments import exact
from ui.plain_text import plain

PERIODS = {1: "24 hours", 7: "7 days", 30: "30 days", 90: "90 days", 365: "A year"}


@st.fragment(run_every=30)
def render_ledger(viewer: Viewer, job_id: str, zone: ZoneInfo) -> None:
    """The ledger of the chosen period up to now."""
    days = st.segmented_control(
        "Period",
        list(PERIODS),
        default=30,
        required=True,
        format_func=lambda d: PERIODS[d],
        label_visibility="collapsed",
        key=f"ledger-days-{job_id}",
    )
    now = datetime.now(UTC)
    try:
        ledger = load_ledger(viewer, job_id, now - timedelta(days=days), now)
    except InvalidPeriodError as error:
        st.info(_sentence(plain(str(error))), icon=":material/date_range:")
        return
    except NotFoundError:
        st.info("This job was deleted.", icon=":material/delete:")
        return
    render_balance(ledger, zone)
    render_groups(ledger, zone, now)
    render_differences(ledger, zone, now)
    known, kept = ledger.known_since, ledger.kept_since
    if known is not None and known > ledger.starts_at:
        st.caption(f"The schedule is known since {exact(known, zone, now)}; nothing is expected before.")
    elif kept is not None and kept > ledger.starts_at:
        st.caption(f"History is kept since {exact(kept, zone, now)}; older runs were removed.")


def render_balance(ledger: Ledger, zone: ZoneInfo) -> None:
    """The ledger in a sentence: red when it does not balance, orange when something was missed, else green."""
    words = _sentence(plain(describe_ledger(ledger, zone)))
    if not ledger.balances:
        st.error(words, icon=":material/error:")
    elif not ledger.is_readable:
        st.warning("The schedule of this period cannot be read, so nothing is expected.", icon=":material/help:")
    elif ledger.count(Account.MISSED):
        st.warning(words, icon=":material/event_busy:")
    elif ledger.expected:
        st.success(words, icon=":material/verified:")
    else:
        st.info(words, icon=":material/event_busy:")


def render_groups(ledger: Ledger, zone: ZoneInfo, now: datetime) -> None:
    """What became of the occurrences, by cause."""
    if not ledger.groups:
        return
    frame = pd.DataFrame(
        [
            {
                "account": ACCOUNT_WORDS[group.account].capitalize(),
                "cause": CAUSE_WORDS[group.cause].capitalize() if group.cause else "",
                "count": group.count,
                "first": exact(group.first, zone, now),
                "last": exact(group.last, zone, now) if group.last != group.first else "",
            }
            for group in ledger.groups
        ]
    )
    column = st.column_config
    st.dataframe(
        frame,
        hide_index=True,
        height="content",
        row_height=38,
        column_config={
            "account": column.TextColumn("What happened"),
            "cause": column.TextColumn("Why"),
            "count": column.NumberColumn("How many", format="localized"),
            "first": column.TextColumn("First"),
            "last": column.TextColumn("Last"),
        },
    )


def render_differences(ledger: Ledger, zone: ZoneInfo, now: datetime) -> None:
    """What should never be: occurrences without a row, and rows without an occurrence."""
    lines = [f"- {plain(exact(at, zone, now))}: expected, and there is no trace of it" for at in ledger.lost]
    lines += [
        f"- {plain(exact(run.scheduled_for, zone, now))}: run {run.run_id} is {run.status.replace('_', ' ')}, "
        "and no schedule had it"
        for run in ledger.unexpected
    ]
    more = ledger.lost_count + ledger.unexpected_count - len(lines)
    if more > 0:
        lines.append(f"- … and {more:,} more")
    if lines:
        st.markdown(":red[**Differences**]\n\n" + "\n".join(lines))


def load_ledger(viewer: Viewer, job_id: str, starts_at: datetime, ends_at: datetime) -> Ledger:
    """The ledger as the database knows it. Raises NotFoundError, InvalidPeriodError."""
    with transaction() as session:
        return draw_up_ledger(session, viewer, job_id, starts_at=starts_at, ends_at=ends_at, now=ends_at)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
