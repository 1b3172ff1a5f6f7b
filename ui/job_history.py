"""The history of a job: its runs, newest first, a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.engine import snapshot
from db.errors import NotFoundError
from db.models import History, Run
from db.queue import Waiting, describe_waiting
from db.retention import get_kept_since
from db.runs import list_runs
from db.viewers import Viewer
from ui.moments import exact
from ui.paging import render_paging
from ui.runs_table import render_runs_table, runs_frame
from ui.shell import is_phone

RUNS_SHOWN = 20


@dataclass(frozen=True)
class RunsPage:
    """One page of the history."""

    runs: Sequence[Run]
    older_before: int | None
    kept_since: datetime | None
    waiting: dict[int, Waiting]


@st.fragment(run_every=2)
def render_history(viewer: Viewer, job_id: str, zone: ZoneInfo) -> None:
    """The job's runs, kept up to date."""
    try:
        page = load_runs(viewer, job_id)
    except NotFoundError:
        return  # the head says that the job was deleted
    render_runs(job_id, page, zone, datetime.now(UTC))


def render_runs(job_id: str, page: RunsPage, zone: ZoneInfo, now: datetime) -> None:
    """The job's runs, newest first, a page at a time."""
    if not page.runs:
        st.caption("No runs yet.")
        return
    key = f"runs-{job_id}-{page.runs[0].id}-{page.runs[-1].id}"
    chosen = render_runs_table(page.runs, runs_frame(page.runs, zone, now, page.waiting), phone=is_phone(), key=key)
    if chosen is not None:
        st.switch_page("pages/run.py", query_params={"id": str(chosen.id)})
    trail: list[int] = st.session_state.setdefault(f"runs-trail-{job_id}", [])
    render_paging(trail, page.older_before, "runs")
    if page.kept_since is not None and page.older_before is None:
        st.caption(f"Runs are kept since {exact(page.kept_since, zone, now)}; the history has the figures of all.")


def load_runs(viewer: Viewer, job_id: str) -> RunsPage:
    """A page of the job's runs. Raises NotFoundError."""
    trail: list[int] = st.session_state.get(f"runs-trail-{job_id}", [])
    with snapshot() as session:
        before_id = trail[-1] if trail else None
        runs, older_before = list_runs(session, viewer, job_id, before_id=before_id, limit=RUNS_SHOWN)
        waiting = describe_waiting(session, runs, datetime.now(UTC))
        return RunsPage(runs, older_before, get_kept_since(session, History.RUNS), waiting)
