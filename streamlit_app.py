"""The UI script: says which pages there are, and runs the one that was asked for."""

import streamlit as st

from ui.current_user import current_viewer
from ui.shell import STYLE, render_sidebar

st.set_page_config(page_icon="ui/static/icon.png", layout="wide")
viewer = current_viewer()
st.html(STYLE)
st.logo("ui/static/logo.svg", size="large", icon_image="ui/static/icon.png")

pages = [
    st.Page("pages/jobs.py", title="Jobs", icon=":material/calendar_month:", default=True),
    st.Page(
        "pages/new_job.py",
        title="New job",
        icon=":material/add:",
        url_path="new-job",
        visibility="visible" if viewer.may_write else "hidden",
    ),
    st.Page("pages/history.py", title="History", icon=":material/bar_chart:"),
    st.Page("pages/calendars.py", title="Calendars", icon=":material/event_busy:"),
    st.Page("pages/portals.py", title="Portals", icon=":material/language:"),
    st.Page("pages/evidence.py", title="Evidence", icon=":material/verified:"),
    st.Page("pages/job.py", title="Job", url_path="job", visibility="hidden"),
    st.Page("pages/portal.py", title="Portal", url_path="portal", visibility="hidden"),
    st.Page("pages/run.py", title="Run", url_path="run", visibility="hidden"),
]
page = st.navigation(pages, expanded=True)
render_sidebar(viewer)
page.run()
