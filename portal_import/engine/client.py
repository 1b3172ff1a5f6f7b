"""HTTP for one account: its own cookie jar, capped reads, bounded redirects, repeated GETs.

A GET may be repeated; what carries the password for the first time is sent exactly once, whatever happens to it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from http.cookies import Morsel
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
from yarl import URL

from portal_import.engine.addresses import origin, show
from portal_import.engine.errors import (
    PassingError,
    VisitError,
    cause_of_status,
    describe_status,
    explain_request_error,
)
from portal_import.engine.gate import PortalGate
from portal_import.engine.networks import make_socket_factory
from portal_import.engine.page import Page, decode_page
from portal_import.engine.redirects import REDIRECT_STATUSES, Redirect, read_redirect
from portal_import.engine.refreshes import find_refresh
from portal_import.engine.repetition import PASSING_STATUSES, RESTING_STATUSES, Repetition, Report, read_retry_after
from portal_import.engine.request_headers import site_of, with_referer
from portal_import.engine.submission import Submission
from portal_import.outcomes import Limits
from settings import VERSION

USER_AGENT = f"Punctual/{VERSION} (scheduled bill import)"
CHUNK_BYTES = 64 * 1024
# Portals behind large single sign-on systems send headers beyond aiohttp's 8 kB.
MAX_HEADER_BYTES = 64 * 1024
MAX_COOKIE_BYTES = 256 * 1024  # more than browsers keep of one site; all of it would go with every request
READ_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})

T = TypeVar("T")
Reader = Callable[[aiohttp.ClientResponse], Awaitable[T]]
PAGE_HEADERS = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.5", "Accept-Language": "en,*;q=0.5"}
# Asking for no compression makes Content-Length the size of the file itself.
FILE_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Cookie:
    """As a browser keeps it: a domain that begins with a dot counts for the hosts below it, too."""

    name: str
    value: str = field(repr=False)
    domain: str
    path: str
    is_secure: bool


class PortalClient:
    """What one account sends to its portal. `retry_attempts` counts the GETs that were repeated."""

    def __init__(
        self,
        limits: Limits,
        *,
        report: Report,
        gate: PortalGate,
        sleep: Callable[[float], Awaitable[None]],
        observe_redirect: Callable[[str], None] = lambda words: None,
        user_agent: str = USER_AGENT,
    ) -> None:
        self._limits = limits
        self._gate = gate
        self._user_agent = user_agent
        self._has_begun_sign_in = False
        self._observe_redirect = observe_redirect
        self._authorisation: tuple[tuple[str, str, int], str] | None = None
        self._repetition = Repetition(limits, report=report, sleep=sleep)
        # unsafe: hosts that are IP addresses may set cookies too. Values go back as they came.
        self._jar = aiohttp.CookieJar(unsafe=True, quote_cookie=False)
        self._session = self._make_session(force_close=False)

    @property
    def retry_attempts(self) -> int:
        return self._repetition.attempts

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    def replace_cookies(self, cookies: Iterable[Cookie]) -> None:
        """Go on with these cookies and no others."""
        self._jar.clear()
        for cookie in cookies:
            morsel: Morsel[str] = Morsel()
            morsel.set(cookie.name, cookie.value, cookie.value)
            morsel["path"], morsel["secure"] = cookie.path, cookie.is_secure
            if cookie.domain.startswith("."):  # else it is the host's alone
                morsel["domain"] = cookie.domain
            host = cookie.domain.removeprefix(".")
            address = URL.build(scheme="https" if cookie.is_secure else "http", host=host, path=cookie.path)
            self._jar.update_cookies([(cookie.name, morsel)], address)

    async def get_page(self, url: str, *, referer: str | None = None) -> Page:
        """The page at `url`, whatever its status but the passing ones, after redirects and what pages pass on to.

        Raises VisitError when there is none.
        """
        return await self.get(url, self._read_page_or_refresh, referer=referer, headers=PAGE_HEADERS)

    def authorise(self, url: str, header: str) -> None:
        """Send this Authorization header with every request to the URL's origin from now on, and to no other."""
        self._authorisation = origin(url), header

    def withdraw_authorisation(self) -> None:
        """Send it no more."""
        self._authorisation = None

    async def get(
        self,
        url: str,
        read: Reader[T | Redirect],
        *,
        referer: str | None = None,
        headers: dict[str, str] = FILE_HEADERS,
    ) -> T:
        """What `read` makes of the answer at `url`, after redirects. Raises VisitError.

        `read` is called again for each repetition, so it must be able to start anew.
        """
        seen: set[object] = set()
        for _ in range(self._limits.max_redirects + 1):
            # A portal may send a visitor back to the same URL once it has set a cookie: that is no loop.
            state = (url, frozenset((morsel.key, morsel["domain"], morsel.value) for morsel in self._jar))
            if state in seen:
                raise VisitError("the portal redirects in a circle", detail=f"redirected to {show(url)} again")
            seen.add(state)
            sent = with_referer(headers, url, referer)
            found = await self._repetition.run(partial(self._get_once, url, read, sent))
            if not isinstance(found, Redirect):
                return found
            self._observe_redirect(f"redirected {found.how} to {show(found.url)}")
            url = found.url
        raise VisitError(
            f"the portal redirected more than {self._limits.max_redirects} times", detail=f"last to {show(url)}"
        )

    async def send_once(self, submission: Submission, *, referer: str) -> Page | str:
        """Send what signs in and return its answer, or the URL that the answer redirects to. Never repeated.

        The answer's URL has no query: by GET, that holds the password.
        """
        read = self._read_page_or_refresh
        found = await self._send_form(submission, read, referer=referer, headers=PAGE_HEADERS, has_password=True)
        if isinstance(found, Redirect):
            self._observe_redirect(f"redirected {found.how} to {show(found.url)}")
            return found.url
        return replace(found, url=found.url.partition("?")[0])

    async def post_for_file(self, submission: Submission, read: Reader[T], *, referer: str) -> T:
        """What `read` makes of the form's answer, after redirects. The form is sent once. Raises VisitError."""
        found = await self._send_form(submission, read, referer=referer, headers=FILE_HEADERS, has_password=False)
        return await self.get(found.url, read, referer=referer) if isinstance(found, Redirect) else found

    async def _send_form(
        self,
        submission: Submission,
        read: Reader[T | Redirect],
        *,
        referer: str,
        headers: dict[str, str],
        has_password: bool,
    ) -> T | Redirect:
        """What `read` makes of the form's answer, or where that redirects to. Sent once, to no second address."""
        if submission.body is not None:
            headers = headers | {"Content-Type": submission.content_type, "Origin": site_of(referer)}
        # A connection kept open since the page before may be closed by the portal at this very moment,
        # and then nobody knows whether the form arrived. A new connection has no such past.
        session = self._make_session(force_close=True)
        headers = with_referer(headers, submission.url, referer)
        async with (
            session,
            self._send(
                session, submission.method, submission.url, headers, submission.body, has_password=has_password
            ) as response,
        ):
            if response.status in (307, 308) and submission.body is not None:
                what = "password" if has_password else "form"
                raise VisitError(
                    f"the portal asked for the {what} to be sent a second time, to another address",
                    detail=f"{describe_status(response.status)} to {show(submission.url)}",
                )
            if response.status in REDIRECT_STATUSES:
                return read_redirect(response)
            return await read(response)

    async def _get_once(self, url: str, read: Reader[T | Redirect], headers: dict[str, str]) -> T | Redirect:
        async with self._send(self._session, "GET", url, headers) as response:
            if response.status in REDIRECT_STATUSES:
                return read_redirect(response)
            if response.status in PASSING_STATUSES:
                sent = response.headers
                raise PassingError(
                    f"the portal answered {describe_status(response.status)}",
                    detail=f"GET {show(url)}: {describe_status(response.status)}",
                    wait_seconds=read_retry_after(sent.get("Retry-After", ""), sent.get("Date", "")),
                    cause=cause_of_status(response.status),
                )
            return await read(response)

    @asynccontextmanager
    async def _send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | None = None,
        *,
        has_password: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request and yield its answer, aiohttp's exceptions turned into VisitErrors."""
        await self._gate.wait_for_turn()
        if has_password and not self._has_begun_sign_in:
            await self._gate.begin_sign_in()
            self._has_begun_sign_in = True
        if self._authorisation is not None and self._authorisation[0] == origin(url):
            headers = headers | {"Authorization": self._authorisation[1]}
        try:
            address = _parse_url(url)
            async with session.request(method, address, headers=headers, data=body, allow_redirects=False) as response:
                await self._heed_retry_after(response)
                try:
                    self._check_cookies(url)
                    _check_encoding(response)
                    yield response
                finally:
                    # An answer that was not read to its end is hung up on, never drained.
                    if not response.content.at_eof():
                        response.close()
        except (aiohttp.ClientError, OSError) as error:
            raise explain_request_error(error, self._limits.request_timeout_seconds) from error

    async def _heed_retry_after(self, response: aiohttp.ClientResponse) -> None:
        """A portal that says when to come back says it to all who visit it."""
        if response.status in RESTING_STATUSES:
            seconds = read_retry_after(response.headers.get("Retry-After", ""), response.headers.get("Date", ""))
            if seconds:
                await self._gate.postpone(seconds)

    def _check_cookies(self, url: str) -> None:
        size = sum(len(morsel.key) + len(morsel.value) for morsel in self._jar)
        if size > MAX_COOKIE_BYTES:
            raise VisitError(
                f"the portal set cookies of more than {MAX_COOKIE_BYTES:,} bytes",
                detail=f"{len(self._jar):,} cookies of {size:,} bytes after {show(url)}",
            )

    async def _read_page(self, response: aiohttp.ClientResponse) -> Page:
        limit = self._limits.max_page_bytes
        body = bytearray()
        async with asyncio.timeout(self._limits.request_timeout_seconds):
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                body += chunk
                if len(body) > limit:
                    raise VisitError(f"the page is larger than {limit:,} bytes", detail=show(str(response.url)))
        content_type = response.headers.get("Content-Type", "")
        page = decode_page(str(response.url), response.status, content_type, bytes(body))
        return replace(page, challenges=tuple(response.headers.getall("WWW-Authenticate", [])))

    async def _read_page_or_refresh(self, response: aiohttp.ClientResponse) -> Page | Redirect:
        page = await self._read_page(response)
        url = find_refresh(page, response.headers.get("Refresh", "")) if page.is_ok else None
        return page if url is None else Redirect(url, "by the page itself")

    def _make_session(self, *, force_close: bool) -> aiohttp.ClientSession:
        seconds = self._limits.request_timeout_seconds
        guard = make_socket_factory(allows_private=self._limits.allows_private_networks)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=force_close, socket_factory=guard),
            cookie_jar=self._jar,
            headers={"User-Agent": self._user_agent},
            # Between two reads, not for the whole answer: a large file may take its time.
            timeout=aiohttp.ClientTimeout(total=None, connect=seconds, sock_connect=seconds, sock_read=seconds),
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )


def _check_encoding(response: aiohttp.ClientResponse) -> None:
    """What aiohttp cannot decode it passes on as it came, for a page that nobody could read."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in READ_ENCODINGS:
        raise VisitError(f"the portal compressed its answer in a way that was not asked for ({encoding[:40]})")


def _parse_url(url: str) -> URL:
    try:
        return URL(url, encoded=True)
    except ValueError as error:
        raise VisitError("an address that the portal gave is not valid", detail=show(url)) from error
