"""Portal: what is said of it, a test of its sign-in, and how its bill table is read."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.engine import transaction
from db.errors import NotFoundError, PunctualError
from db.models import Job
from db.portals import PortalSummary, close_breaker, get_portal_summary, list_portal_jobs
from db.viewers import Viewer
from ui.current_user import require_role
from ui.moments import both
from ui.outcomes import render_look
from ui.plain_text import plain
from ui.portal_form import render_settings
from ui.portal_mapping import render_mapping
from ui.portal_test import render_test
from ui.portals_table import describe_authorisation, is_breaker_open, portal_state
from ui.shell import set_tab_title, viewer_zone

JOBS_SHOWN = 100
NOT_AUTHORISED = ":material/gpp_maybe: Nobody has confirmed yet that it may be used; the next job there asks for it."


def main() -> None:
    """Draw the page."""
    viewer = require_role()
    try:
        summary = load_portal(viewer, st.query_params.get("id", ""))
    except NotFoundError:
        st.title("Portal", anchor=False)
        st.warning("There is no such portal, or none of your jobs uses it.", icon=":material/search_off:")
        st.page_link("pages/portals.py", label="Back to the portals", icon=":material/arrow_back:")
        return
    portal = summary.portal
    set_tab_title(portal.host)
    with st.container(key="back"):
        st.page_link("pages/portals.py", label="Portals", icon=":material/arrow_back:")
    zone = viewer_zone(viewer)
    message = st.session_state.pop("portal-message", None)
    if message:
        st.toast(message)
    render_head(viewer, portal.id, zone)
    render_people(viewer, summary, zone)
    settings, test, bills = st.tabs(["Settings", "Test sign-in", "Bill table"], key="view", bind="query-params")
    # All of them are drawn, so that nothing typed in one is lost on the way to another.
    with settings:
        render_settings(viewer, summary)
    with test:
        render_test(viewer, summary, zone)
    with bills:
        render_mapping(viewer, summary, zone)


@st.fragment(run_every=5)
def render_head(viewer: Viewer, portal_id: int, zone: ZoneInfo) -> None:
    """Which portal it is and what keeps runs from it, kept up to date."""
    try:
        summary = load_portal(viewer, str(portal_id))
    except NotFoundError:
        st.info("None of your jobs uses this portal any more.", icon=":material/search_off:")
        return
    now = datetime.now(UTC)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(plain(summary.portal.host), anchor=False, width="content")
        render_look(portal_state(summary.portal, now))
    render_breaker(viewer, summary, zone, now)


def render_people(viewer: Viewer, summary: PortalSummary, zone: ZoneInfo) -> None:
    """Who said that it may be used, whose jobs use it, and why this person only reads, where that is so."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        by = plain(describe_authorisation(summary, zone))
        is_authorised = summary.portal.authorised_at is not None
        words = f":material/verified_user: Authorised by {by}" if is_authorised else NOT_AUTHORISED
        st.caption(words, width="content")
        render_jobs(viewer, summary)
    if not summary.may_change(viewer):
        st.caption(f":material/lock: {why_unchangeable(viewer)}")


def render_breaker(viewer: Viewer, summary: PortalSummary, zone: ZoneInfo, now: datetime) -> None:
    """What keeps runs from it for now, and the way to end that early where there is one."""
    portal = summary.portal
    if portal.retry_after_at is not None and portal.retry_after_at > now:
        st.info(
            f"The portal asked to be left alone until **{both(portal.retry_after_at, zone, now)}**. Until then runs "
            "send it nothing; they go on by themselves.",
            icon=":material/hourglass_top:",
        )
    if not is_breaker_open(portal, now):
        return
    st.warning(
        f"Nothing signs in here until **{both(portal.breaker_open_until, zone, now)}**: "
        f"{plain(portal.breaker_reason or 'too many sign-ins were refused')}. Accounts that are tried too often are "
        "locked by portals, so put right what was refused before you go on.",
        icon=":material/front_hand:",
    )
    if summary.may_change(viewer):
        st.button(
            "Close the breaker now",
            icon=":material/lock_open:",
            key="portal-close-breaker",
            help="Recorded with your name. Runs sign in again from now on.",
            on_click=close,
            args=(viewer, portal.id),
        )


def render_jobs(viewer: Viewer, summary: PortalSummary) -> None:
    """The viewer's jobs there, each a way to its page."""
    whose = "" if viewer.is_admin else " of yours"
    words = f"{summary.jobs:,} job{'' if summary.jobs == 1 else 's'}{whose}"
    if not summary.jobs:
        st.caption(words)
        return
    with st.popover(words, icon=":material/calendar_month:", key="portal-jobs"):
        jobs = load_jobs(viewer, summary.portal.id)
        for job in jobs:
            st.page_link("pages/job.py", label=plain(job.name), query_params={"id": job.id})
        if summary.jobs > len(jobs):
            st.caption(f"The first {len(jobs)}. The Jobs page finds them all by the portal's address.")


def why_unchangeable(viewer: Viewer) -> str:
    """Why this person only reads."""
    if not viewer.may_write:
        return "Your role may look at these settings but not change them."
    return "Jobs of other people use this portal too, so only admins may change it."


def close(viewer: Viewer, portal_id: int) -> None:
    """Close the breaker and have it said, or why not, when the page is drawn next."""
    try:
        with transaction() as session:
            close_breaker(session, viewer, portal_id, now=datetime.now(UTC))
    except PunctualError as error:
        st.toast(f"{str(error)[:1].upper()}{str(error)[1:]}.", icon=":material/error:")
    else:
        st.toast("The breaker is closed: runs sign in again from now on.", icon=":material/check:")


def load_portal(viewer: Viewer, portal_id: str) -> PortalSummary:
    """The portal of the address. Raises NotFoundError."""
    if not portal_id.isascii() or not portal_id.isdigit() or len(portal_id) > 18:
        raise NotFoundError
    with transaction() as session:
        return get_portal_summary(session, viewer, int(portal_id))


def load_jobs(viewer: Viewer, portal_id: int) -> list[Job]:
    """The viewer's jobs there, by name."""
    with transaction() as session:
        return list(list_portal_jobs(session, viewer, portal_id, limit=JOBS_SHOWN))


main()
