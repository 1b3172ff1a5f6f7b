"""A page script as plain as can be, to look at the gate before it."""

import streamlit as st

from ui.current_user import current_viewer

st.write(f"Signed in as {current_viewer().username}.")
st.button("Again")
