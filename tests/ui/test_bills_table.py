"""The order of the bills while a run is live; what a bill was before it changed."""

from decimal import Decimal

import pytest
import streamlit as st
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

import db.engine
from db.engine import transaction
from db.models import Bill, BillVersion
from tests.factories import NOW, make_job, make_viewer
from ui.bill_versions import describe_change, describe_source
from ui.bills_table import in_order_of_arrival


def test_bills_that_arrive_later_do_not_move_the_rows_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "session_state", {})
    ada, ben, zoe = (Bill(id=number) for number in (1, 2, 3))
    assert in_order_of_arrival([ben, zoe], 7) == [ben, zoe]
    assert in_order_of_arrival([ada, ben, zoe], 7) == [ben, zoe, ada]
    assert in_order_of_arrival([ada, ben, zoe], 8) == [ada, ben, zoe]


def make_versions() -> tuple[Bill, BillVersion]:
    document = {"file_url": "aa/1.pdf", "sha256": "1"}
    bill = Bill(amount=Decimal("12.50"), portal_status="Paid", documents=[document | {"sha256": "2"}])
    return bill, BillVersion(amount=Decimal("12.00"), portal_status=None, documents=[document])


def test_change_names_what_differed_and_nothing_else():
    bill, version = make_versions()
    expected = "amount 12.00 → 12.50, status at the portal – → Paid, another document"
    assert describe_change(version, bill) == expected
    bill.documents, bill.portal_status = version.documents, None
    assert describe_change(version, bill) == "amount 12.00 → 12.50"


def test_values_of_the_document_are_named():
    assert describe_source(Bill(from_document=["amount", "due_on"])) == (
        "Read from the document, since the portal's page lacks it: due date, amount."
    )
    assert describe_source(Bill(from_document=[])) == ""


def draw_bill(bill_id: int) -> None:
    from zoneinfo import ZoneInfo

    from db.engine import transaction
    from db.models import Bill
    from ui.bills_table import render_bill

    with transaction() as session:
        bill = session.get_one(Bill, bill_id)
    render_bill(bill, ZoneInfo("UTC"))


def test_changed_bill_offers_what_it_was_before(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db.engine, "get_engine", lambda: engine)
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session))
        old, new = ({"file_url": f"aa/{n}.csv", "sha256": str(n), "file_name": f"bill*{n}.csv"} for n in (1, 2))
        bill = Bill(session_id=job.id, username="ada", bill_key="42", documents=[new], versions_count=1)
        bill.from_document = ["amount"]
        bill.amount = Decimal("12.50")
        session.add(bill)
        session.flush()
        version = BillVersion(bill_id=bill.id, amount=Decimal("12.00"), documents=[old], replaced_at=NOW)
        session.add(version)
        session.flush()
        bill_id, version_id = bill.id, version.id
    app = AppTest.from_function(draw_bill, kwargs={"bill_id": bill_id}).run()
    assert not app.exception
    [expander] = app.expander
    assert expander.label == "1 earlier version"
    assert [text.value for text in expander.text] == [
        "Until Mon 10 Mar 2025, 12:00: amount 12.00 → 12.50, another document"
    ]
    [link] = expander.get("link_button")
    assert (link.proto.label, link.proto.url) == (r"bill\*1\.csv", f"/files/bills/{bill_id}/versions/{version_id}/0")
    assert "Read from the document, since the portal's page lacks it: amount." in [c.value for c in app.caption]
