"""The confirmation that a portal may be used, which each portal needs once."""

import streamlit as st

from db.engine import transaction
from db.portals import get_portal
from portal_import.url_templates import InvalidUrlError, portal_host
from ui.plain_text import plain

CONFIRM = "Confirm that you are authorised to use this portal with these accounts: tick the box above."


def render_authorisation(login_url: str, key: str) -> bool:
    """The box to tick, or that somebody ticked it before; True when it is ticked."""
    host = host_of(login_url)
    if host and is_authorised(host):
        st.caption(f":material/verified_user: Use of {plain(host)} was confirmed before.")
        return True
    return st.checkbox(
        f"I am authorised to use {f'**{plain(host)}**' if host else 'this portal'} with these accounts",
        key=f"{key}-authorised",
        help="Asked once for each portal, and recorded with your name.",
    )


def host_of(login_url: str) -> str:
    """The portal's host; empty while the address cannot be read."""
    try:
        return portal_host(login_url)
    except InvalidUrlError:
        return ""


def is_authorised(host: str) -> bool:
    """Whether somebody has confirmed the use of this portal."""
    with transaction() as session:
        portal = get_portal(session, host)
        return portal is not None and portal.authorised_at is not None
