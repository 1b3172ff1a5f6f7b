"""One account at a sound portal, and what the caller does."""

import asyncio
import gzip
import hashlib
from pathlib import Path

import pytest

from db.models import ResultStatus
from portal_import.outcomes import Limits
from tests.portal_server import (
    BILLING_PAGE,
    PDF,
    OpenGate,
    Request,
    ScriptedPortal,
    Visit,
    answer,
    check_no_secrets,
    ordinary_routes,
    redirect,
    run_import,
    visit,
)


def test_account_is_imported():
    made = run_import(ordinary_routes())
    assert (made.outcome.status, made.outcome.error, made.outcome.final_error) == (ResultStatus.SUCCESS, None, None)
    assert [(bill.bill_key, str(bill.amount), bill.currency) for bill in made.outcome.bills] == [
        ("00017", "1234.56", "EUR"),
        ("00018", "7.00", "EUR"),
    ]
    [document] = made.outcome.bills[0].documents
    assert (document.file_name, document.content_type, document.size_bytes) == (
        "17.pdf",
        "application/pdf",
        len(PDF) + 2,
    )
    assert document.sha256 == hashlib.sha256(PDF + b"17").hexdigest()
    assert (made.folder / document.file_url).read_bytes() == PDF + b"17"
    assert len(made.files) == 2
    assert [(request.method, request.path) for request in made.portal.requests] == [
        ("GET", "/login"), ("POST", "/login"), ("GET", "/home"), ("GET", "/billing"),
        ("GET", "/bills/17.pdf"), ("GET", "/bills/18.pdf"),
    ]  # fmt: skip
    assert made.gate.turns == len(made.portal.requests)
    assert made.waits == []
    check_no_secrets(made)


def test_sign_in_names_itself_and_where_it_comes_from():
    made = run_import(ordinary_routes())
    post = made.portal.requests[1]
    assert post.headers["origin"] == made.portal.url
    assert post.headers["referer"] == f"{made.portal.url}/login"
    assert "Punctual/" in post.headers["user-agent"]


def test_gzip_pages_and_another_encoding_are_read():
    page = BILLING_PAGE.replace("Issue date", "Fällig").encode("iso-8859-15", "xmlcharrefreplace")
    routes = ordinary_routes() | {
        "GET /billing": answer(
            gzip.compress(page), content_type="text/html; charset=iso-8859-15", Content_Encoding="gzip"
        )
    }
    made = run_import(routes)
    assert made.outcome.status is ResultStatus.SUCCESS
    assert "Fällig" in made.outcome.bills[0].fields


def test_account_without_bills_is_no_error():
    made = run_import(ordinary_routes() | {"GET /billing": answer("<p>There are no bills yet.</p>")})
    assert made.outcome.status is ResultStatus.NO_BILLS
    assert made.outcome.error is None


def test_document_outside_of_rows_is_a_bill_by_its_name():
    page = BILLING_PAGE + '<a href="/bills/17.pdf?annual=1" download="annual.pdf">x</a>'
    made = run_import(ordinary_routes() | {"GET /billing": answer(page)})
    assert [bill.bill_key for bill in made.outcome.bills] == ["00017", "00018", "annual.pdf"]


def test_link_that_only_may_be_a_document_may_be_a_page():
    page = BILLING_PAGE.replace("</td></tr>", '<a href="/invoice/1">Invoice details</a></td></tr>')
    made = run_import(ordinary_routes() | {"GET /billing": answer(page), "GET /invoice/1": answer("<h1>Details</h1>")})
    assert made.outcome.status is ResultStatus.SUCCESS
    assert "/invoice/1 is a web page, not a document: passed over" in made.said


def test_page_after_sign_in_may_fail():
    made = run_import(ordinary_routes() | {"GET /home": redirect("/home")})
    assert made.outcome.status is ResultStatus.SUCCESS
    assert "the page after the sign-in could not be read: the portal redirects in a circle" in made.said


def test_redirect_back_to_the_same_page_with_a_cookie_is_no_circle():
    def show_billing(request: Request) -> bytes:
        if "tour" not in request.cookies:
            return redirect("/billing", Set_Cookie="tour=seen; Path=/")
        return answer(BILLING_PAGE)

    assert run_import(ordinary_routes() | {"GET /billing": show_billing}).outcome.status is ResultStatus.SUCCESS


def test_cookies_are_never_shared_between_accounts():
    routes = ordinary_routes(ann="one", bob="two")

    async def scenario() -> list[Visit]:
        async with ScriptedPortal(routes) as portal:
            return await asyncio.gather(
                *(
                    visit(portal, username=f"{name}@example.com", password=word)
                    for name, word in (("ann", "one"), ("bob", "two"), ("ann", "two"))
                )
            )

    made = asyncio.run(scenario())
    assert [one.outcome.status for one in made] == [
        ResultStatus.SUCCESS, ResultStatus.SUCCESS, ResultStatus.WRONG_CREDENTIALS,
    ]  # fmt: skip
    sessions = [request.cookies.get("session") for request in made[0].portal.requests]
    visitors = [request.cookies["visitor"] for request in made[0].portal.requests if request.path == "/billing"]
    assert sessions.count("ann@example.com") == sessions.count("bob@example.com") == 4
    assert len(set(visitors)) == 3


def test_what_the_caller_raises_is_passed_on():
    class ClosedGate(OpenGate):
        async def wait_for_turn(self) -> None:
            raise LookupError("lost the lease")

    with pytest.raises(LookupError, match="lost the lease"):
        run_import(ordinary_routes(), gate=ClosedGate())


def test_waiting_for_a_turn_does_not_count_as_the_portals_time():
    class SlowGate(OpenGate):
        async def wait_for_turn(self) -> None:
            await super().wait_for_turn()
            await asyncio.sleep(0.4)

    made = run_import(ordinary_routes(), gate=SlowGate(), limits=Limits(account_timeout_seconds=2))
    assert made.gate.turns == 6
    assert made.outcome.status is ResultStatus.SUCCESS


def test_storage_that_fails_is_not_the_portals_fault(tmp_path: Path):
    (tmp_path / "taken").write_bytes(b"")
    made = run_import(ordinary_routes(), storage_url=(tmp_path / "taken").as_uri())
    assert made.outcome.status is ResultStatus.FAILED
    assert "the storage could not be written" in (made.outcome.error or "")
