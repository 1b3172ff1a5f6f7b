"""Who is looking at the page. Every page begins with `require_role`, whatever the navigation shows."""

from typing import NoReturn

import streamlit as st

from db.engine import transaction
from db.models import Role
from db.users import get_viewer
from db.viewers import Viewer
from web.identity import IDENTITY_HEADER, open_identity

_OWNER_KEY = "_session_owner"
_HOW_TO_START = """
This page was started without its sign-in. Start Punctual with

```
make run
```

or, for the web alone, with `uvicorn web.app:app --port 8501`.
"""


def current_viewer() -> Viewer:
    """The signed-in user as the database knows them now; stops the page when there is none."""
    user_id = open_identity(st.context.headers.get(IDENTITY_HEADER))
    if user_id is None:
        st.title("Punctual")
        st.info(_HOW_TO_START, icon=":material/info:")
        st.stop()
    _forget_other_owner(user_id)
    with transaction() as session:
        viewer = get_viewer(session, user_id)
    if viewer is None:
        _stop("This account has been deactivated.")
    return viewer


def require_role(*roles: Role) -> Viewer:
    """The signed-in user, if they have one of the roles (any role when none is named); stops the page otherwise."""
    viewer = current_viewer()
    if roles and viewer.role not in roles:
        names = " and ".join(f"{role}s" for role in roles)
        st.error(f"This page is for {names}. You are signed in as a {viewer.role}.", icon=":material/block:")
        st.page_link("pages/jobs.py", label="Back to the jobs", icon=":material/arrow_back:")
        st.stop()
    return viewer


def _forget_other_owner(user_id: str) -> None:
    """A page session that a browser takes up again under another name starts from nothing."""
    if st.session_state.get(_OWNER_KEY, user_id) != user_id:
        st.session_state.clear()
    st.session_state[_OWNER_KEY] = user_id


def _stop(message: str) -> NoReturn:
    st.error(message, icon=":material/block:")
    st.stop()
