"""Bills whose details only their PDF tells, and documents that belong to rows without links."""

import asyncio
import json
from dataclasses import asdict
from datetime import date
from decimal import Decimal

import pytest
from fpdf import FPDF

from db.models import LogLevel, ResultStatus
from portal_import.outcomes import PortalProfile
from tests.portal_server import Route, ScriptedPortal, Visit, answer, ordinary_routes, run_import, visit

TEXT = "Invoice number 0042\nInvoice date 03/04/2026\nDue date 2026-05-02\nTotal GBP 1,234.50"


def make_pdf(text: str) -> bytes:
    pdf = FPDF()
    pdf.set_font("Helvetica", "", 10)
    pdf.add_page()
    pdf.multi_cell(180, 6, text)
    return bytes(pdf.output())


def send(content: bytes, **headers: str) -> bytes:
    return answer(content, content_type="application/pdf", **headers)


def routes(headers: str, row: str, pdf: Route, around: str = "") -> dict[str, Route]:
    """A portal with one bill, whose document is `/b.pdf`."""
    head, cells = (
        "".join(f"<{tag}>{text}" for text in texts.split("|")) for tag, texts in (("th", headers), ("td", row))
    )
    page = answer(f"<table id=bills><tr>{head}</tr><tr>{cells}</tr></table>{around}")
    return ordinary_routes() | {"GET /billing": page, "GET /b.pdf": pdf}


BARE = ("Invoice date|Amount|Document", '2026-04-03|see PDF|<a href="/b.pdf">PDF</a>')


def test_values_that_the_table_lacks_come_from_the_pdf_and_are_marked():
    made = run_import(routes(*BARE, send(make_pdf(TEXT))))
    [bill] = made.outcome.bills
    assert made.outcome.status is ResultStatus.SUCCESS
    assert (bill.bill_key, bill.number, bill.issued_on) == ("0042", "0042", date(2026, 4, 3))
    assert (bill.due_on, bill.amount, bill.currency) == (date(2026, 5, 2), Decimal("1234.50"), "GBP")
    assert set(bill.from_document) == {"number", "due_on", "amount", "currency"}
    assert bill.fields["Amount"] == "see PDF"


def test_values_of_the_table_are_never_replaced_and_a_full_row_needs_no_pdf():
    full = (
        "Invoice number|Invoice date|Due date|Amount|Document",
        '7|2026-01-01|2026-01-31|5,00 €|<a href="/b.pdf">PDF</a>',
    )
    made = run_import(routes(*full, send(make_pdf(TEXT))))
    [bill] = made.outcome.bills
    assert (bill.number, bill.issued_on, bill.amount, bill.from_document) == (
        "7",
        date(2026, 1, 1),
        Decimal("5.00"),
        (),
    )
    assert bill.documents[0].facts is None


def test_pdf_that_says_something_else_than_the_table_adds_only_what_is_missing():
    row = ("Invoice number|Invoice date|Amount|Document", '7|2026-01-01|5,00 €|<a href="/b.pdf">PDF</a>')
    [bill] = run_import(routes(*row, send(make_pdf(TEXT)))).outcome.bills
    assert (bill.number, bill.amount, bill.currency, bill.due_on) == ("7", Decimal("5.00"), "EUR", date(2026, 5, 2))
    assert bill.from_document == ("due_on",)


def test_document_outside_of_any_row_becomes_a_bill_with_its_own_details():
    loose = ordinary_routes() | {
        "GET /billing": answer('<a href="/b.pdf">Invoice</a>'),
        "GET /b.pdf": send(make_pdf(TEXT)),
    }
    [bill] = run_import(loose).outcome.bills
    assert (bill.bill_key, bill.due_on, bill.amount) == ("0042", date(2026, 5, 2), Decimal("1234.50"))


def test_document_outside_of_the_rows_goes_to_the_row_of_its_number():
    headers, row = "Invoice number|Invoice date|Amount", "0042|2026-04-03|1.234,50 €"
    around = '<p><a href="/b.pdf">Download newest invoice</a></p>'
    [bill] = run_import(routes(headers, row, send(make_pdf(TEXT)), around)).outcome.bills
    assert [document.file_name for document in bill.documents] == ["b.pdf"]
    assert (bill.amount, bill.currency, bill.due_on) == (Decimal("1234.50"), "EUR", date(2026, 5, 2))
    assert bill.from_document == ("due_on",)


@pytest.mark.parametrize(
    ("name", "documents"),
    [
        ("usage-0042.csv", 1),
        ("usage_0042_2026.csv", 1),
        ("usage-10042.csv", 0),
        ("usage-0042b.csv", 0),
        ("usage.csv", 0),
    ],
)
def test_file_whose_name_holds_the_number_of_a_row_belongs_there(name: str, documents: int):
    headers, row = "Invoice number|Invoice date|Amount", "0042|2026-04-03|1.234,50 €"
    around = f'<p><a href="/files/{name}">Download invoice data</a></p>'
    csv = answer("a,b\n", content_type="text/csv")
    made = run_import(routes(headers, row, b"", around) | {f"GET /files/{name}": csv})
    assert [len(bill.documents) for bill in made.outcome.bills] == ([1] if documents else [0, 1])


def test_ambiguous_date_of_a_pdf_waits_for_the_portals_order():
    pdf = send(make_pdf(TEXT))
    bare = ("Invoice number|Amount|Document", '0042|5,00 €|<a href="/b.pdf">PDF</a>')
    [unread] = run_import(routes(*bare, pdf)).outcome.bills
    [read] = run_import(routes(*bare, pdf), profile=PortalProfile(date_order="day_first")).outcome.bills
    assert (unread.issued_on, read.issued_on) == (None, date(2026, 4, 3))


def import_twice(routes: dict[str, Route], second: PortalProfile) -> tuple[Visit, Visit]:
    async def scenario() -> tuple[Visit, Visit]:
        async with ScriptedPortal(routes) as portal:
            first = await visit(portal)
            return first, await visit(portal, after=first, profile=second)

    return asyncio.run(scenario())


def test_known_pdf_is_not_read_again_unless_the_order_of_dates_was_set_since():
    bare = ("Invoice number|Amount|Document", '0042|5,00 €|<a href="/b.pdf">PDF</a>')
    routes_twice = routes(*bare, send(make_pdf(TEXT), ETag='"1"'))
    first, same = import_twice(routes_twice, PortalProfile())
    assert same.outcome.bills == first.outcome.bills
    assert same.outcome.bills[0].due_on == date(2026, 5, 2)
    _, ordered = import_twice(routes_twice, PortalProfile(date_order="month_first"))
    assert "has not changed, and was not fetched again" in ordered.said
    assert ordered.outcome.bills[0].issued_on == date(2026, 3, 4)


def test_what_was_read_can_be_stored_as_json():
    [bill] = run_import(routes(*BARE, send(make_pdf(TEXT)))).outcome.bills
    [document] = [json.loads(json.dumps(asdict(one))) for one in bill.documents]
    assert document["facts"] == {
        "number": "0042", "due_on": "2026-05-02", "amount": "1234.50", "currency": "GBP", "date_order": "none",
    }  # fmt: skip


def test_pdf_that_cannot_be_read_costs_only_what_it_would_have_told():
    broken = b"%PDF-1.4\n" + b"x" * 2000 + b"\n%%EOF\n"
    made = run_import(routes(*BARE, send(broken)))
    [bill] = made.outcome.bills
    assert (made.outcome.status, bill.number, bill.bill_key) == (ResultStatus.SUCCESS, None, "b.pdf")
    assert bill.documents[0].facts == {"date_order": "none"}
    [warning] = [line for level, line in made.lines if level is LogLevel.WARNING]
    assert warning.startswith("b.pdf could not be read for what the table lacks: ")
