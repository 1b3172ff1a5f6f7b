"""Portals that are hostile on the wire: redirects, drips, floods, lies about lengths, connections that break."""

import asyncio

import pytest

from tests.hostile.attacks import Importer, reset_connection
from tests.portal_server import HTML, PDF, Request, Route, answer, ordinary_routes, redirect

KILOBYTES = 1024


def test_redirects_without_end_each_to_a_new_address(importer: Importer):
    def send_on(request: Request) -> bytes:
        return redirect(f"{request.path}x?{request.query}y")

    routes: dict[str, Route] = {"GET /login" + "x" * n: send_on for n in range(20)}
    made = importer.attack(routes)
    assert (made.status, made.error) == ("portal_error", "the portal redirected more than 10 times")
    assert len(made.requests) == 11


class AnyPath(dict[str, Route]):
    """Routes of a portal that answers everywhere in the same way."""

    def __init__(self, route: Route) -> None:
        super().__init__()
        self._route = route

    def get(self, key: str, default: object = None) -> Route:
        return self._route


@pytest.mark.parametrize("repeated", ["a", "http://", "%C3%A4", "//", "?"])
def test_redirects_to_ever_longer_addresses(importer: Importer, repeated: str):
    lengths = iter(range(1, 20))

    def send_on(request: Request) -> bytes:
        return redirect("/login/" + repeated * (next(lengths) * 6_000 // len(repeated)))

    made = importer.attack(AnyPath(send_on))
    assert made.status == "portal_error"
    assert made.error == "the portal redirected to an address of more than 8,000 characters"
    assert len(made.requests) == 2


def test_long_address_is_not_repeated_in_full(importer: Importer):
    address = "/" + "x" * 7_000
    made = importer.attack({"GET /login": redirect(address), f"GET {address}": answer("<p>no form here")})
    assert made.status == "portal_changed"
    assert (made.error or "").startswith("no sign-in form found at http://127.0.0.1")
    assert (made.error or "").endswith("x…")


def test_answer_that_cannot_be_read_is_not_quoted(importer: Importer):
    # What an HTTP library quotes of it may be the session's cookie.
    made = importer.attack({"GET /login": b"HTTP/1.1 200 OK\r\nSet Cookie: session=T0PSECRET; Path=/\r\n\r\n"})
    assert (made.status, made.error) == ("portal_error", "the portal's answer is not valid HTTP")
    assert made.detail == "ClientResponseError: Invalid header token"


@pytest.mark.parametrize("part", ["head", "page"])
def test_answer_that_drips(importer: Importer, part: str):
    async def drip(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\n" if part == "head" else b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
        )
        while True:
            writer.write(b"X-Drip: 1\r\n" if part == "head" else b"<p>drip")
            await writer.drain()
            await asyncio.sleep(0.05)

    made = importer.attack({"GET /login": drip}, request_timeout_seconds=0.5, account_timeout_seconds=2)
    assert made.status == "portal_error"


def test_document_that_drips(importer: Importer):
    async def drip(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n\r\n%PDF-")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    made = importer.attack(ordinary_routes() | {"GET /bills/18.pdf": drip}, account_timeout_seconds=1)
    assert (made.status, made.error) == ("portal_error", "the account was not finished within 1 seconds")
    assert [key for key, _ in made.bills] == ["00017"]
    assert len(made.files) == 1


@pytest.mark.parametrize("path", ["/login", "/billing", "/bills/17.pdf"])
def test_body_without_end_is_hung_up_on_at_the_cap(importer: Importer, path: str):
    sent: list[int] = []
    routes = ordinary_routes() | {f"GET {path}": endless(sent, "application/pdf" if "pdf" in path else HTML)}
    made = importer.attack(routes, max_page_bytes=1_000_000, max_file_bytes=2_000_000)
    assert made.status == "portal_error"
    assert "larger than" in (made.error or "")
    assert sum(sent) < 20_000_000  # the cap, and what the kernel's buffers took


def test_two_gigabytes_against_a_cap_of_fifty_megabytes(importer: Importer):
    sent: list[int] = []
    announced = endless([], "application/pdf", 2 * 1024**3)
    routes = ordinary_routes() | {
        "GET /bills/17.pdf": endless(sent, "application/pdf"),
        "GET /bills/18.pdf": announced,
    }
    made = importer.attack(routes, max_file_bytes=50 * KILOBYTES**2, megabytes=40)
    assert made.status == "portal_error"
    assert made.error == (
        "2 of 2 documents could not be downloaded: the file is larger than the 52,428,800 bytes allowed; "
        "the file has 2,147,483,648 bytes, more than the 52,428,800 allowed"
    )
    assert 50_000_000 < sum(sent) < 75_000_000
    assert made.files == []


def endless(sent: list[int], content_type: str, length: int | None = None) -> Route:
    async def send(request: Request, writer: asyncio.StreamWriter) -> None:
        announced = f"Content-Length: {length}\r\n" if length else ""
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{announced}\r\n%PDF-".encode())
        while True:
            writer.write(b"<p>x" * 16384)
            await writer.drain()
            sent.append(65536)

    return send


@pytest.mark.parametrize(
    ("length", "status"), [("5000000", "portal_error"), ("10", "portal_error"), ("-1", "portal_error"),
                           ("99999999999999999999999999", "portal_error"), ("0x10", "portal_error")]
)  # fmt: skip
def test_page_with_a_wrong_length(importer: Importer, length: str, status: str):
    made = importer.attack({"GET /login": answer("<p>hello</p>" * 100, Content_Length=length)})
    assert made.status == status


@pytest.mark.parametrize(("length", "is_stored"), [(len(PDF) + 1000, False), (100, False)])
def test_document_with_a_wrong_length(importer: Importer, length: int, is_stored: bool):
    lie = answer(PDF, content_type="application/pdf", Content_Length=str(length))
    made = importer.attack(ordinary_routes() | {"GET /bills/17.pdf": lie})
    assert (made.status, len(made.files)) == ("portal_error", 1 + is_stored)
    assert (made.error or "").startswith("1 of 2 documents could not be downloaded: ")


def test_two_lengths_that_differ(importer: Importer):
    lie = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello" + b"x" * 45
    made = importer.attack({"GET /login": lie})
    assert (made.status, made.error) == ("portal_error", "the portal's answer is not valid HTTP")


@pytest.mark.parametrize("chunk", [b"ffffffffffffffff\r\n", b"zz\r\nhello", b"-5\r\nhello", b"5" * 10_000])
def test_chunks_that_lie(importer: Importer, chunk: bytes):
    lie = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk
    made = importer.attack({"GET /login": lie})
    assert made.status == "portal_error"


@pytest.mark.parametrize("line", [b"X-%d: y\r\n", b"Set-Cookie: c%d=" + b"v" * 4000 + b"; Path=/\r\n", b"X-%d" * 16000])
def test_headers_without_end(importer: Importer, line: bytes):
    sent: list[int] = []

    async def flood(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            lines = b"".join(line.replace(b"%d", b"%d" % (len(sent) * 10 + n)) for n in range(10))
            writer.write(lines)
            await writer.drain()
            sent.append(len(lines))

    made = importer.attack({"GET /login": flood})
    assert (made.status, made.error) == ("portal_error", "the portal's answer is not valid HTTP")
    assert sum(sent) < 20_000_000


def test_cookies_by_the_thousand(importer: Importer):
    numbers = iter(range(100_000))

    def set_cookies(request: Request) -> bytes:
        cookies = "".join(f"Set-Cookie: c{next(numbers)}={'v' * 4000}; Path=/\r\n" for _ in range(100))
        head = f"HTTP/1.1 303 See Other\r\nLocation: /login?{next(numbers)}\r\n{cookies}Content-Length: 0\r\n\r\n"
        return head.encode()

    made = importer.attack({"GET /login": set_cookies})
    assert made.status == "portal_error"
    assert max(len(request.headers.get("cookie", "")) for request in made.requests) < 64 * KILOBYTES
    assert made.error == "the portal set cookies of more than 262,144 bytes"


STAGES = {
    "at the sign-in page": "GET /login",
    "at the sign-in": "POST /login",
    "after the sign-in": "GET /home",
    "at the billing page": "GET /billing",
    "at a document": "GET /bills/17.pdf",
}


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Ty", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n%PDF-"]
)
@pytest.mark.parametrize("stage", STAGES)
def test_connection_reset(importer: Importer, stage: str, sent: bytes):
    async def reset(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()
        reset_connection(writer)

    made = importer.attack(ordinary_routes() | {STAGES[stage]: reset})
    assert made.status == ("success" if stage == "after the sign-in" else "portal_error")
    assert made.count("POST", "/login") == (stage != "at the sign-in page")
    if stage == "at the sign-in":
        assert (made.error or "").startswith("the sign-in failed and was not sent a second time: ")
    if stage == "at a document":
        assert [names for _, names in made.bills] == [[], ["18.pdf"]]


@pytest.mark.parametrize(("connections", "stage"), list(enumerate(STAGES)), ids=list(STAGES))  # one a request
def test_connection_reset_as_soon_as_it_is_made(importer: Importer, connections: int, stage: str):
    made = importer.attack(ordinary_routes(), connections=connections)
    assert made.status == "portal_error"
    assert len(made.requests) == connections
    if stage == "at the sign-in":
        assert (made.error or "").startswith("the sign-in failed and was not sent a second time: ")
    if stage == "at a document":
        assert [names for _, names in made.bills] == [[], []]
