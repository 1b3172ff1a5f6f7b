"""History: what all of the viewer's jobs did, day by day."""

import streamlit as st

from ui.current_user import require_role
from ui.history_charts import render_all_figures
from ui.shell import viewer_zone


def main() -> None:
    """Draw the page."""
    viewer = require_role()
    st.title("History", anchor=False)
    render_all_figures(viewer, viewer_zone(viewer))


main()
