"""The table of a run's attempts: who worked on it, from when to when, and how each time ended."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from db.attempts import AttemptView
from db.models import RunStatus
from ui.moments import duration, exact
from ui.outcomes import RUN_LOOKS, Look, pill_column
from ui.plain_text import inert_frame
from ui.shell import is_phone

PHONE_COLUMNS = ("from", "ended", "took")
GIVEN_BACK = Look("Given back", "↩", "orange", ":material/undo:")
AT_WORK = RUN_LOOKS[RunStatus.RUNNING]
ATTEMPT_LOOKS = {**RUN_LOOKS, RunStatus.QUEUED: GIVEN_BACK}


def render_attempts(attempts: Sequence[AttemptView], zone: ZoneInfo, now: datetime) -> None:
    """The attempts, oldest first, when there was more than one."""
    if len(attempts) < 2:
        return
    column = st.column_config
    frame = attempts_frame(attempts, zone, now)
    with st.expander(f"Taken by a worker {len(attempts)} times", icon=":material/history:", expanded=True):
        st.dataframe(
            inert_frame(frame),
            key="run-attempts",
            hide_index=True,
            height="content",
            row_height=38,
            column_order=PHONE_COLUMNS if is_phone() else tuple(frame.columns),
            column_config={
                "from": column.TextColumn("From"),
                "host": column.TextColumn("Machine", help="Where the scheduler_service that took it was running"),
                "ended": pill_column("How it ended", (GIVEN_BACK, *RUN_LOOKS.values())),
                "took": column.TextColumn("Took", alignment="right"),
            },
        )


def attempts_frame(attempts: Sequence[AttemptView], zone: ZoneInfo, now: datetime) -> pd.DataFrame:
    """One row an attempt."""
    return pd.DataFrame(
        [
            {
                "from": f"{exact(attempt.started_at, zone, now)}:{attempt.started_at:%S}",
                "host": attempt.host or "Not known any more",
                "ended": [(ATTEMPT_LOOKS[attempt.outcome] if attempt.outcome else AT_WORK).pill],
                "took": duration((attempt.ended_at or now) - attempt.started_at),
            }
            for attempt in attempts
        ]
    )
