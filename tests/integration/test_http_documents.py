"""Documents that are too large, break off, or are something else."""

import pytest

from db.models import ResultStatus
from portal_import.outcomes import Limits, PortalProfile
from tests.portal_server import PDF, answer, check_failed, endless, fail_first, ordinary_routes, redirect, run_import


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (None, "the file is larger than the 1,000,000 bytes allowed"),
        (2 * 1024**3, "the file has 2,147,483,648 bytes, more than the 1,000,000 allowed"),
    ],
)
def test_document_over_the_cap_is_cut_off(length: int | None, words: str):
    sent: list[int] = []
    routes = ordinary_routes() | {"GET /bills/18.pdf": endless("application/pdf", sent, length)}
    made = run_import(routes, limits=Limits(max_file_bytes=1_000_000))
    assert made.outcome.status is ResultStatus.PORTAL_ERROR
    assert made.outcome.error == f"1 of 2 documents could not be downloaded: {words}"
    assert sum(sent) < 20_000_000
    assert made.outcome.retry_attempts == 0
    assert len(made.files) == 1
    assert [len(bill.documents) for bill in made.outcome.bills] == [1, 0]


def broken_off(headers: str, body: bytes) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n{headers}\r\n".encode() + body


@pytest.mark.parametrize(
    "broken",
    [
        broken_off("Content-Length: 5000\r\n", PDF),
        broken_off("Transfer-Encoding: chunked\r\n", b"8\r\n%PDF-1.4\r\n"),
        broken_off("", PDF[:1500]),
        answer(b"", content_type="application/pdf"),
    ],
)
def test_document_that_breaks_off_is_fetched_again(broken: bytes):
    good = answer(PDF, content_type="application/pdf")
    made = run_import(ordinary_routes() | {"GET /bills/17.pdf": fail_first(2, broken, good)})
    assert (made.outcome.status, made.outcome.retry_attempts) == (ResultStatus.SUCCESS, 2)
    assert (made.folder / made.outcome.bills[0].documents[0].file_url).read_bytes() == PDF


def test_document_that_always_breaks_off_is_never_kept():
    made = run_import(ordinary_routes() | {"GET /bills/17.pdf": broken_off("Content-Length: 5000\r\n", PDF)})
    check_failed(
        made,
        ResultStatus.PORTAL_ERROR,
        "1 of 2 documents could not be downloaded: the portal's answer broke off before its end",
    )
    assert made.outcome.retry_attempts == 3
    assert [path.read_bytes() for path in made.files] == [PDF + b"18"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (answer("<h1>Error</h1>"), "a web page instead of the document"),
        (answer("\n<!DOCTYPE html><p>Error", content_type="application/pdf"), "a web page instead of the document"),
        (answer('{"error": 1}', content_type="application/json"), "something else than a PDF (application/json)"),
        (answer("", 404), "404 Not Found"),
        (answer("", 500), "500 Internal Server Error"),
        (redirect("/login"), "a web page instead of the document"),
    ],
)
def test_answer_that_is_not_the_document_is_an_error(content: bytes, words: str):
    made = run_import(ordinary_routes() | {"GET /bills/17.pdf": content})
    assert made.outcome.status is ResultStatus.PORTAL_ERROR
    assert words in (made.outcome.error or "")
    assert [bill.bill_key for bill in made.outcome.bills] == ["00017", "00018"]
    assert len(made.files) == 1


def test_more_documents_than_allowed_is_never_success():
    made = run_import(ordinary_routes(), limits=Limits(max_documents=1))
    assert made.outcome.status is ResultStatus.PORTAL_ERROR
    assert "links 2 documents, more than the 1 allowed" in (made.outcome.error or "")
    assert len(made.files) == 1


def test_document_gets_its_name_from_the_answer():
    named = answer(
        PDF, content_type="application/octet-stream", Content_Disposition="attachment; filename*=UTF-8''M%C3%A4rz.pdf"
    )
    made = run_import(ordinary_routes() | {"GET /bills/17.pdf": named})
    [document] = made.outcome.bills[0].documents
    assert (document.file_name, document.content_type) == ("März.pdf", "application/pdf")


def test_link_selector_decides_what_is_downloaded():
    made = run_import(ordinary_routes(), profile=PortalProfile(link_selector='a[href$="18.pdf"]'))
    assert [len(bill.documents) for bill in made.outcome.bills] == [0, 1]
