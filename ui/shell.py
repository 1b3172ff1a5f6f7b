"""What surrounds every page: title row, navigation helpers, the scheduler's sign of life, the account menu."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.engine import transaction
from db.instances import SchedulerHealth, get_scheduler_health
from db.users import set_time_zone
from db.viewers import Viewer
from recurrence import time_zones
from ui.moments import exact, relative
from ui.plain_text import plain

FOLLOW_BROWSER = ""
ACCOUNT_LINKS = """
<p class="account-links">
  <a href="/account/password" target="_self">Change password</a>
  <a href="/account/logout" target="_self">Sign out</a>
</p>
"""
STYLE = """
<style>
.stMainBlockContainer {padding: 2.25rem 2.5rem 3rem; max-width: 90rem;}
[data-testid="stSidebarUserContent"] {padding-bottom: 1rem;}
[data-testid="stMetricValue"] {font-size: 1.35rem;}
[data-testid="stHeadingWithActionElements"] h1 {padding: 0.15rem 0 0.4rem;}
.st-key-back {margin-bottom: -0.6rem; margin-left: -0.5rem;}
.st-key-test-run {margin-left: -0.5rem;}
.st-key-scheduler-line p {font-size: 0.86rem; line-height: 1.35;}
.account-links {display: flex; flex-direction: column; margin: 0 -0.5rem;}
.account-links a, .account-links a:visited {
  color: inherit; text-decoration: none; padding: 0.4rem 0.5rem; border-radius: 0.5rem;
}
.account-links a:hover, .account-links a:focus-visible {background: rgba(128, 128, 128, 0.15);}
.steps {display: flex; flex-direction: column; gap: 0.3rem; font-size: 0.93rem; overflow-wrap: anywhere;}
.step {display: grid; grid-template-columns: 4.2rem 1fr; column-gap: 0.5rem;}
.step > :first-child {opacity: 0.6; font-variant-numeric: tabular-nums;}
.step.part > :last-child {padding-left: 1rem;}
.step.warning > :last-child {color: #b45309; color: light-dark(#b45309, #f59e0b);}
.step.error > :last-child {color: #dc2626; color: light-dark(#dc2626, #f87171);}
@media (max-width: 640px) {
  .stMainBlockContainer {padding: 4.25rem 1rem 3rem;}
  [data-testid="stElementToolbar"] {display: none;}
  [data-testid="stMetricValue"] {font-size: 1.1rem;}
  .st-key-facts [data-testid="stColumn"], .st-key-figures [data-testid="stColumn"] {
    min-width: calc(50% - 1rem); flex: 1 1 calc(50% - 1rem);
  }
}
</style>
"""


def viewer_zone(viewer: Viewer) -> ZoneInfo:
    """The zone in which this person reads times: their own choice, else the browser's."""
    name = viewer.time_zone or st.context.timezone or "UTC"
    return ZoneInfo(name if name in time_zones() else "UTC")


def set_tab_title(name: str) -> None:
    """What the browser's tab and history call the page."""
    st.set_page_config(page_title=f"{name} · Punctual")


def is_phone() -> bool:
    """Whether the browser says that it runs on a phone: tables then show fewer columns."""
    return "Mobi" in (st.context.headers.get("User-Agent") or "")


def render_sidebar(viewer: Viewer) -> None:
    """Scheduler line and account menu, under the navigation."""
    with st.sidebar:
        render_scheduler_line(viewer_zone(viewer))
        with st.popover(plain(viewer.name), icon=":material/account_circle:", width="stretch"):
            st.caption(f"Signed in as **{plain(viewer.username)}** · {viewer.role}")
            render_time_zone(viewer)
            st.html(ACCOUNT_LINKS)


def render_time_zone(viewer: Viewer) -> None:
    """The zone in which this person reads times; kept with the user."""
    browser = st.context.timezone or "UTC"
    options = [FOLLOW_BROWSER, *time_zones()]
    stored = viewer.time_zone if viewer.time_zone in options else FOLLOW_BROWSER
    chosen = st.selectbox(
        "Time zone",
        options,
        index=options.index(stored),
        format_func=lambda z: f"Browser ({browser})" if z == FOLLOW_BROWSER else z,
        key="account-time-zone",
    )
    if chosen != stored:
        with transaction() as session:
            set_time_zone(session, viewer.user_id, None if chosen == FOLLOW_BROWSER else chosen)
        st.rerun()


@st.fragment(run_every=10)
def render_scheduler_line(zone: ZoneInfo) -> None:
    """Whether schedules are being fired, and when the last pass was."""
    now = datetime.now(UTC)
    with st.container(key="scheduler-line"):
        st.markdown(scheduler_words(load_scheduler_health(), zone, now))


def scheduler_words(health: SchedulerHealth, zone: ZoneInfo, now: datetime) -> str:
    """The scheduler's state in one line of Markdown."""
    if health.is_firing and health.last_fire_at is not None:
        if not health.can_execute:
            return ":orange[●] Scheduler: firing on time, but no slots: runs wait in the queue"
        ago = relative(health.last_fire_at, now)
        return f":green[●] Scheduler: firing on time, last pass {'just now' if ago == 'now' else ago}"
    if health.overdue_jobs and health.instances:
        return f":orange[●] Scheduler: behind, schedules overdue: {health.overdue_jobs:,}"
    if health.last_fire_at is None:
        return ":red[●] Scheduler: not running, nothing will start by itself"
    return f":red[●] Scheduler: not running since {exact(health.last_fire_at, zone, now)}"


def load_scheduler_health() -> SchedulerHealth:
    """The scheduler's progress as the database knows it."""
    with transaction() as session:
        return get_scheduler_health(session, datetime.now(UTC))
