"""Lists of bills on several pages, documents behind forms, archives."""

import io
import zipfile

from db.models import LogLevel, ResultStatus
from portal_import.outcomes import Limits
from tests.portal_server import (
    LOGIN_PAGE,
    PDF,
    Request,
    Route,
    Visit,
    answer,
    check_no_secrets,
    ordinary_routes,
    redirect,
    run_import,
)


def list_page(*numbers: int, pager: str = "") -> bytes:
    rows = "".join(
        f"<tr><td>000{number}</td><td>2026-11-24</td><td>2026-12-08</td><td>5,00 €</td>"
        f'<td><a href="/bills/{number}.pdf">PDF</a></td></tr>'
        for number in numbers
    )
    head = "<tr><th>Invoice number</th><th>Issue date</th><th>Due date</th><th>Amount</th><th></th></tr>"
    return answer(f"<table>{head}{rows}</table>{pager}")


def routes_with(pages: dict[str, bytes]) -> dict[str, Route]:
    """A portal whose billing page answers by its query; it has the documents of bills 1 to 9."""

    def show(request: Request) -> bytes:
        return pages.get(request.query, answer("Not here", 404))

    documents = {f"GET /bills/{n}.pdf": answer(PDF + b"%d" % n, content_type="application/pdf") for n in range(1, 10)}
    return ordinary_routes() | {"GET /billing": show} | documents


def numbers(made: Visit) -> list[str | None]:
    return [bill.number for bill in made.outcome.bills if bill.documents]


def test_all_pages_of_the_list_are_read_in_turn():
    pager = '<a href="?p=0">‹</a><a href="?p={}">Next ›</a>'
    pages = {"": list_page(1, 2, pager=pager.format(2)), "p=2": list_page(3, pager=pager.format(3))}
    made = run_import(routes_with(pages | {"p=3": list_page(4)}))
    assert (made.outcome.status, numbers(made)) == (ResultStatus.SUCCESS, ["0001", "0002", "0003", "0004"])
    assert made.portal.count("GET", "/billing") == 3
    assert "found 1 bill in a table and 1 document on page 3" in made.said
    asked = [request for request in made.portal.requests if request.query == "p=3"]
    assert asked[0].headers["referer"].endswith("/billing?p=2")


def test_page_numbers_are_followed_in_order():
    pager = '<div class="pages"><a href="?p=1">1</a> <a href="?p=2">2</a> <a href="?p=3">3</a></div>'
    pages = {"": list_page(1, pager=pager), "p=1": list_page(1, pager=pager)}
    made = run_import(routes_with(pages | {"p=2": list_page(2, pager=pager), "p=3": list_page(3, pager=pager)}))
    assert (made.outcome.status, numbers(made)) == (ResultStatus.SUCCESS, ["0001", "0002", "0003"])
    assert [request.query for request in made.portal.requests if request.path == "/billing"] == ["", "p=2", "p=3"]


def test_list_that_leads_back_to_a_page_ends_there():
    back = '<a rel="next" href="/billing">Next</a>'
    made = run_import(routes_with({"": list_page(1, pager='<a href="?p=2">Next</a>'), "p=2": list_page(2, pager=back)}))
    assert (made.outcome.status, numbers(made)) == (ResultStatus.SUCCESS, ["0001", "0002"])
    assert made.portal.count("GET", "/billing") == 2


def test_last_page_that_is_shown_again_and_again_ends_the_list():
    def show(request: Request) -> bytes:
        number = int(request.query.removeprefix("p=") or 1)
        return list_page(min(number, 3), pager=f'<a href="?p={number + 1}">Next</a>')

    made = run_import(routes_with({}) | {"GET /billing": show})
    assert (made.outcome.status, numbers(made)) == (ResultStatus.SUCCESS, ["0001", "0002", "0003"])
    assert made.portal.count("GET", "/billing") == 4
    assert "page 4 shows nothing new: the list ends here" in made.said


def test_bill_on_two_pages_is_fetched_once():
    pages = {"": list_page(1, 2, pager='<a href="?p=2">Next</a>'), "p=2": list_page(2, 3)}
    made = run_import(routes_with(pages))
    assert numbers(made) == ["0001", "0002", "0003"]
    assert made.portal.count("GET", "/bills/2.pdf") == 1


def test_more_pages_than_allowed_is_never_success():
    def show(request: Request) -> bytes:
        number = int(request.query.removeprefix("p=") or 1)
        return list_page(number, pager=f'<a href="?p={number + 1}">Next</a>')

    made = run_import(routes_with({}) | {"GET /billing": show}, limits=Limits(max_pages=2))
    assert made.outcome.status is ResultStatus.PORTAL_ERROR
    assert made.outcome.error == "the list has more than the 2 pages allowed; the others were not read"
    assert numbers(made) == ["0001", "0002"]


def test_more_bills_than_allowed_is_never_success():
    pages = {"": list_page(1, 2, pager='<a href="?p=2">Next</a>'), "p=2": list_page(3, 4, 5)}
    made = run_import(routes_with(pages), limits=Limits(max_bills=3))
    assert made.outcome.error == "the list has more than the 3 bills allowed; the others were not read"
    assert numbers(made) == ["0001", "0002", "0003"]


def test_page_that_fails_leaves_the_bills_before_it():
    pages = {"": list_page(1, pager='<a href="?p=2">Next</a>')}
    made = run_import(routes_with(pages))
    assert made.outcome.status is ResultStatus.PORTAL_ERROR
    assert made.outcome.error == "page 2 of the bills could not be read: the portal answered 404 Not Found"
    assert numbers(made) == ["0001"]


def test_page_that_asks_to_sign_in_again_is_no_page_of_bills():
    asks_again = answer(LOGIN_PAGE.format(visitor="v9", alert=""))
    made = run_import(routes_with({"": list_page(1, pager='<a href="?p=2">Next</a>'), "p=2": asks_again}))
    assert made.outcome.error == "page 2 of the bills could not be read: the portal asked to sign in again"
    assert made.portal.count("POST", "/login") == 1


def test_pages_behind_a_script_are_spoken_of():
    made = run_import(routes_with({"": list_page(1, pager='<p class="pager"><a href="javascript:go(2)">Next</a></p>')}))
    assert made.outcome.status is ResultStatus.SUCCESS
    [warning] = [line for level, line in made.lines if level is LogLevel.WARNING]
    assert warning == "the list of bills goes on on pages that only a script opens; they were not read"


# Forms


def form_routes(send: Route) -> dict[str, Route]:
    token = '<input type="hidden" name="csrf" value="token-v7">'
    button = f'<form method="post" action="/get">{token}<button>PDF</button></form>'
    page = answer(
        "<table><tr><th>Invoice<th>Date<th>Due date<th>Amount<th></tr>"
        f"<tr><td>0001<td>2026-11-24<td>2026-12-08<td>5,00 €<td>{button}</tr></table>"
    )
    return ordinary_routes() | {"GET /billing": page, "POST /get": send}


def test_document_behind_a_form_is_posted_once_with_its_token():
    named = {"content_type": "application/pdf", "Content_Disposition": 'attachment; filename="march.pdf"'}

    def send(request: Request) -> bytes:
        is_right = (request.form, request.cookies.get("session")) == ({"csrf": "token-v7"}, "ann@example.com")
        return answer(PDF, **named) if is_right else answer("Forbidden", 403)

    made = run_import(form_routes(send))
    assert made.outcome.status is ResultStatus.SUCCESS
    assert [(d.file_name, d.source) for bill in made.outcome.bills for d in bill.documents] == [("march.pdf", None)]
    assert made.portal.count("POST", "/get") == 1
    [request] = [request for request in made.portal.requests if request.path == "/get"]
    assert request.headers["origin"] == made.portal.url
    assert request.headers["referer"].endswith("/billing")
    check_no_secrets(made)


def test_form_that_redirects_to_the_document_is_followed():
    made = run_import(
        form_routes(redirect("/files/1.pdf")) | {"GET /files/1.pdf": answer(PDF, content_type="application/pdf")}
    )
    assert (made.outcome.status, len(made.files)) == (ResultStatus.SUCCESS, 1)


def test_form_is_not_sent_again_whatever_happens_to_it():
    made = run_import(form_routes(answer("Busy", 503)))
    assert (made.outcome.error, made.portal.count("POST", "/get")) == (
        "1 of 1 document could not be downloaded: the portal answered 503 Service Unavailable",
        1,
    )


def test_form_that_is_redirected_with_its_token_is_not_sent_there():
    made = run_import(form_routes(redirect("/other", 307)))
    assert "asked for the form to be sent a second time, to another address" in (made.outcome.error or "")
    assert made.portal.count("POST", "/other") == 0


# Archives


def test_archive_is_kept_as_it_is():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("bill.pdf", PDF)
    routes = ordinary_routes() | {"GET /bills/17.pdf": answer(content.getvalue(), content_type="application/zip")}
    routes["GET /billing"] = answer(
        "<table><tr><th>Invoice<th>Date<th>Amount<th></tr>"
        '<tr><td>0001<td>2026-11-24<td>5,00 €<td><a href="/archive/17.zip">All files</a></tr></table>'
    )
    routes["GET /archive/17.zip"] = answer(content.getvalue(), content_type="application/zip")
    made = run_import(routes)
    [document] = made.outcome.bills[0].documents
    assert (document.file_name, document.content_type) == ("17.zip", "application/zip")
    assert (made.folder / document.file_url).read_bytes() == content.getvalue()
