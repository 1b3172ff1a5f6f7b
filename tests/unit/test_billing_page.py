import random
from datetime import date
from decimal import Decimal

import pytest

from portal_import.bill_reading.cell_values import find_currency, is_ambiguous_date, parse_amount, parse_date
from portal_import.bill_reading.table_headers import map_headers
from portal_import.engine.billing_page import BillingPage, read_billing_page
from portal_import.engine.document_links import extension_of
from portal_import.engine.errors import VisitError
from portal_import.engine.forms import has_sign_in_form
from portal_import.engine.page import decode_page
from portal_import.engine.sign_in_answers import find_error_text, find_obstacle
from portal_import.outcomes import PortalProfile

URL = "https://portal.example/my/billing?year=2026"


def read(html: str, max_documents: int = 500, **profile: object) -> BillingPage:
    page = decode_page(URL, 200, "text/html; charset=utf-8", html.encode())
    return read_billing_page(page, PortalProfile(**profile), max_documents=max_documents)  # type: ignore[arg-type]


def table(headers: str, *rows: str, attributes: str = "") -> str:
    head = "".join(f"<th>{header}</th>" for header in headers.split("|"))
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row.split("|")) + "</tr>" for row in rows)
    return f"<table {attributes}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def loose_urls(html: str, link_selector: str | None = None) -> list[str]:
    return [link.url.removeprefix("https://portal.example") for link in read(html, link_selector=link_selector).loose]


# Rows


@pytest.mark.parametrize(
    ("headers", "row"),
    [
        ("Invoice number|Issue date|Due date|Amount|Currency|Status", "007|2026-11-24|2026-12-08|1,234.50|EUR|Open"),
        ("Rechnungsnummer|Rechnungsdatum|Fällig am|Betrag (EUR)|Status", "007|24.11.2026|08.12.2026|1.234,50|Open"),
        (
            "N° de facture|Date d’émission|Échéance|Montant TTC|Statut",
            "007|24 nov. 2026|8 décembre 2026|1 234,50 €|Open",
        ),
        (
            "Número de factura|Fecha de emisión|Vencimiento|Importe total|Estado",
            "007|24 de noviembre de 2026|8 dic 2026|1.234,50 €|Open",
        ),
        ("Status|Total|Bill #|Due|Date", "Open|€1,234.50|007|8 Dec 2026|Nov 24, 2026"),
    ],
)
def test_table_in_usual_wordings_is_read(headers: str, row: str):
    [found] = read(table(headers, row)).bills
    bill = found.bill
    assert (bill.bill_key, bill.number, bill.issued_on, bill.due_on) == (
        "007", "007", date(2026, 11, 24), date(2026, 12, 8),
    )  # fmt: skip
    assert (bill.amount, bill.currency, bill.portal_status) == (Decimal("1234.50"), "EUR", "Open")
    assert bill.fields == dict(zip(headers.split("|"), row.split("|"), strict=True))


def test_row_keeps_what_it_cannot_read_for_certain():
    [found] = read(table("Invoice|Date|Amount", "0012|03/04/2026|about 5 or 6")).bills
    assert (found.bill.issued_on, found.bill.amount, found.bill.currency) == (None, None, None)
    assert found.bill.fields == {"Invoice": "0012", "Date": "03/04/2026", "Amount": "about 5 or 6"}


@pytest.mark.parametrize(
    ("date_order", "expected"), [("day_first", date(2026, 4, 3)), ("month_first", date(2026, 3, 4)), (None, None)]
)
def test_ambiguous_date_is_read_by_the_portals_order_or_not_at_all(date_order: str | None, expected: date | None):
    found = read(table("Invoice|Date|Due date", "0012|03/04/2026|24/04/2026"), date_order=date_order)
    bill = found.bills[0].bill
    assert (bill.issued_on, bill.due_on, bill.fields["Date"]) == (expected, date(2026, 4, 24), "03/04/2026")
    said = 'dates in the column "Date", such as 03/04/2026, can mean two days and were left unread;'
    said += " set the portal's date order to have them read"
    assert list(found.remarks.values()) == ([said] if expected is None else [])


def test_columns_that_a_person_named_win_over_the_usual_wordings():
    html = table("Invoice|Vorgang|Date|Booked|Amount|To pay", "0012|V-7|2026-01-03|2026-01-04|5.00|6.00")
    found = read(html, column_mapping={"number": "vorgang", "issued_on": "Booked", "amount": "To pay"})
    bill = found.bills[0].bill
    assert (bill.number, bill.issued_on, bill.amount) == ("V-7", date(2026, 1, 4), Decimal("6.00"))
    assert found.remarks == {}


def test_columns_that_a_person_named_make_a_table_one_of_bills():
    html = table("Vorgang|Wert", "V-7|6,00 EUR")
    assert read(html).bills == ()
    [found] = read(html, column_mapping={"number": "Vorgang", "amount": "Wert"}).bills
    assert (found.bill.number, found.bill.amount, found.bill.currency) == ("V-7", Decimal("6.00"), "EUR")


def test_column_that_a_person_named_but_is_not_there_stays_unread():
    found = read(table("Invoice|Date|Amount", "0012|2026-01-03|5.00"), column_mapping={"amount": "Total"})
    assert found.bills[0].bill.amount is None
    assert list(found.remarks.values()) == [
        'the portal\'s settings find the amount in the column "Total", which the table of bills does not have;'
        " it has: Invoice, Date, Amount"
    ]


def test_row_reads_an_ambiguous_date_from_its_time_element():
    cell = '<time datetime="2026-04-03T00:00">03/04/2026</time>'
    [found] = read(table("Invoice|Date|Amount", f"0012|{cell}|5.00")).bills
    assert found.bill.issued_on == date(2026, 4, 3)
    assert found.bill.fields["Date"] == "03/04/2026"


def test_rows_take_the_documents_linked_inside_them():
    rows = [f'00{n}|2026-0{n}-01|5|<a href="/b/{n}.pdf">PDF</a><a href="/b/{n}.csv">Usage</a>' for n in (1, 2)]
    found = read(table("Invoice|Date|Amount|Documents", *rows) + '<a href="/b/1.pdf">again</a>')
    assert [[link.url[-5:] for link in bill.links] for bill in found.bills] == [["1.pdf", "1.csv"], ["2.pdf", "2.csv"]]
    assert found.loose == ()
    assert found.bills[0].bill.fields["Documents"] == "PDF Usage"


def test_table_of_bills_is_chosen_among_others():
    payments = table("Date|Amount|Method", "2026-01-01|5.00|card", "2026-01-02|5.00|card")
    usage = table("Month|kWh", "May|100")
    bills = table("Invoice number|Date|Amount", "0012|2026-01-03|5.00")
    assert [bill.bill.number for bill in read(payments + usage + bills).bills] == ["0012"]
    assert read(payments + usage).has_table is False


def test_tables_with_the_same_columns_are_all_read():
    headers = "Invoice number|Date|Amount"
    html = table(headers, "0012|2026-01-03|5.00") + table(headers, "0011|2025-01-03|5.00")
    assert [bill.bill.number for bill in read(html).bills] == ["0012", "0011"]


def test_table_inside_a_layout_table_is_read():
    inner = table("Invoice number|Date|Amount", "0012|2026-01-03|5.00")
    assert len(read(f"<table><tr><td>Invoice number</td><td>{inner}</td></tr></table>").bills) == 1


def test_rows_that_are_no_bills_are_left_out():
    rows = ("0012|2026-01-03|5.00", "Total||5.00", "||", "Invoice total|x|")
    html = table("Invoice number|Date|Amount", *rows)
    html = html.replace("</tbody>", '<tr><td colspan="3">More 5 later</td></tr></tbody><tfoot><tr><td>1<td>2</tfoot>')
    assert [bill.bill.number for bill in read(html).bills] == ["0012"]


def test_row_shown_twice_is_one_bill():
    one = table("Invoice number|Date|Amount|", '0012|2026-01-03|5.00|<a href="/a.pdf">PDF</a>')
    found = read(f'<div class="wide">{one}</div><div class="narrow">{one}</div>')
    assert [len(bill.links) for bill in found.bills] == [1]


def test_column_of_download_links_is_no_number():
    html = table("Invoice|Date|Amount", '<a href="/a.pdf">Download</a>|2026-01-03|5.00')
    [found] = read(html).bills
    assert found.bill.number is None
    assert [link.url for link in found.links] == ["https://portal.example/a.pdf"]


def test_gross_amount_is_preferred():
    [found] = read(table("Invoice|Date|Net amount|VAT|Total amount", "0012|2026-01-03|5.00|1.00|6.00")).bills
    assert found.bill.amount == Decimal("6.00")
    assert map_headers(["Betrag", "Gesamtbetrag", "Nettobetrag"]) == {"amount": 1}


# Links


@pytest.mark.parametrize(
    "anchor",
    [
        '<a href="/d/1.pdf">x</a>',
        '<a href="/d/1" type="application/pdf">x</a>',
        '<a href="/d/1" download="a.pdf">x</a>',
        '<a href="/d/1?file=a%2Fb.xlsx">x</a>',
        '<a href="/d/1?format=pdf">x</a>',
        '<a href="/d/1">Download invoice</a>',
        '<a href="/d/1">Rechnung herunterladen</a>',
        '<a href="/invoice/1"><img src="i.png" alt="PDF"></a>',
        '<a href="/invoice/1" title="Download">⬇</a>',
    ],
)
def test_link_that_is_surely_a_document(anchor: str):
    [link] = read(f"<main>{anchor}</main>").loose
    assert link.is_certain


@pytest.mark.parametrize(
    "anchor",
    [
        '<a href="/billing">Bills</a>',
        '<a href="/invoices">Invoices and statements</a>',
        '<nav><a href="/d/1.pdf">Invoice 1</a></nav>',
        '<footer><a href="/d/1.pdf">Download invoice</a></footer>',
        '<a href="/terms.pdf">Terms and conditions (PDF)</a>',
        '<a href="/files/price-list.pdf">See prices</a>',
        '<a href="/app">Download our app</a>',
        '<a href="mailto:bills@portal.example">Invoice 1</a>',
        '<a href="javascript:download(1)">Download invoice 1</a>',
        '<a href="#invoice-1">Invoice 1 PDF</a>',
        '<a href="/logout">Log out</a>',
        '<a href="http://[bad/1.pdf">x</a>',
        '<a href="ftp://portal.example/1.pdf">x</a>',
        "<a>Invoice 1 PDF</a>",
    ],
)
def test_link_that_is_no_document(anchor: str):
    assert loose_urls(f"<main>{anchor}</main>") == []


def test_link_with_words_only_is_a_perhaps():
    [link] = read('<a href="/invoice/2026-1">Invoice 2026-1</a>').loose
    assert not link.is_certain


def test_links_are_resolved_and_taken_once():
    html = """<base href="/base/"><a href="a.pdf#page=2">1</a><a href="/base/a.pdf">2</a><a href="../b c.pdf">3</a>
    <a href="//cdn.example/ü.pdf?sig=a%2Fb+c">4</a>"""
    assert loose_urls(html) == ["/base/a.pdf", "/b%20c.pdf", "https://cdn.example/%C3%BC.pdf?sig=a%2Fb+c"]


def test_links_beyond_the_limit_are_counted():
    html = "".join(f'<a href="/{n}.pdf">x</a>' for n in range(7))
    found = read(html, max_documents=3)
    assert (len(found.loose), found.omitted) == (3, 4)


def test_link_selector_takes_exactly_what_it_picks():
    html = '<ul class="docs"><li><a href="/get/1">one</a></ul><a href="/2.pdf">PDF</a>'
    html += '<nav><a class="doc" href="/3">x</a></nav>'
    assert loose_urls(html, ".docs, a.doc") == ["/get/1", "/3"]
    rows = read(
        table("Invoice|Date|Amount", '<a class="doc" href="/7">0012</a>|2026-01-03|5.00'), link_selector="a.doc"
    )
    assert [link.url for link in rows.bills[0].links] == ["https://portal.example/7"]
    assert rows.loose == ()


@pytest.mark.parametrize(
    ("url", "extension"),
    [
        ("https://a/b.PDF", "pdf"),
        ("https://a/b%2Epdf?x", "pdf"),
        ("https://a/b?type=csv&y=1", "csv"),
        ("https://a/b", None),
    ],
)
def test_extension_of_a_url(url: str, extension: str | None):
    assert extension_of(url) == extension


# Pages without bills


@pytest.mark.parametrize(
    "html",
    [
        "<p>There are no bills yet.</p>",
        "<p>You have no open invoices</p>",
        "<p>We have not issued you any invoices</p>",
        "<p>Es sind noch keine Rechnungen vorhanden</p>",
        "<p>Aucune facture disponible</p>",
        "<p>No hay facturas</p>",
    ],
)
def test_page_that_says_there_are_no_bills(html: str):
    assert read(html).says_none
    assert read(html).links_count == 0


def test_page_with_an_empty_table_of_bills():
    empty = table("Invoice number|Date|Amount").replace("<tbody>", '<tbody><tr><td colspan="3">Nothing here</td></tr>')
    assert (read(empty).has_table, read(empty).bills, read(empty).says_none) == (True, (), False)


def test_page_of_something_else_has_nothing():
    found = read("<h1>Something went wrong</h1><p>Please try again. No panic: your bill is safe.</p>")
    assert found == BillingPage()


def test_nonsense_is_read_without_an_exception():
    chance = random.Random(20261124)
    bits = ["<table>", "<tr>", "<th>Invoice", "<td>", "</table>", "<form>", "<input type=password>", "<a href='", "'>",
            "<base href='", "http://[", "\0", "é", "&#xD800;", "&#0;", "<!--", "-->", "<?x", "<select><option>", "%",
            "1,2.3", "99.99.9999", "0000-00-00", '<div role="alert">', "\ud800", "<template>", "</form>",
            "colspan='99999999999'"]  # fmt: skip
    for _ in range(400):
        text = "".join(chance.choice(bits) for _ in range(chance.randint(0, 60)))
        page = decode_page(URL, 200, chance.choice(["text/html", "", "x"]), text.encode("utf-8", "surrogatepass"))
        read_billing_page(page, PortalProfile(), max_documents=9)
        has_sign_in_form(page)
        find_obstacle(page)
        find_error_text(page)


def test_nested_page_is_read():
    assert read("<div>" * 200 + '<a href="/1.pdf">x</a>').links_count == 1


def test_page_that_is_nested_too_deeply_is_not_read_in_half():
    with pytest.raises(VisitError, match="the page is nested too deeply"):
        read("<div>" * 5_000 + '<a href="/1.pdf">x</a>')


# Values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24", date(2026, 11, 24)),
        ("2026-11-24T23:59:59Z", date(2026, 11, 24)),
        ("2026/11/24", date(2026, 11, 24)),
        ("24.11.2026", date(2026, 11, 24)),
        ("4.3.26", date(2026, 3, 4)),
        ("24. 11. 2026", date(2026, 11, 24)),
        ("24 Nov 2026", date(2026, 11, 24)),
        ("Tue, 24th November 2026", date(2026, 11, 24)),
        ("24-Nov-2026", date(2026, 11, 24)),
        ("November 24, 2026", date(2026, 11, 24)),
        ("24. Dezember 2026", date(2026, 12, 24)),
        ("1er août 2026", date(2026, 8, 1)),
        ("1 de enero de 2026", date(2026, 1, 1)),
        ("24/11/2026", date(2026, 11, 24)),
        ("11/24/2026", date(2026, 11, 24)),
        ("05/05/2026", date(2026, 5, 5)),
        ("03/04/2026", None),
        ("03-04-2026", None),
        ("24/11/26", None),
        ("31.02.2026", None),
        ("01.11.2026 – 30.11.2026", None),
        ("due in 14 days", None),
        ("24 Foo 2026", None),
        ("24 ju 2026", None),
        ("2026", None),
        ("9999-01-01", None),
        ("", None),
    ],
)
def test_date_is_read_or_left_alone(text: str, expected: date | None):
    assert parse_date(text) == expected


@pytest.mark.parametrize(
    ("text", "day_first", "month_first"),
    [
        ("03/04/2026", date(2026, 4, 3), date(2026, 3, 4)),
        ("3-4-26", date(2026, 4, 3), date(2026, 3, 4)),
        ("24/11/26", date(2026, 11, 24), date(2026, 11, 24)),
        ("11/24/2026", date(2026, 11, 24), date(2026, 11, 24)),
        ("03.04.2026", date(2026, 4, 3), date(2026, 4, 3)),
        ("2026-04-03", date(2026, 4, 3), date(2026, 4, 3)),
        ("32/01/2026", None, None),
    ],
)
def test_date_is_read_by_the_order_that_was_set(text: str, day_first: date | None, month_first: date | None):
    assert (parse_date(text, "day_first"), parse_date(text, "month_first")) == (day_first, month_first)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("03/04/2026", True),
        ("24/11/26", True),
        ("03.04.2026", False),
        ("24/11/2026", False),
        ("soon", False),
        ("", False),
    ],
)
def test_date_is_called_ambiguous_only_if_an_order_would_settle_it(text: str, expected: bool):
    assert is_ambiguous_date(text) is expected


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("1.234,56 €", "1234.56", "EUR"),
        ("€1,234.56", "1234.56", "EUR"),
        ("1'234.50 CHF", "1234.50", "CHF"),
        ("1\u202f234,56\xa0EUR", "1234.56", "EUR"),
        ("1,23,456.78 INR", "123456.78", "INR"),
        ("US$ 1,234", "1234", "USD"),
        ("$5", "5", "USD"),
        ("A$5.10", "5.10", "AUD"),
        ("1.234", "1234", None),
        ("1,234", "1234", None),
        ("0,125", "0.125", None),
        ("KWD 1.234", "1.234", "KWD"),
        ("12,5", "12.5", None),
        ("-12,50", "-12.50", None),
        ("−12.50", "-12.50", None),
        ("12,50-", "-12.50", None),
        ("(12.50)", "-12.50", None),
        ("£12.50 CR", "-12.50", "GBP"),
        ("12.50 GBP (€14.00)", None, "GBP"),
        ("12,34,5", None, None),
        ("12 50", None, None),
        ("9999999999999.00", None, None),
        ("EUR or USD 5", "5", None),
        ("free", None, None),
        ("", None, None),
    ],
)
def test_amount_is_read_or_left_alone(text: str, amount: str | None, currency: str | None):
    assert parse_amount(text) == (None if amount is None else Decimal(amount))
    assert find_currency(text) == currency
