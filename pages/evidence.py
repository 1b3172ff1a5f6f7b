"""Evidence: what must never be, counted live, and what makes it impossible."""

from datetime import UTC, datetime
from time import perf_counter

import streamlit as st

from db.engine import transaction
from db.evidence import Evidence, gather_evidence
from db.models import new_id
from db.viewers import Viewer
from ui.current_user import require_role
from ui.evidence_lines import render_line
from ui.shell import viewer_zone

COLUMNS = 2


def main() -> None:
    """Draw the page."""
    viewer = require_role()
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.title("Evidence", anchor=False, width="content")
        st.button("Check again", icon=":material/refresh:", key="evidence-again")
    began = perf_counter()
    evidence = load_evidence(viewer)
    took_ms = 1000 * (perf_counter() - began)
    zone = viewer_zone(viewer)
    whose = "of everybody's jobs" if evidence.is_everybodys else "of your own jobs"
    at = f"{evidence.asked_at.astimezone(zone):%H:%M:%S}"
    st.caption(
        f"What must never be, counted {whose} at {at} ({zone.key}), in {took_ms:,.0f} ms. Nothing is remembered from "
        "before."
    )
    render_verdict(evidence)
    for first in range(0, len(evidence.lines), COLUMNS):
        for column, line in zip(st.columns(COLUMNS), evidence.lines[first : first + COLUMNS], strict=False):
            with column:
                render_line(line, zone, evidence.asked_at)


def render_verdict(evidence: Evidence) -> None:
    """All lines in one sentence."""
    wrong = [line.title for line in evidence.lines if not line.is_fine]
    if not wrong:
        st.success(f"All {len(evidence.lines)} counts are as they should be.", icon=":material/verified:")
    else:
        needs = "count needs" if len(wrong) == 1 else "counts need"
        st.error(f"{len(wrong)} {needs} a look: {', '.join(wrong)}.", icon=":material/error:")


def load_evidence(viewer: Viewer) -> Evidence:
    """The answers of this moment, with another sample of jobs each time."""
    with transaction() as session:
        return gather_evidence(session, viewer, datetime.now(UTC), sample_from=new_id())


main()
