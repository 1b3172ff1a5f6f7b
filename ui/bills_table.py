"""The bills of a run: table, download, PDF preview, and files for spreadsheets."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from db.documents import StorageAwayError, open_document
from db.errors import NotFoundError
from db.models import Bill
from settings import get_settings
from ui.bill_versions import describe_source, render_versions
from ui.plain_text import inert_frame, plain
from ui.shell import is_phone

PDF = "application/pdf"
PREVIEW_HEIGHT = 620
PHONE_COLUMNS = ("number", "amount", "currency", "document")


def render_bills(bills: Sequence[Bill], run_id: int, zone: ZoneInfo) -> None:
    """All bills that the run saw; a selected one opens below the table."""
    if not bills:
        st.caption("No bills in this run.")
        return
    bills = in_order_of_arrival(bills, run_id)
    frame = bills_frame(bills, run_id)
    column = st.column_config
    event = st.dataframe(
        frame,
        key=f"bills-{run_id}",
        hide_index=True,
        height="content" if len(frame) <= 12 else 480,
        on_select="rerun",
        selection_mode="single-row",
        placeholder="–",
        column_order=PHONE_COLUMNS if is_phone() else [c for c in frame.columns if c != "id"],
        column_config={
            "username": column.TextColumn("Account"),
            "number": column.TextColumn("Number"),
            "issued_on": column.DateColumn("Issued", format="D MMM YYYY"),
            "due_on": column.DateColumn("Due", format="D MMM YYYY"),
            "amount": column.NumberColumn("Amount", format="%.2f"),
            "currency": column.TextColumn("", width=50),
            "portal_status": column.TextColumn("At the portal"),
            "new": column.TextColumn("New", width=75, help="First seen in this run, or found changed by it"),
            "document": column.LinkColumn(
                "Document", display_text="Download", width=100, help="The bill, a PDF where there is one"
            ),
            "data": column.LinkColumn("More", display_text="Download", width=100, help="The bill's second document"),
        },
    )
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption("Select a row to see its document.")
        with st.container(horizontal=True, width="content", gap="xsmall"):
            for kind, words in (("csv", "Bills as CSV"), ("xlsx", "Bills as Excel")):
                st.link_button(words, f"/files/runs/{run_id}/bills.{kind}", icon=":material/download:")
    rows = event["selection"]["rows"]
    if rows and rows[0] < len(bills):
        render_bill(bills[rows[0]], zone)


def in_order_of_arrival(bills: Sequence[Bill], run_id: int) -> list[Bill]:
    """As this page first saw them: a selected row stays the same bill while the run brings more."""
    places: dict[int, int] = st.session_state.setdefault(f"bills-order-{run_id}", {})
    for bill in bills:
        places.setdefault(bill.id, len(places))
    return sorted(bills, key=lambda bill: places[bill.id])


def render_bill(bill: Bill, zone: ZoneInfo) -> None:
    """One bill: its documents to download, what it was before, and the PDF itself."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(f"{bill.number or bill.bill_key} · {bill.username}", width="stretch")
            for index, document in enumerate(bill.documents):
                name = document.get("file_name") or "document"
                st.link_button(plain(name), f"/files/bills/{bill.id}/{index}", icon=":material/download:")
        if source := describe_source(bill):
            st.caption(source)
        render_versions(bill, zone)
        pdf = next((d for d in bill.documents if d.get("content_type") == PDF), None)
        if pdf is None:
            st.caption("This bill has no PDF to show.")
            return
        try:
            content = read_document(str(pdf["file_url"]))
        except NotFoundError:
            st.warning("The document is no longer in the storage.", icon=":material/scan_delete:")
            return
        except StorageAwayError as error:
            st.error(f"{error}.", icon=":material/cloud_off:")
            return
        st.pdf(content, height=PREVIEW_HEIGHT, key=f"pdf-{bill.id}")


def bills_frame(bills: Sequence[Bill], run_id: int) -> pd.DataFrame:
    """One row a bill, in the order given; `document` and `data` are addresses of this site."""
    rows: list[dict[str, Any]] = [
        {
            "username": bill.username,
            "number": bill.number or bill.bill_key,
            "issued_on": bill.issued_on,
            "due_on": bill.due_on,
            "amount": float(bill.amount) if bill.amount is not None else None,
            "currency": bill.currency or "",
            "portal_status": bill.portal_status or "",
            "new": "new" if bill.first_seen_run == run_id else "changed" if bill.changed_run == run_id else "",
            "document": f"/files/bills/{bill.id}/0" if bill.documents else None,
            "data": f"/files/bills/{bill.id}/1" if len(bill.documents) > 1 else None,
        }
        for bill in bills
    ]
    return inert_frame(pd.DataFrame(rows))


def read_document(file_url: str) -> bytes:
    """A stored document, whole; its size was capped when it was stored. Raises NotFoundError, StorageAwayError."""
    document = open_document(get_settings().effective_storage_url, file_url)
    return b"".join(document)
