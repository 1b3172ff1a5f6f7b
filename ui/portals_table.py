"""The table of portals: as a pandas frame, and as people see it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from db.models import Engine, Portal
from db.portal_settings import SELECTORS
from db.portals import PortalSummary
from ui.moments import exact
from ui.outcomes import Look, pill_column
from ui.plain_text import inert_frame, plain

PHONE_COLUMNS = ("host", "state")
ENGINE_WORDS = {Engine.HTTP: "HTTP", Engine.BROWSER: "Browser"}

_OPEN = Look("In use", "✓", "green", ":material/check:")
_BREAKER = Look("Left alone", "!", "red", ":material/front_hand:")
_NOT_AUTHORISED = Look("Not authorised", "○", "gray", ":material/gpp_maybe:")


def portal_state(portal: Portal, now: datetime) -> Look:
    """Whether runs may sign in there now."""
    if portal.authorised_at is None:
        return _NOT_AUTHORISED
    return _BREAKER if is_breaker_open(portal, now) else _OPEN


def is_breaker_open(portal: Portal, now: datetime) -> bool:
    """Whether nothing signs in there for now, because too many sign-ins were refused."""
    return portal.breaker_open_until is not None and portal.breaker_open_until > now


def portals_frame(portals: Sequence[PortalSummary], zone: ZoneInfo, now: datetime) -> pd.DataFrame:
    """One row a portal, in the order given. Times are words in the zone."""
    rows: list[dict[str, Any]] = []
    for summary in portals:
        portal = summary.portal
        until = portal.breaker_open_until
        rows.append(
            {
                "host": portal.host,
                "state": [portal_state(portal, now).pill],
                "until": exact(until, zone, now) if until is not None and is_breaker_open(portal, now) else "",
                "jobs": summary.jobs,
                "engine": ENGINE_WORDS[Engine(portal.engine)],
                "said": describe_settings(portal),
                "accounts": portal.max_concurrent_accounts,
                "spacing": portal.min_seconds_between_requests,
                "authorised": describe_authorisation(summary, zone),
            }
        )
    return pd.DataFrame(rows)


def describe_settings(portal: Portal) -> str:
    """What people said of the portal's pages, in a few words."""
    selectors = sum(getattr(portal, name) is not None for name in SELECTORS)
    columns = len(portal.column_mapping or {})
    counts = ((selectors, "selector"), (columns, "column"), (int(portal.date_order is not None), "dates"))
    words = [noun if noun == "dates" else f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in counts if n]
    return ", ".join(words) or "Found by itself"


def describe_authorisation(summary: PortalSummary, zone: ZoneInfo) -> str:
    """Who said that it may be used, and on which day."""
    if summary.portal.authorised_at is None:
        return "Nobody yet"
    day = summary.portal.authorised_at.astimezone(zone)
    return f"{summary.authorised_by_name or 'somebody who left'}, {day.day} {day:%b %Y}"


def render_portals_table(
    portals: Sequence[PortalSummary], frame: pd.DataFrame, *, phone: bool, key: str
) -> PortalSummary | None:
    """The table; returns the portal whose host was pressed. `key` must name those shown: presses are positions."""
    has_breaker = bool(frame["until"].any())
    order = PHONE_COLUMNS if phone else tuple(c for c in frame.columns if c != "until" or has_breaker)
    column = st.column_config
    pressed = f"{key}-open"
    st.dataframe(
        inert_frame(frame),
        key=key,
        hide_index=True,
        height="content",
        row_height=40,
        column_order=order,
        column_config={
            "host": column.ButtonColumn(
                "Portal", type="tertiary", alignment="left", pinned=not phone, key=pressed, width=205, help="Open it"
            ),
            "state": pill_column("State", (_OPEN, _BREAKER, _NOT_AUTHORISED), width=125),
            "until": column.TextColumn("Until", width=135, help="No sign-ins before: too many were refused"),
            "jobs": column.NumberColumn("Jobs", format="localized", width=55),
            "engine": column.TextColumn("Engine", width=75),
            "said": column.TextColumn("Pages", width=180, help="What people said of its pages"),
            "accounts": column.NumberColumn("At once", width=70, help="Accounts signed in at the same time"),
            "spacing": column.NumberColumn("Spacing", format="%g s", width=70, help="Least time between requests"),
            "authorised": column.TextColumn("Authorised by", width=170),
        },
    )
    click = st.session_state.get(pressed)
    return portals[click.row] if click is not None and click.row < len(portals) else None


def render_portal_link(portal: Portal, job_id: str) -> None:
    """The way from one of its jobs to the portal's page."""
    st.page_link(
        "pages/portal.py",
        label=f"Portal {plain(portal.host)}",
        icon=":material/language:",
        query_params={"id": str(portal.id), "job": job_id},
        help="How it is visited and read, and a test of the sign-in",
    )
