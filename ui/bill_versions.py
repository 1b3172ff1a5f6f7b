"""What a bill was before it changed: each earlier version with what differed, and its files."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import streamlit as st

from db.bill_versions import list_versions
from db.engine import transaction
from db.models import Bill, BillVersion
from ui.moments import exact
from ui.plain_text import plain

_WORDS = {
    "number": "number",
    "issued_on": "issue date",
    "due_on": "due date",
    "amount": "amount",
    "currency": "currency",
    "portal_status": "status at the portal",
}


def render_versions(bill: Bill, zone: ZoneInfo) -> None:
    """The earlier versions of a bill that the viewer may see, newest first; nothing when it never changed."""
    if not bill.versions_count:
        return
    with transaction() as session:
        versions = list_versions(session, bill)
    count = len(versions)
    with st.expander(f"{count} earlier {'version' if count == 1 else 'versions'}", icon=":material/history:"):
        for newer, older in zip([bill, *versions], versions, strict=False):
            _render_version(older, newer, zone)


def describe_source(bill: Bill) -> str:
    """Which values came from the document, as a sentence; empty when all came from the portal's page."""
    names = [_WORDS[name] for name in _WORDS if name in bill.from_document]
    return f"Read from the document, since the portal's page lacks it: {', '.join(names)}." if names else ""


def describe_change(older: BillVersion, newer: Bill | BillVersion) -> str:
    """What the change was, as it reads in a list: `amount 12.00 → 12.50, another document`."""
    changes = [
        f"{word} {_shown(getattr(older, name))} → {_shown(getattr(newer, name))}"
        for name, word in _WORDS.items()
        if getattr(older, name) != getattr(newer, name)
    ]
    if _hashes(older.documents) != _hashes(newer.documents):
        changes.append("other documents" if len(older.documents) > 1 else "another document")
    return ", ".join(changes)


def _render_version(older: BillVersion, newer: Bill | BillVersion, zone: ZoneInfo) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        when = exact(older.replaced_at, zone, datetime.now(UTC))
        st.text(f"Until {when}: {describe_change(older, newer)}", width="stretch")
        for index, document in enumerate(older.documents):
            name = str(document.get("file_name") or "document")
            address = f"/files/bills/{older.bill_id}/versions/{older.id}/{index}"
            st.link_button(plain(name), address, icon=":material/download:")


def _shown(value: object) -> str:
    return "–" if value is None else str(value)


def _hashes(documents: Sequence[dict[str, object]]) -> set[object]:
    return {document.get("sha256") for document in documents}
