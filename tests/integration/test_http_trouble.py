"""Portals that are down, slow, endless or busy, and the requests that are repeated."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from db.models import LogLevel, ResultStatus
from portal_import.outcomes import Limits
from tests.portal_server import (
    BILLING_PAGE,
    HTML,
    Request,
    Route,
    ScriptedPortal,
    Visit,
    answer,
    check_failed,
    endless,
    fail_first,
    ordinary_routes,
    redirect,
    run_import,
    visit,
)

IMPATIENT = Limits(request_timeout_seconds=0.2, max_retries=1)


def test_portal_that_is_down():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    async def scenario() -> Visit:
        portal = ScriptedPortal({})
        portal.url = f"http://127.0.0.1:{port}"
        return await visit(portal)

    made = asyncio.run(scenario())
    check_failed(made, ResultStatus.PORTAL_ERROR, "the portal could not be reached: connection refused")
    assert made.outcome.retry_attempts == 3
    assert made.waits == [1.0, 2.0, 4.0]


def test_portal_whose_name_is_unknown():
    async def scenario() -> Visit:
        portal = ScriptedPortal({})
        portal.url = "http://no-such-portal.invalid"
        return await visit(portal, limits=IMPATIENT)

    assert "could not be reached: its host name was not found" in (asyncio.run(scenario()).outcome.error or "")


def test_portal_that_speaks_no_tls():
    async def scenario() -> Visit:
        async with ScriptedPortal({}) as portal:
            portal.url = portal.url.replace("http:", "https:")
            return await visit(portal, limits=IMPATIENT)

    check_failed(asyncio.run(scenario()), ResultStatus.PORTAL_ERROR, "no secure connection to the portal could be made")


def test_portal_with_a_certificate_of_its_own_making(tmp_path: Path):
    async def scenario() -> Visit:
        async with ScriptedPortal(ordinary_routes(), make_tls(tmp_path)) as portal:
            return await visit(portal)

    made = asyncio.run(scenario())
    check_failed(made, ResultStatus.PORTAL_ERROR, "the portal's certificate is not valid, so nothing was sent to it")
    assert made.portal.requests == []
    assert made.outcome.retry_attempts == 0


def make_tls(folder: Path) -> ssl.SSLContext:
    """TLS with a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = builder.not_valid_before(now).not_valid_after(now + timedelta(hours=1)).sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    (folder / "tls.pem").write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(encoding)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    return context


def test_portal_that_speaks_no_http():
    made = run_import({"GET /login": b"220 smtp.example ready\r\n\r\n"})
    check_failed(made, ResultStatus.PORTAL_ERROR, "the portal's answer is not valid HTTP")


def test_portal_that_never_answers():
    async def hang(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    made = run_import({"GET /login": hang}, limits=IMPATIENT)
    check_failed(made, ResultStatus.PORTAL_ERROR, "the portal did not answer within 0.2 seconds")
    assert made.portal.count("GET", "/login") == 2


def test_portal_that_hangs_midway_runs_into_the_account_timeout():
    async def hang_midway(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n\r\n%PDF-")
        await asyncio.Event().wait()

    routes = ordinary_routes() | {"GET /bills/18.pdf": hang_midway}
    made = run_import(routes, limits=Limits(account_timeout_seconds=0.7))
    check_failed(made, ResultStatus.PORTAL_ERROR, "the account was not finished within 0.7 seconds")
    assert [bill.bill_key for bill in made.outcome.bills] == ["00017"]
    assert len(made.files) == 1


@pytest.mark.parametrize(
    ("status", "words"), [(500, "500 Internal Server Error"), (503, "503 Service Unavailable"), (403, "403 Forbidden")]
)
def test_error_status_is_named(status: int, words: str):
    made = run_import({"GET /login": answer("<h1>No</h1>", status)})
    assert made.outcome.status is ResultStatus.PORTAL_ERROR
    assert f"the portal answered {words}" in (made.outcome.error or "")
    assert made.outcome.retry_attempts == (3 if status == 503 else 0)


def test_page_that_is_gone_means_the_portal_changed():
    made = run_import({})
    check_failed(made, ResultStatus.PORTAL_CHANGED, "the sign-in page: the portal answered 404 Not Found")
    made = run_import(ordinary_routes() | {"GET /billing": answer("gone", 404)})
    check_failed(made, ResultStatus.PORTAL_CHANGED, "the billing page: the portal answered 404 Not Found")


def test_redirects_in_a_circle_end():
    made = run_import({"GET /login": redirect("/a?token=1"), "GET /a": redirect("/login")})
    check_failed(made, ResultStatus.PORTAL_ERROR, "the portal redirects in a circle")
    assert len(made.portal.requests) == 2


def test_redirects_without_end_are_cut_off():
    routes: dict[str, Route] = {f"GET /{n}": redirect(f"/{n + 1}") for n in range(50)}
    made = run_import(routes, login_path="/0")
    check_failed(made, ResultStatus.PORTAL_ERROR, "the portal redirected more than 10 times")
    assert len(made.portal.requests) == 11


@pytest.mark.parametrize("location", ["", "file:///etc/passwd", "http://[bad"])
def test_redirect_to_nowhere(location: str):
    made = run_import({"GET /login": redirect(location)})
    assert made.outcome.status is ResultStatus.PORTAL_ERROR
    assert "the portal redirected" in (made.outcome.error or "")


def test_page_over_the_cap_is_cut_off():
    sent: list[int] = []
    made = run_import({"GET /login": endless(HTML, sent)}, limits=Limits(max_page_bytes=100_000))
    check_failed(made, ResultStatus.PORTAL_ERROR, "the page is larger than 100,000 bytes")
    assert sum(sent) < 20_000_000


def test_error_page_with_status_200_is_not_taken_for_bills():
    made = run_import(ordinary_routes() | {"GET /billing": answer('<p class="error">Oops, that did not work</p>')})
    assert made.outcome.status is ResultStatus.PORTAL_CHANGED
    assert made.outcome.error == (
        "signed in, but no bill documents or billing table were recognised on the billing page:"
        " “Oops, that did not work”"
    )


def test_busy_page_is_asked_again_as_told():
    busy = answer("busy", 503, Retry_After="1")
    made = run_import(ordinary_routes() | {"GET /billing": fail_first(2, busy, answer(BILLING_PAGE))})
    assert (made.outcome.status, made.outcome.retry_attempts) == (ResultStatus.SUCCESS, 2)
    assert made.waits == [1.0, 1.0]
    assert (LogLevel.WARNING, "the portal answered 503 Service Unavailable; trying again in 1 seconds") in made.lines


def test_retry_after_may_be_a_date():
    busy = answer(
        "busy", 429, Retry_After="Tue, 24 Nov 2026 10:00:30 GMT", Date="Tue, 24 Nov 2026 10:00:10 GMT"
    )  # fmt: skip
    made = run_import(ordinary_routes() | {"GET /billing": fail_first(1, busy, answer(BILLING_PAGE))})
    assert made.waits == [20.0]


@pytest.mark.parametrize("value", ["soon", "-1", "Tue, 99 Foo 2026", "1.5"])
def test_retry_after_that_makes_no_sense_is_ignored(value: str):
    busy = answer("busy", 503, Retry_After=value)
    made = run_import(ordinary_routes() | {"GET /billing": fail_first(1, busy, answer(BILLING_PAGE))})
    assert made.waits == [1.0]


def test_retry_after_beyond_the_limit_ends_the_visit():
    made = run_import(ordinary_routes() | {"GET /billing": answer("busy", 503, Retry_After="3600")})
    check_failed(
        made,
        ResultStatus.PORTAL_ERROR,
        "the portal answered 503 Service Unavailable and asked to come back in 3600 seconds",
    )
    assert made.waits == []
