"""A portal on loopback that does exactly what a test scripts, down to the bytes, and one import from it."""

import asyncio
import contextlib
import shutil
import ssl
import tempfile
import threading
import weakref
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field, replace
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs

from db.models import LogLevel, ResultStatus
from portal_import.engine.http_engine import import_account
from portal_import.engine.storage import DocumentStore
from portal_import.outcomes import AccountLogin, AccountOutcome, Limits, PortalProfile

USERNAME = "ann@example.com"
PASSWORD = "p4ss&wörd <1>"
ANSWER_SECONDS = 60
HTML = "text/html; charset=utf-8"
TLS_HANDSHAKE = b"\x16"
PDF = b"%PDF-1.4\n" + b"x" * 2000 + b"\n%%EOF\n"

LOGIN_PAGE = (
    '<h1>Sign in</h1><form method="post" action="/login"><input type="hidden" name="csrf" value="token-{visitor}">'
    '<input name="email" type="email"><input name="pass" type="password"><button>Sign in</button></form>{alert}'
)
BILLING_PAGE = """<table><tr><th>Invoice number</th><th>Issue date</th><th>Due date</th><th>Amount</th><th></th></tr>
<tr><td>00017</td><td>2026-11-24</td><td>2026-12-08</td><td>1.234,56 €</td><td><a href="/bills/17.pdf">PDF</a></td></tr>
<tr><td>00018</td><td>2026-12-24</td><td>2027-01-07</td><td>7,00 €</td><td><a href="/bills/18.pdf">PDF</a></td></tr>
</table>"""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode(), keep_blank_values=True).items()}

    @property
    def cookies(self) -> dict[str, str]:
        return {name: morsel.value for name, morsel in SimpleCookie(self.headers.get("cookie", "")).items()}


Script = Callable[[Request, asyncio.StreamWriter], Awaitable[bytes | None]]
Route = bytes | Callable[[Request], bytes] | Script


def answer(body: str | bytes = b"", status: int = 200, content_type: str = HTML, **headers: str) -> bytes:
    """A whole HTTP answer. Header names are given with underscores: `Retry_After="1"`."""
    content = body.encode() if isinstance(body, str) else body
    lines = {"Content-Type": content_type, "Content-Length": str(len(content)), "Connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode("utf-8", "surrogateescape") + content


def redirect(location: str, status: int = 303, **headers: str) -> bytes:
    return answer(status=status, Location=location, **headers)


class ScriptedPortal:
    """Serves `routes`, keyed `GET /path`; `requests` is what came in, in order."""

    def __init__(self, routes: dict[str, Route], tls: ssl.SSLContext | None = None) -> None:
        self.routes = routes
        self.tls = tls
        self.requests: list[Request] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def count(self, method: str, path: str) -> int:
        return sum((request.method, request.path) == (method, path) for request in self.requests)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                first_byte = await reader.readexactly(1)
                if first_byte == TLS_HANDSHAKE:
                    writer.write(answer("Speak HTTP", 400))
                else:
                    await self._answer(await _read_request(first_byte, reader), writer)
            finally:
                writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        route = self.routes.get(f"{request.method} {request.path}", answer("Not here", 404))
        result: object = route
        if callable(route):
            result = route(request, writer) if asyncio.iscoroutinefunction(route) else route(request)  # type: ignore
            if asyncio.iscoroutine(result):
                result = await result
        if isinstance(result, bytes):
            writer.write(result)
            await writer.drain()


@contextlib.contextmanager
def served_in_thread(portal: ScriptedPortal) -> Generator[None]:
    """The portal answers while the block is in progress, also to other processes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="portal")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(portal.__aenter__(), loop).result(ANSWER_SECONDS)
        yield
        asyncio.run_coroutine_threadsafe(portal.__aexit__(), loop).result(ANSWER_SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(ANSWER_SECONDS)


async def _read_request(first_byte: bytes, reader: asyncio.StreamReader) -> Request:
    head = (first_byte + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    path, _, query = target.partition("?")
    return Request(method, path, query, headers, body)


def ordinary_routes(**accounts: str) -> dict[str, Route]:
    """A sound portal: a CSRF token bound to a visitor cookie, a session cookie, a page with two bills."""
    passwords = {f"{name}@example.com": password for name, password in accounts.items()} or {USERNAME: PASSWORD}
    visitors: list[str] = []

    def show_login(request: Request) -> bytes:
        visitors.append(f"v{len(visitors)}")
        cookie = f"visitor={visitors[-1]}; Path=/; HttpOnly"
        return answer(LOGIN_PAGE.format(visitor=visitors[-1], alert=""), Set_Cookie=cookie)

    def sign_in(request: Request) -> bytes:
        if request.form["csrf"] != f"token-{request.cookies.get('visitor')}":
            return answer("<h1>This form has expired</h1>", 403)
        if passwords.get(request.form["email"]) != request.form["pass"]:
            alert = '<p role="alert">E-mail or password is not correct.</p>'
            return answer(LOGIN_PAGE.format(visitor=request.cookies["visitor"], alert=alert))
        return redirect("/home", Set_Cookie=f"session={request.form['email']}; Path=/")

    def only_signed_in(content: bytes) -> Callable[[Request], bytes]:
        return lambda request: content if request.cookies.get("session") in passwords else redirect("/login", 302)

    return {
        "GET /login": show_login,
        "POST /login": sign_in,
        "GET /home": only_signed_in(answer("<h1>Hello</h1>")),
        "GET /billing": only_signed_in(answer(BILLING_PAGE)),
        "GET /bills/17.pdf": only_signed_in(answer(PDF + b"17", content_type="application/pdf")),
        "GET /bills/18.pdf": only_signed_in(answer(PDF + b"18", content_type="application/pdf")),
    }


@dataclass
class OpenGate:
    """Lets everything through at once, and notes what it was asked."""

    turns: int = 0
    sign_ins: int = 0
    postponed: list[float] = field(default_factory=list)

    async def wait_for_turn(self) -> None:
        self.turns += 1

    async def begin_sign_in(self) -> None:
        self.sign_ins += 1

    async def postpone(self, seconds: float) -> None:
        self.postponed.append(seconds)


@dataclass
class Visit:
    """One import and all that it left behind."""

    outcome: AccountOutcome
    portal: ScriptedPortal
    folder: Path
    lines: list[tuple[LogLevel, str]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    gate: OpenGate = field(default_factory=OpenGate)

    @property
    def said(self) -> str:
        return "\n".join(line for _, line in self.lines)

    @property
    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())


async def visit(
    portal: ScriptedPortal,
    *,
    username: str = USERNAME,
    password: str = PASSWORD,
    profile: PortalProfile = PortalProfile(),  # noqa: B008 (frozen)
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    login_path: str = "/login",
    billing_path: str = "/billing",
    storage_url: str | None = None,
    gate: OpenGate | None = None,
    after: Visit | None = None,
) -> Visit:
    """Import one account from a running portal; `after` is an earlier import, whose documents are known.

    Waits before repetitions are noted, not waited.
    """
    folder = after.folder if after else Path(tempfile.mkdtemp())
    login = AccountLogin(username, password, portal.url + login_path, portal.url + billing_path)
    if after:
        documents = [document for bill in after.outcome.bills for document in bill.documents]
        known = {document.source: document for document in documents if document.source}
        login = replace(login, known_documents=known, bills_before=len(after.outcome.bills))
    made = Visit(AccountOutcome(None), portal, folder, gate=gate or OpenGate())  # type: ignore[arg-type]
    if not after:
        weakref.finalize(made, shutil.rmtree, folder, ignore_errors=True)

    async def note_wait(seconds: float) -> None:
        made.waits.append(seconds)

    made.outcome = await import_account(
        login,
        profile,
        limits,
        DocumentStore(storage_url or folder.as_uri()),
        report=lambda level, line: made.lines.append((level, line)),
        gate=made.gate,
        sleep=note_wait,
    )
    return made


def run_import(routes: dict[str, Route], **options: object) -> Visit:
    """Start a portal with these routes and import one account from it."""

    async def scenario() -> Visit:
        async with ScriptedPortal(routes) as portal:
            return await visit(portal, **options)  # type: ignore[arg-type]

    return asyncio.run(scenario())


def check_failed(made: Visit, status: ResultStatus, error: str) -> None:
    """The import ended so, for a reason, said without any secret."""
    assert (made.outcome.status, made.outcome.error) == (status, error)
    assert made.outcome.final_error
    check_no_secrets(made)


def check_no_secrets(made: Visit) -> None:
    spoken = f"{made.said}\n{made.outcome!r}"
    for secret in (PASSWORD, "p4ss", "token-v", "session=", "visitor=", "?", "p4ss%26"):
        assert secret not in spoken


def endless(content_type: str, sent: list[int], length: int | None = None) -> Route:
    async def send(request: Request, writer: asyncio.StreamWriter) -> None:
        announced = f"Content-Length: {length}\r\n" if length else ""
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{announced}\r\n%PDF-".encode())
        for _ in range(2 * 1024**3 // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent.append(65536)

    return send


def fail_first(times: int, failure: bytes, success: bytes) -> Route:
    left = [failure] * times
    return lambda request: left.pop() if left else success


def sign_in_page(text: str) -> bytes:
    return answer(LOGIN_PAGE.format(visitor="v0", alert=f'<div class="alert alert-danger">{text}</div>'))
