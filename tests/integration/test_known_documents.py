"""Documents of an earlier import: not sent again where the portal can tell that they have not changed."""

import asyncio
from collections.abc import Callable

import pytest

from db.models import ResultStatus
from tests.portal_server import PDF, Request, Route, ScriptedPortal, Visit, answer, ordinary_routes, visit

DATED = "Wed, 21 Oct 2026 07:28:00 GMT"
PATH = "/bills/17.pdf"


def import_twice(route: Route, between: Callable[[Visit, ScriptedPortal], None] | None = None) -> tuple[Visit, Visit]:
    """Two imports of one portal, the second knowing what the first has stored."""

    async def scenario() -> tuple[Visit, Visit]:
        async with ScriptedPortal(ordinary_routes() | {f"GET {PATH}": route}) as portal:
            first = await visit(portal)
            if between:
                between(first, portal)
            return first, await visit(portal, after=first)

    return asyncio.run(scenario())


def send(content: bytes, **headers: str) -> bytes:
    return answer(content, content_type="application/pdf", **headers)


def asked(made: Visit) -> list[Request]:
    return [request for request in made.portal.requests if request.path == PATH]


@pytest.mark.parametrize(
    ("headers", "condition"),
    [
        ({"ETag": '"v1"'}, ("if-none-match", '"v1"')),
        ({"ETag": 'W/"v1"'}, ("if-none-match", 'W/"v1"')),
        ({"Last_Modified": DATED}, ("if-modified-since", DATED)),
    ],
)
def test_document_that_has_not_changed_is_not_sent_again(headers: dict[str, str], condition: tuple[str, str]):
    name, value = condition
    first, second = import_twice(
        lambda request: answer(status=304) if request.headers.get(name) == value else send(PDF, **headers)
    )
    assert (second.outcome.status, second.outcome.bills) == (ResultStatus.SUCCESS, first.outcome.bills)
    assert [request.headers.get(name) for request in asked(second)] == [None, value]
    assert "17.pdf has not changed, and was not fetched again" in second.said


@pytest.mark.parametrize("headers", [{"ETag": '"v1"'}, {"Last_Modified": DATED}])
def test_answer_that_ignores_conditions_is_not_read_if_its_headers_tell_all(headers: dict[str, str]):
    first, second = import_twice(send(PDF, **headers))
    assert second.outcome.bills[0].documents == first.outcome.bills[0].documents
    assert "17.pdf has not changed, and was not fetched again" in second.said


def test_document_without_any_sign_is_fetched_and_compared():
    first, second = import_twice(send(PDF))
    assert second.outcome.bills[0].documents == first.outcome.bills[0].documents
    assert "17.pdf was fetched again and has not changed" in second.said
    assert len(second.files) == len(first.files) == 2


def test_document_that_has_changed_is_stored_beside_the_old_one():
    contents = [send(PDF + b"new", ETag='"v2"', Last_Modified=DATED), send(PDF, ETag='"v1"', Last_Modified=DATED)]
    first, second = import_twice(lambda request: contents.pop())
    [old], [new] = first.outcome.bills[0].documents, second.outcome.bills[0].documents
    assert old.sha256 != new.sha256
    assert (new.etag, new.source) == ('"v2"', old.source)
    assert (second.folder / new.file_url).read_bytes() == PDF + b"new"
    assert (second.folder / old.file_url).read_bytes() == PDF


def test_document_whose_file_is_gone_is_fetched_again():
    def lose(first: Visit, portal: ScriptedPortal) -> None:
        (first.folder / first.outcome.bills[0].documents[0].file_url).unlink()

    _, second = import_twice(
        lambda request: answer(status=304) if "if-none-match" in request.headers else send(PDF, ETag='"v1"'), lose
    )
    [document] = second.outcome.bills[0].documents
    assert (second.folder / document.file_url).read_bytes() == PDF
    assert [request.headers.get("if-none-match") for request in asked(second)] == [None, None]


def test_document_that_cannot_be_fetched_today_stays_with_its_bill():
    def break_it(first: Visit, portal: ScriptedPortal) -> None:
        portal.routes[f"GET {PATH}"] = answer("", 404)

    first, second = import_twice(send(PDF), break_it)
    assert second.outcome.status is ResultStatus.PORTAL_ERROR
    assert second.outcome.bills == first.outcome.bills


def test_not_modified_without_having_asked_is_no_document():
    first, second = import_twice(answer(status=304))
    assert (first.outcome.status, second.outcome.status) == (ResultStatus.PORTAL_ERROR, ResultStatus.PORTAL_ERROR)
    assert "the portal answered 304 Not Modified" in (first.outcome.error or "")
