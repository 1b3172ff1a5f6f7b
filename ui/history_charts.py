"""The history view: runs by outcome, accounts, new bills and lateness a day, drawn from daily figures only."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import altair as alt
import pandas as pd
import streamlit as st

from db.daily_figures import DayFigures, list_days, list_job_days
from db.engine import transaction
from db.errors import NotFoundError
from db.models import History
from db.retention import get_kept_since
from db.viewers import Viewer
from ui.history_figures import (
    DAYS_A_WEEK,
    accounts_frame,
    bills_frame,
    days_in_a_bar,
    in_bars,
    lateness_frame,
    outcomes_frame,
    sum_up,
)
from ui.moments import duration, exact

PERIODS = {7: "7 days", 30: "30 days", 90: "90 days", 365: "A year"}
OUTCOME_COLOURS = {
    "Completed": "#16a34a",
    "Partly done": "#fbbf24",
    "Failed or lost": "#dc2626",
    "Missed": "#c2410c",
    "Left out": "#94a3b8",
}
ACCOUNT_COLOURS = {"Succeeded": "#16a34a", "Did not succeed": "#dc2626"}
BILL_COLOURS = {"New bills": "#2563eb"}
LATENESS_COLOURS = {"Average": "#2563eb", "Worst": "#94a3b8"}
CHART_HEIGHT = 230
LEGEND_COLUMNS = 3
BAR_WIDTH = 0.85  # of its days
UNFINISHED_OPACITY = 0.45

LoadDays = Callable[[int], Sequence[DayFigures]]


@st.fragment(run_every=30)
def render_job_figures(viewer: Viewer, job_id: str, zone: ZoneInfo) -> None:
    """The job's history."""
    days = render_period(f"figures-days-{job_id}")
    try:
        figures = load_job_days(viewer, job_id, days)
    except NotFoundError:
        return  # the head says that the job was deleted
    render_figures(figures, zone)


@st.fragment(run_every=30)
def render_all_figures(viewer: Viewer, zone: ZoneInfo) -> None:
    """The history of all of the viewer's jobs."""
    render_figures(load_days(viewer, render_period("figures-days")), zone)


def render_period(key: str) -> int:
    """The choice of the period; returns its days."""
    return st.segmented_control(
        "Period",
        list(PERIODS),
        default=30,
        required=True,
        format_func=lambda days: PERIODS[days],
        label_visibility="collapsed",
        key=key,
    )


def render_figures(days: Sequence[DayFigures], zone: ZoneInfo) -> None:
    """The period in five numbers and four charts."""
    total = sum_up(days)
    if not total.runs and not total.missed and not total.skipped:
        st.info("Nothing ran in this period. A run appears here seconds after its end.", icon=":material/bar_chart:")
        return
    render_numbers(total)
    days_a_bar = days_in_a_bar(len(days))
    bars = in_bars(days, days_a_bar)
    charts = [
        ("Runs", outcomes_frame(bars), OUTCOME_COLOURS),
        ("Accounts", accounts_frame(bars), ACCOUNT_COLOURS),
        ("New bills", bills_frame(bars), BILL_COLOURS),
    ]
    left, right = st.columns(2)
    for column, (title, frame, colours) in zip((left, right, left), charts, strict=True):
        with column, st.container(border=True):
            st.subheader(title, anchor=False)
            st.altair_chart(draw_bars(frame, colours, days_a_bar), height=CHART_HEIGHT)
    with right, st.container(border=True):
        st.subheader("Lateness", anchor=False, help="From due to the first line of the import")
        st.altair_chart(draw_lines(lateness_frame(bars), LATENESS_COLOURS), height=CHART_HEIGHT)
    render_notes(days, zone)


def render_numbers(total: DayFigures) -> None:
    """The period's sums."""
    share = f"{total.completed / total.runs:.1%} completed" if total.runs else None
    accounts = total.accounts_succeeded + total.accounts_failed
    lateness = total.mean_lateness_seconds
    numbers = [
        ("Runs", f"{total.runs:,}", share),
        ("Missed", f"{total.missed:,}", f"{total.skipped:,} skipped"),
        ("Accounts", f"{accounts:,}", f"{total.accounts_succeeded / accounts:.1%} succeeded" if accounts else None),
        ("New bills", f"{total.bills_new:,}", f"{total.bills_new / total.runs:.1f} a run" if total.runs else None),
        (
            "Late by",
            "–" if lateness is None else _in_words(lateness),
            None if lateness is None else f"worst {_in_words(total.lateness_max_seconds)}",
        ),
    ]
    with st.container(key="figures"):
        for column, (label, value, note) in zip(st.columns(len(numbers)), numbers, strict=True):
            with column, st.container(border=True, height="stretch", gap="xxsmall"):
                st.caption(label)
                st.markdown(f"**{value}**")
                st.caption(note or "–")


def render_notes(days: Sequence[DayFigures], zone: ZoneInfo) -> None:
    """How to read the charts, and since when single runs are kept."""
    with transaction() as session:
        kept_since = get_kept_since(session, History.RUNS)
    bar = "week" if days_in_a_bar(len(days)) == DAYS_A_WEEK else "day"
    words = f"A bar is a {bar}, in UTC; the one that is not over yet is pale. A run belongs to the day of its start. "
    words += "Failed includes timed out; left out is what was skipped or stopped."
    if kept_since is not None:
        words += f" Single runs are kept since {exact(kept_since, zone, datetime.now(UTC))}; these figures are kept."
    st.caption(words)


def draw_bars(frame: pd.DataFrame, colours: dict[str, str], days_a_bar: int) -> alt.Chart:
    """Stacked bars from zero; the last is pale, because more will come."""
    top = frame.groupby("day")["count"].cumsum()
    frame = frame.assign(
        until=frame["day"] + timedelta(days=days_a_bar * BAR_WIDTH),
        top=top,
        bottom=top - frame["count"],
        unfinished=frame["day"] == frame["day"].max(),
    )
    return (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=_days_axis(),
            x2="until:T",
            y=alt.Y("bottom:Q", title=None, axis=alt.Axis(format="~s", tickMinStep=1, tickCount=4)),
            y2="top:Q",
            color=_colours(frame, colours),
            opacity=alt.condition("datum.unfinished", alt.value(UNFINISHED_OPACITY), alt.value(1.0)),
            tooltip=_tooltip(alt.Tooltip("count:Q", title="Count", format=",")),
        )
    )


def draw_lines(frame: pd.DataFrame, colours: dict[str, str]) -> alt.Chart:
    """Lines from zero, in seconds."""
    return (
        alt.Chart(frame)
        .mark_line(point=alt.OverlayMarkDef(size=24))
        .encode(
            x=_days_axis(),
            y=alt.Y("count:Q", title=None, axis=alt.Axis(labelExpr="datum.label + ' s'", tickCount=4)),
            color=_colours(frame, colours),
            tooltip=_tooltip(alt.Tooltip("count:Q", title="Seconds", format=",.3f")),
        )
    )


def load_days(viewer: Viewer, days: int) -> Sequence[DayFigures]:
    """The last days of all of the viewer's jobs."""
    with transaction() as session:
        return list_days(session, viewer, until=datetime.now(UTC).date(), days=days)


def load_job_days(viewer: Viewer, job_id: str, days: int) -> Sequence[DayFigures]:
    """The job's last days. Raises NotFoundError."""
    with transaction() as session:
        return list_job_days(session, viewer, job_id, until=datetime.now(UTC).date(), days=days)


def _in_words(seconds: float) -> str:
    return duration(timedelta(seconds=seconds))


def _days_axis() -> alt.X:
    return alt.X("day:T", title=None, axis=alt.Axis(format="%-d %b", grid=False, labelOverlap=True, tickCount=6))


def _colours(frame: pd.DataFrame, colours: dict[str, str]) -> alt.Color:
    """A colour for each outcome that occurs; a legend where there is more than one."""
    used = set(frame.loc[frame["count"] > 0, "what"])
    shown = [what for what in colours if what in used] or list(colours)[:1]
    legend = alt.Legend(orient="top", title=None, columns=LEGEND_COLUMNS, offset=4) if len(shown) > 1 else None
    scale = alt.Scale(domain=shown, range=[colours[what] for what in shown])
    return alt.Color("what:N", scale=scale, legend=legend)


def _tooltip(value: alt.Tooltip) -> list[alt.Tooltip]:
    return [alt.Tooltip("day:T", title="From", format="%a %-d %b %Y"), alt.Tooltip("what:N", title=" "), value]
