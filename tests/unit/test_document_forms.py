"""Documents that a form fetches: which buttons are pressed, and what is sent."""

from urllib.parse import parse_qs

import pytest

from portal_import.engine.billing_page import read_billing_page
from portal_import.engine.document_links import DocumentLink
from portal_import.engine.page import decode_page
from portal_import.outcomes import PortalProfile

URL = "https://portal.example/my/billing?year=2026"


def links(cell: str, around: str = "{}", link_selector: str | None = None) -> list[DocumentLink]:
    """The documents of a bill whose last cell is this."""
    html = around.format(
        "<table><tr><th>Invoice<th>Date<th>Amount<th>Documents</tr>"
        f"<tr><td>0012<td>2026-01-03<td>5.00<td>{cell}</td></tr></table>"
    )
    page = decode_page(URL, 200, "text/html; charset=utf-8", html.encode())
    [bill] = read_billing_page(page, PortalProfile(link_selector=link_selector), max_documents=9).bills
    return list(bill.links)


def sent(link: DocumentLink) -> dict[str, list[str]]:
    assert link.form is not None
    return parse_qs(link.form.body.decode(), keep_blank_values=True)


def form(button: str, attributes: str = 'method="post" action="/d"', fields: str = "") -> str:
    return f'<form {attributes}><input type="hidden" name="csrf" value="t&1">{fields}{button}</form>'


def test_button_of_a_row_sends_its_form_with_the_hidden_fields():
    [link] = links(form('<button name="id" value="17">Download PDF</button><button name="x">Other</button>'))
    assert (link.url, link.is_certain, sent(link)) == (
        "https://portal.example/d",
        True,
        {"csrf": ["t&1"], "id": ["17"]},
    )
    assert "t&1" not in repr(link)
    assert "t%261" not in repr(link)


def test_one_form_around_the_table_sends_what_the_pressed_button_says():
    around = '<form method="post"><input type="hidden" name="csrf" value="t">{}</form>'
    found = links('<button name="pdf" value="1">PDF</button><input type="submit" name="csv" value="CSV">', around)
    assert [sent(link) for link in found] == [{"csrf": ["t"], "pdf": ["1"]}, {"csrf": ["t"], "csv": ["CSV"]}]
    assert {link.url for link in found} == {URL}
    assert len({link.key for link in found}) == 2


def test_button_elsewhere_names_its_form_and_may_say_where_to_send_it():
    around = '<form id="f" action="/no"><input type="hidden" name="csrf" value="t"></form>{}'
    [link] = links('<button form="f" formmethod="post" formaction="/yes" title="Download">⬇</button>', around)
    assert (link.url, sent(link)) == ("https://portal.example/yes", {"csrf": ["t"]})


def test_form_by_get_is_an_ordinary_link():
    [link] = links(form('<button name="id" value="17">PDF</button>', 'action="/d?old=1"'))
    assert (link.url, link.form) == ("https://portal.example/d?csrf=t%261&id=17", None)


@pytest.mark.parametrize(
    "cell",
    [
        form("<button>Pay</button>"),
        form("<button>Pay invoice</button>"),
        form("<button>Delete PDF</button>"),
        form("<button>Cancel invoice and download</button>"),
        form("<button>Invoice</button>"),
        form('<button type="button">Download</button>'),
        form("<button disabled>Download</button>"),
        form("<button hidden>Download</button>"),
        form("<button>Download</button>", fields='<input type="password" name="p">'),
        form("<button>Download</button>", fields='<input type="file" name="f">'),
        form("<button>Download</button>", 'method="post" action="https://elsewhere.example/d"'),
        form("<button>Download</button>", 'method="post" action="http://portal.example/d"'),
        form("<button>Download</button>", 'method="post" action="javascript:go()"'),
        form("<button>Download</button>", 'method="dialog"'),
        "<button>Download</button>",
        '<a data-method="post" href="https://elsewhere.example/d">Download</a>',
        '<a data-method="delete" href="/bills/17">Download PDF</a>',
        '<a data-method="post" href="/bills/17/cancel">Cancel invoice, PDF</a>',
        '<a data-method="post" href="/bills/17">Invoice 17</a>',
        "<a href=\"javascript:__doPostBack('a','b')\">Download</a>",
    ],
)
def test_button_that_may_do_something_else_is_not_pressed(cell: str):
    assert links(cell) == []


def test_anchor_that_posts_sends_the_pages_token():
    around = '<meta name="csrf-param" content="authenticity_token"><meta name="csrf-token" content="t1">{}'
    [link] = links('<a data-method="post" href="/bills/17">Download PDF</a>', around)
    assert (link.url, sent(link)) == ("https://portal.example/bills/17", {"authenticity_token": ["t1"]})


def test_postback_is_sent_as_its_page_would():
    around = (
        '<form method="post" action="/list.aspx"><input type="hidden" name="__EVENTTARGET">'
        '<input type="hidden" name="__EVENTARGUMENT"><input type="hidden" name="__VIEWSTATE" value="v/+">{}</form>'
    )
    [link] = links("<a href=\"javascript:__doPostBack('grid$ctl02$pdf','')\">PDF</a>", around)
    assert link.url == "https://portal.example/list.aspx"
    assert sent(link) == {"__EVENTTARGET": ["grid$ctl02$pdf"], "__EVENTARGUMENT": [""], "__VIEWSTATE": ["v/+"]}


def test_selector_picks_a_button_whatever_its_words():
    [link] = links(form('<button class="doc">⬇</button>') + '<a href="/x.pdf">PDF</a>', link_selector=".doc")
    assert sent(link) == {"csrf": ["t&1"]}


def test_selector_never_sends_a_form_elsewhere():
    cell = form('<button class="doc">PDF</button>', 'method="post" action="https://elsewhere.example/d"')
    assert links(cell, link_selector=".doc") == []
