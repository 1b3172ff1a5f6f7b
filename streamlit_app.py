"""The UI script: says who may see which pages, and runs the one that was asked for."""

import streamlit as st

from ui.current_user import current_viewer

st.set_page_config(page_title="Punctual", layout="wide")

viewer = current_viewer()
st.title("Punctual")
st.write(f"Signed in as {viewer.name} ({viewer.role}).")
