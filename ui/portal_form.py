"""The form of what is said of a portal's pages and of how gently it is visited.

What somebody typed stays when it is refused. The settings that it began with are kept beside it: what somebody else
saved meanwhile is then noticed, not overwritten.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from db.engine import transaction
from db.errors import ConflictError, PunctualError
from db.models import Engine
from db.portal_settings import (
    MAX_CONCURRENT_ACCOUNTS,
    MAX_SECONDS_BETWEEN_REQUESTS,
    MAX_SELECTOR_CHARACTERS,
    InvalidPortalError,
    PortalSettings,
    settings_of,
)
from db.portals import PortalSummary, get_portal_summary, update_portal
from db.viewers import Viewer
from ui.plain_text import plain
from ui.portals_table import ENGINE_WORDS

FIELD_NAMES = {
    "engine": "Engine",
    "max_concurrent_accounts": "Accounts at once",
    "min_seconds_between_requests": "Seconds between requests",
    "username_selector": "User name field",
    "password_selector": "Password field",
    "submit_selector": "Sign-in button",
    "link_selector": "Bill links",
    "next_selector": "Link to the next page",
    "column_mapping": "Columns",
}
CHANGED_MEANWHILE = "Not saved: somebody changed this portal meanwhile. What you entered is still here."
FOUND_BY_ITSELF = (
    "Leave a field empty to have its place found by itself. Only what a test sign-in gets wrong needs a CSS selector."
)
_EXAMPLES = {
    "username_selector": "input[name=login]",
    "password_selector": "#password",
    "submit_selector": "form.login button",
    "link_selector": "table.bills a.pdf",
    "next_selector": "a[rel=next]",
}
_HELP = {
    "username_selector": "CSS of the field for the user name, on the sign-in page.",
    "password_selector": "CSS of the field for the password.",
    "submit_selector": "CSS of the button that sends the form, where there are several.",
    "link_selector": "CSS of the links to bill documents, on the billing page.",
    "next_selector": "CSS of the link that leads to the next page of bills.",
}


@dataclass(frozen=True)
class Beginning:
    """What the portal's forms began with."""

    version: int
    settings: PortalSettings


def begin(summary: PortalSummary, part: str) -> tuple[Beginning, str]:
    """What a form of the portal begins with, and the key of its controls.

    It is taken anew when the page is opened, and when the form was saved.
    """
    name = f"portal-{summary.portal.id}"
    rounds = st.session_state.setdefault(f"{name}:{part}", 0)
    key = f"{name}-{part}-{rounds}"
    is_shown = any(str(held).startswith(f"{name}-") for held in st.session_state)
    if not is_shown or f"{name}:beginning" not in st.session_state:
        st.session_state[f"{name}:beginning"] = Beginning(summary.portal.version, settings_of(summary.portal))
    return st.session_state[f"{name}:beginning"], key


def render_settings(viewer: Viewer, summary: PortalSummary) -> None:
    """The form, and what became of it."""
    beginning, key = begin(summary, "settings")
    may_change = summary.may_change(viewer)
    with st.form(key=f"{key}-form", border=False):
        changes = _render_fields(beginning.settings, key, disabled=not may_change)
        is_sent = st.form_submit_button(
            "Save settings", type="primary", icon=":material/check:", key=f"{key}-save", disabled=not may_change
        )
    if is_sent:
        save(viewer, summary, "settings", changes)


def save(viewer: Viewer, summary: PortalSummary, part: str, changes: Mapping[str, Any]) -> None:
    """Store one form's changes and draw the page again, or say what is wrong with them."""
    portal_id = summary.portal.id
    name = f"portal-{portal_id}"
    beginning: Beginning = st.session_state[f"{name}:beginning"]
    settings = replace(beginning.settings, **changes)
    try:
        with transaction() as session:
            saved = update_portal(session, viewer, portal_id, settings, expected_version=beginning.version)
    except InvalidPortalError as error:
        lines = [f"- **{_field_name(field)}**: {plain(why)}" for field, why in error.fields.items()]
        st.error("Not saved. Please correct:\n\n" + "\n".join(lines), icon=":material/error:")
        return
    except ConflictError:
        st.error(CHANGED_MEANWHILE, icon=":material/error:")
        drop = {"on_click": _drop, "args": (viewer, portal_id)}
        st.button("Drop it and show what is stored", icon=":material/refresh:", **drop)
        return
    except PunctualError as error:
        st.error(f"Not saved: {plain(str(error))}", icon=":material/error:")
        return
    st.session_state[f"{name}:beginning"] = Beginning(saved.portal.version, settings_of(saved.portal))
    st.session_state[f"{name}:{part}"] += 1
    st.session_state["portal-message"] = "Saved. Runs that start from now on follow."
    st.rerun()


def _render_fields(settings: PortalSettings, key: str, *, disabled: bool) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    with st.container(border=True):
        st.subheader("How it is visited", anchor=False)
        engine, accounts, spacing = st.columns(3)
        changes["engine"] = engine.selectbox(
            FIELD_NAMES["engine"],
            list(Engine),
            index=list(Engine).index(settings.engine),
            format_func=lambda e: ENGINE_WORDS[e],
            key=f"{key}-engine",
            disabled=disabled,
            help="The browser engine is only for portals whose sign-in form is built by JavaScript. It needs Chromium "
            "where the scheduler runs, and takes about 600 times the computing time.",
        )
        changes["max_concurrent_accounts"] = accounts.number_input(
            FIELD_NAMES["max_concurrent_accounts"],
            1,
            MAX_CONCURRENT_ACCOUNTS,
            value=settings.max_concurrent_accounts,
            key=f"{key}-accounts",
            disabled=disabled,
            help="Of all jobs there together, on all machines.",
        )
        changes["min_seconds_between_requests"] = spacing.number_input(
            FIELD_NAMES["min_seconds_between_requests"],
            0.0,
            float(MAX_SECONDS_BETWEEN_REQUESTS),
            value=float(settings.min_seconds_between_requests),
            step=0.05,
            key=f"{key}-spacing",
            disabled=disabled,
            help="The least time from one request to the next, of all jobs there together.",
        )
    with st.container(border=True):
        st.subheader("Where things are on its pages", anchor=False)
        st.caption(
            "Leave a field empty to have its place found by itself. Only what a test gets wrong needs a CSS selector."
        )
        # A row at a time: on a phone, columns are stacked one by one.
        cells = [cell for _ in range(0, len(_EXAMPLES), 2) for cell in st.columns(2)]
        for cell, (field, example) in zip(cells, _EXAMPLES.items(), strict=False):
            typed = cell.text_input(
                FIELD_NAMES[field],
                value=getattr(settings, field) or "",
                max_chars=MAX_SELECTOR_CHARACTERS,
                placeholder=f"Found by itself; else as {example}",
                key=f"{key}-{field}",
                disabled=disabled,
                help=_HELP[field],
            )
            changes[field] = typed
    return changes


def _drop(viewer: Viewer, portal_id: int) -> None:
    """Begin all forms of the portal anew, with what is stored now."""
    with transaction() as session:
        portal = get_portal_summary(session, viewer, portal_id).portal
    st.session_state[f"portal-{portal_id}:beginning"] = Beginning(portal.version, settings_of(portal))
    for name in [name for name in st.session_state if str(name).startswith(f"portal-{portal_id}:")]:
        if not str(name).endswith(":beginning"):
            st.session_state[name] += 1


def _field_name(field: str) -> str:
    return FIELD_NAMES.get(field.split(".")[0], field)
