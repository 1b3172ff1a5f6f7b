"""The web process, but for its pages: `uvicorn tests.web.gated_app:app`."""

from pathlib import Path

import streamlit as st

from web.app import MIDDLEWARE, ROUTES, lifespan

app = st.App(Path(__file__).with_name("gated_page.py"), routes=ROUTES, middleware=MIDDLEWARE, lifespan=lifespan)
