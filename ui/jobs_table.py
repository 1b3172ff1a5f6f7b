"""The schedule table: jobs as a pandas frame, and as people see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from db.models import Job
from db.queue import Waiting
from ui.moments import both, relative
from ui.outcomes import RUN_LOOKS, STATE_LOOKS, job_state, pill_column
from ui.plain_text import inert_frame
from ui.schedule_editor import describe_job_schedule
from ui.waiting import describe_place

NAME_WIDTH = 185
PHONE_NAME_WIDTH = 135
PHONE_COLUMNS = ("name", "status", "next_in")


@dataclass(frozen=True)
class Pick:
    """What a person did in the table: the job whose name was pressed, and the rows that are ticked."""

    opened: Job | None
    selected: Sequence[Job] = ()


def jobs_frame(
    jobs: Sequence[Job],
    zone: ZoneInfo,
    now: datetime,
    owners: dict[str, str],
    next_runs: dict[str, datetime | None],
    waiting: dict[str, Waiting],
) -> pd.DataFrame:
    """One row a job, in the order given. Times are words in the zone; `owner` only where owners are known.

    What a queued job runs next is the run that waits in line.
    """
    rows: list[dict[str, Any]] = []
    for job in jobs:
        row: dict[str, Any] = {
            "name": job.name,
            "badge": "📅" if job.is_scheduled else "",
            "status": [job_state(job).pill],
            "schedule": describe_job_schedule(job, viewer_zone=zone),
            "next_run": _next_run(job, next_runs.get(job.id), zone, now),
            "next_in": relative(at, now) if (at := next_runs.get(job.id)) is not None else "–",
            "last_run": both(job.last_run_at, zone, now),
            "last_outcome": [RUN_LOOKS[job.last_outcome].pill] if job.last_outcome else [],
            "accounts": job.accounts_count,
        }
        if job.id in waiting:
            row["next_run"] = row["next_in"] = describe_place(waiting[job.id], zone, now)
        if owners:
            row["owner"] = owners.get(job.user_id, "–")
        rows.append(row)
    return pd.DataFrame(rows)


def render_jobs_table(jobs: Sequence[Job], frame: pd.DataFrame, *, phone: bool, selects: bool, key: str) -> Pick:
    """The table; rows can be ticked where there is room for it and somebody may act on them.

    `key` must name the jobs shown: ticks are positions.
    """
    order = PHONE_COLUMNS if phone else tuple(c for c in frame.columns if c != "next_in")
    column = st.column_config
    pressed = f"{key}-open"
    options: dict[str, Any] = {"on_select": "rerun", "selection_mode": "multi-row"} if selects and not phone else {}
    state = st.dataframe(
        inert_frame(frame),
        key=key,
        **options,
        hide_index=True,
        height="content",
        row_height=40,
        column_order=order,
        column_config={
            "name": column.ButtonColumn(
                "Name",
                type="tertiary",
                alignment="left",
                pinned=not phone,
                key=pressed,
                width=PHONE_NAME_WIDTH if phone else NAME_WIDTH,
                help="Open the job",
            ),
            "badge": column.TextColumn("📅", width=35, alignment="center", help="Runs by itself"),
            "schedule": column.TextColumn("Schedule", width=180),
            "next_run": column.TextColumn("Next run", width=172),
            "next_in": column.TextColumn("Next run"),
            "last_run": column.TextColumn("Last run", width=182),
            "status": pill_column("Status", STATE_LOOKS, width=105),
            "last_outcome": pill_column("Last outcome", RUN_LOOKS.values(), width=110),
            "accounts": column.NumberColumn("Accounts", format="localized", width=70),
            "owner": column.TextColumn("Owner"),
        },
    )
    click = st.session_state.get(pressed)
    opened = jobs[click.row] if click is not None and click.row < len(jobs) else None
    rows = state["selection"]["rows"] if options else []
    return Pick(opened, [jobs[row] for row in rows if row < len(jobs)])


def _next_run(job: Job, at: datetime | None, zone: ZoneInfo, now: datetime) -> str:
    if job.is_scheduled and job.paused_at is not None:
        return "Paused"
    return both(at, zone, now) if job.is_scheduled else "–"
