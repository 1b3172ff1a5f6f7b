"""The table of a job's runs."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from db.models import Run, RunTrigger
from db.queue import Waiting
from ui.moments import both, duration, exact
from ui.outcomes import RUN_LOOKS, TRIGGER_WORDS, pill_column
from ui.plain_text import inert_frame
from ui.waiting import describe_wait

PHONE_COLUMNS = ("when", "status", "accounts")


def runs_frame(runs: Sequence[Run], zone: ZoneInfo, now: datetime, waiting: dict[int, Waiting]) -> pd.DataFrame:
    """One row a run, in the order given; `waiting` says of the queued ones what they wait for."""
    return pd.DataFrame(
        [
            {
                "when": exact(run.started_at or run.scheduled_for or run.run_after, zone, now),
                "status": [RUN_LOOKS[run.status].pill],
                "trigger": started_by(run),
                "accounts": f"{run.accounts_succeeded} of {run.accounts_total}" if run.accounts_total else "–",
                "duration": duration(run_duration(run, now)),
                "lateness": lateness(run),
                "reason": describe_wait(wait, zone, now) if (wait := waiting.get(run.id)) else run.reason or "",
            }
            for run in runs
        ]
    )


def render_runs_table(runs: Sequence[Run], frame: pd.DataFrame, *, phone: bool, key: str) -> Run | None:
    """The table; returns the run whose time was pressed."""
    column = st.column_config
    pressed = f"{key}-open"
    st.dataframe(
        inert_frame(frame),
        key=key,
        hide_index=True,
        height="content",
        row_height=38,
        column_order=PHONE_COLUMNS if phone else tuple(frame.columns),
        column_config={
            "when": column.ButtonColumn(
                "Run", type="tertiary", alignment="left", pinned=not phone, key=pressed, help="Open the run"
            ),
            "status": pill_column("Status", RUN_LOOKS.values()),
            "trigger": column.TextColumn("Started by"),
            "accounts": column.TextColumn("Succeeded", alignment="right"),
            "duration": column.TextColumn("Took", alignment="right"),
            "lateness": column.TextColumn(
                "Late by", alignment="right", help="From when it was due or asked for to the start of its import"
            ),
            "reason": column.TextColumn("Why", width="large"),
        },
    )
    click = st.session_state.get(pressed)
    return runs[click.row] if click is not None and click.row < len(runs) else None


def started_by(run: Run) -> str:
    """What asked for the run; of a retry, which run it retries."""
    return TRIGGER_WORDS[run.trigger] + (f" of run {run.parent_run_id}" if run.parent_run_id is not None else "")


def run_duration(run: Run, now: datetime) -> timedelta | None:
    """How long the run took, or has taken so far; None before it starts."""
    return (run.finished_at or now) - run.started_at if run.started_at is not None else None


def lateness(run: Run) -> str:
    """From due to the start of its import, in words; a dash while that is not known."""
    return duration(None if run.lateness_seconds is None else timedelta(seconds=run.lateness_seconds))


def describe_lateness(run: Run) -> str:
    """How late a scheduled run started, or how long a person waited for it."""
    is_schedule = run.trigger == RunTrigger.SCHEDULE
    return f"{lateness(run)} late" if is_schedule else f"waited {lateness(run)} to start"


def describe_run(run: Run, zone: ZoneInfo, now: datetime) -> str:
    """When the run was due, started and ended, in a sentence."""
    parts = [TRIGGER_WORDS[run.trigger]]
    if run.scheduled_for is not None:
        parts.append(f"due {exact(run.scheduled_for, zone, now)}")
    if run.started_at is not None:
        parts.append(f"started {both(run.started_at, zone, now)}")
    if run.lateness_seconds is not None:
        parts.append(describe_lateness(run))
    if run.attempt > 1:
        parts.append(f"attempt {run.attempt}")
    return " · ".join(parts)
