"""Portals: where the viewer's jobs sign in, how gently, and whether anything keeps them from it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.engine import transaction
from db.portals import PortalSummary, list_portals
from db.viewers import Viewer
from ui.current_user import require_role
from ui.paging import render_paging
from ui.portals_table import portals_frame, render_portals_table
from ui.shell import is_phone, viewer_zone

PAGE_SIZE = 50


def main() -> None:
    """Draw the page."""
    viewer = require_role()
    st.title("Portals", anchor=False)
    st.caption(
        "One for each host that jobs sign in at. What is said of a portal holds for all jobs there: how its sign-in "
        "form and bill table are read, and how gently it is visited."
    )
    q = st.text_input(
        "Search",
        placeholder="Search by host",
        label_visibility="collapsed",
        icon=":material/search:",
        key="portals-q",
        width=320,
    )
    render_table(viewer, viewer_zone(viewer), q)


@st.fragment(run_every=5)
def render_table(viewer: Viewer, zone: ZoneInfo, q: str) -> None:
    """The table, kept up to date, a page at a time."""
    trail: list[str] = st.session_state.setdefault("portals-trail", [])
    if st.session_state.get("portals-filter") != q:
        st.session_state["portals-filter"] = q
        trail.clear()
    portals, following = load_portals(viewer, q, trail[-1] if trail else None)
    if not portals:
        words = "No portal matches." if q.strip() else "No job uses a portal yet: a portal comes with its first job."
        st.info(words, icon=":material/search_off:")
        return
    key = f"portals-{hash(tuple(summary.portal.id for summary in portals))}"
    opened = render_portals_table(portals, portals_frame(portals, zone, datetime.now(UTC)), phone=is_phone(), key=key)
    if opened is not None:
        st.switch_page("pages/portal.py", query_params={"id": str(opened.portal.id)})
    render_paging(trail, following, "portals", back="Previous", on="Next")


def load_portals(viewer: Viewer, q: str, after_host: str | None) -> tuple[Sequence[PortalSummary], str | None]:
    """One page of the portals that the viewer sees, and where the next one begins."""
    with transaction() as session:
        return list_portals(session, viewer, q=q, after_host=after_host, limit=PAGE_SIZE)


main()
