"""Opens dialogs from parts of a page that are redrawn by themselves.

A dialog that is called inside such a part may be closed when the part is redrawn, with all that was typed.
So the button only notes which dialog is wanted, and the page itself opens it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import streamlit as st


def ask_for_dialog(key: str, name: str, *values: Any) -> None:
    """Note that a dialog is wanted; a button's `on_click`."""
    st.session_state[key] = (name, values)


def open_wanted_dialog(key: str, dialogs: Mapping[str, Callable[..., None]]) -> None:
    """Open the dialog that was asked for, with the values given then. Called by the page, before its parts."""
    wanted = st.session_state.pop(key, None)
    if wanted is not None:
        name, values = wanted
        dialogs[name](*values)


def form_key(form: str) -> str:
    """What the keys of the form's controls begin with: another after each time that the form was closed.

    A browser that closes a dialog may still send what its controls held along with the next press, and would
    bring back what was cancelled if the form opened with the same keys.
    """
    closed = st.session_state.get(_closed(form), 0)
    return f"{form}-{closed}" if closed else form


def render_decision(label: str, form: str) -> bool:
    """The buttons under a form in a dialog; whether the first was pressed. The other closes the dialog.

    Such dialogs are not dismissible: a press beside them must not lose what was typed.
    """
    key = form_key(form)
    with st.container(horizontal=True):
        is_pressed = st.button(label, type="primary", key=f"{key}-save", icon=":material/check:")
        if st.button("Cancel", key=f"{key}-cancel"):
            close_form(form)
    return is_pressed


def close_form(form: str) -> NoReturn:
    """Close the dialog and forget what its controls held, so that it opens anew with what is stored."""
    for name in [name for name in st.session_state if str(name).startswith(f"{form}-")]:
        del st.session_state[name]
    st.session_state[_closed(form)] = st.session_state.get(_closed(form), 0) + 1
    st.rerun()


def pass_on_wish(key: str) -> None:
    """Have the whole page run when a dialog is wanted. Called by the part that holds the buttons, at its start."""
    if key in st.session_state:
        st.rerun(scope="app")


def _closed(form: str) -> str:
    return f"{form}:closed"
