"""Where a list of bills goes on."""

import pytest

from portal_import.engine.errors import VisitError
from portal_import.engine.further_pages import NextPage, find_next_page
from portal_import.engine.page import decode_page

HOST = "https://portal.example"
URL = f"{HOST}/my/billing?year=2026"
PAGER = '<a href="?page=1">1</a> <b>2</b> <a href="?page=3">3</a> <a href="?page=9">9</a>'


def find(html: str, selector: str | None = None, number: int = 1) -> str | None:
    """The address of the next page without the host; `a script` where only that leads on."""
    page = decode_page(URL, 200, "text/html; charset=utf-8", html.encode())
    found = find_next_page(page, selector, number)
    return found and (found.url.removeprefix(HOST) if found.url else "a script")


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<head><link rel="next" href="/p/2"></head>', "/p/2"),
        ('<a rel="nofollow next" href="/p/2">more</a>', "/p/2"),
        ('<a href="?page=2">Next ›</a>', "/my/billing?page=2"),
        ('<a href="?page=2">Weiter</a>', "/my/billing?page=2"),
        ('<a href="?page=2">Page suivante »</a>', "/my/billing?page=2"),
        ('<a href="?page=2"><i class="icon"></i></a>', None),
        ('<a href="?page=2" aria-label="Next page"><i class="icon"></i></a>', "/my/billing?page=2"),
        ('<a href="?page=0">‹</a><a href="?page=2">›</a><a href="?page=9">»</a>', "/my/billing?page=2"),
        ('<a href="?page=9">»</a><a href="?page=2">›</a>', "/my/billing?page=2"),
        ('<a href="?page=0">«</a><a href="?page=2">»</a>', "/my/billing?page=2"),
        ('<b>1</b><a href="?page=2">2</a><a href="?page=3">3</a>', "/my/billing?page=2"),
        ('<ul class="pagination"><li><a href="/my/billing/2">2</a></ul>', "/my/billing/2"),
        ('<nav aria-label="Seiten"><a href="/my/billing/2">Weiter</a></nav>', "/my/billing/2"),
        ('<a href="/news/next">Next</a>', None),
        ('<table><tr><td><a href="/bills/2">2</a></table>', None),
        ('<a class="btn disabled" href="?page=2">Next</a>', None),
        ('<ul><li class="disabled"><a href="?page=2">Next</a></ul>', None),
        ('<a aria-disabled="true" href="?page=2">Next</a>', None),
        ('<a href="#">Next</a><a href="">Next</a><a>Next</a>', None),
        ('<a href="?year=2026">Next</a>', None),
        ('<a rel="next" href="https://elsewhere.example/my/billing?page=2">Next</a>', None),
        ('<a rel="next" href="http://portal.example/my/billing?page=2">Next</a>', None),
        ('<ul class="pager"><li><a href="javascript:go(2)">Next</a></ul>', "a script"),
        ('<ul class="pager"><li><a href="javascript:void(0)">Next</a></ul>', None),
        ("<p>Nothing here</p>", None),
    ],
)
def test_next_page_is_found(html: str, expected: str | None):
    assert find(html) == expected


@pytest.mark.parametrize(
    ("number", "expected"), [(1, None), (2, "/my/billing?page=3"), (8, "/my/billing?page=9"), (9, None)]
)
def test_page_numbers_lead_to_the_one_after_this(number: int, expected: str | None):
    assert find(PAGER, number=number) == expected


def test_selector_picks_the_link_to_the_next_page_and_nothing_else_does():
    html = '<div id="on"><a href="/list/two">Older stuff</a></div><a rel="next" href="?page=2">Next</a>'
    assert find(html, "#on") == "/list/two"
    assert find(html, "a[rel=next]") == "/my/billing?page=2"
    assert find(html, "#none") is None


def test_selector_that_is_no_css_is_said():
    with pytest.raises(VisitError, match="not valid CSS"):
        find("<p>", "a[[")


def test_page_behind_a_script_has_no_address():
    page = decode_page(URL, 200, "text/html", b'<div class="paging"><a href="javascript:more()">Next</a></div>')
    assert find_next_page(page, None, 1) == NextPage(None)
