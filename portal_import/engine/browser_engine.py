"""The browser engine: imports one account of a portal with the system's Chromium, for pages that scripts build.

Pages are opened by the browser and read as the http engine reads them. Documents are fetched by the http client
with the browser's cookies and name, so that they are streamed, capped and stored like all others.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self

from playwright.async_api import Cookie as KeptCookie
from playwright.async_api import Page as BrowserPage

from portal_import.engine.account_visit import visit_account
from portal_import.engine.browser_downloads import press_for_document
from portal_import.engine.browser_errors import explained
from portal_import.engine.browser_proxy import BrowserProxy
from portal_import.engine.browser_sign_in import open_billing_page, shows_bills
from portal_import.engine.chromium import Chromium
from portal_import.engine.client import Cookie, PortalClient
from portal_import.engine.document_links import DocumentLink
from portal_import.engine.downloads import download_document
from portal_import.engine.gate import PortalGate
from portal_import.engine.page import Page
from portal_import.engine.password_watch import PasswordWatch
from portal_import.engine.pdf_reader import PdfReader
from portal_import.engine.repetition import Repetition, Report
from portal_import.engine.sign_in_test import visit_for_test
from portal_import.engine.storage import DocumentStore
from portal_import.engine.tab import Tab
from portal_import.engine.visits import VisitRules
from portal_import.outcomes import AccountLogin, AccountOutcome, Document, Limits, PortalProfile, SignInTest


class BrowserEngine:
    """Imports accounts with a browser that runs already.

    The gate is asked for a turn before each page that is opened, the sign-in form and each document; what a page asks
    for by itself comes as it pleases.
    """

    def __init__(self, chromium: Chromium) -> None:
        self._enter = partial(_BrowserVisitor, chromium)

    async def import_account(
        self,
        login: AccountLogin,
        profile: PortalProfile,
        limits: Limits,
        storage: DocumentStore,
        *,
        report: Report,
        gate: PortalGate,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        pdfs: PdfReader | None = None,
    ) -> AccountOutcome:
        """As `http_engine.import_account`."""
        return await visit_account(
            login,
            profile,
            limits,
            storage,
            report=report,
            gate=gate,
            sleep=sleep,
            enter=self._enter,
            pdfs=pdfs,
        )

    async def try_sign_in(
        self,
        login: AccountLogin,
        profile: PortalProfile,
        limits: Limits,
        *,
        report: Report,
        gate: PortalGate,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> SignInTest:
        """As `http_engine.try_sign_in`."""
        return await visit_for_test(login, profile, limits, report=report, gate=gate, sleep=sleep, enter=self._enter)


class _BrowserVisitor:
    """One account's own browser context, and the client that fetches its documents."""

    def __init__(self, chromium: Chromium, rules: VisitRules) -> None:
        self._chromium = chromium
        self._rules = rules
        self._repetition = Repetition(rules.limits, report=rules.report, sleep=rules.sleep)
        self._proxy = BrowserProxy(rules.limits)
        self._client = PortalClient(
            rules.limits,
            report=rules.report,
            gate=rules.gate,
            sleep=rules.sleep,
            user_agent=chromium.user_agent,
        )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(self._client)
            await opened.enter_async_context(self._proxy)
            async with explained(self._rules.limits):
                self._context = await self._chromium.open_context(self._proxy.settings)
            opened.push_async_callback(self._chromium.close_context, self._context)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    @property
    def retry_attempts(self) -> int:
        return self._repetition.attempts + self._client.retry_attempts

    async def open_billing_page(self) -> Page:
        rules = self._rules
        async with explained(rules.limits):
            page = await self._context.new_page()
            self._context.on("page", _close_other)
            watch = PasswordWatch(await self._context.new_cdp_session(page), rules.login.password)
        self._tab = Tab(page, self._proxy, rules.limits, self._repetition, rules.gate)
        return await open_billing_page(self._tab, watch, rules)

    async def open_page(self, url: str, *, referer: str) -> Page:
        return (await self._tab.open(url, referer=referer, is_complete=shows_bills)).page

    async def download(
        self, link: DocumentLink, storage: DocumentStore, *, referer: str, known: Document | None
    ) -> Document:
        limits = self._rules.limits
        if link.control is not None:
            await self._rules.gate.wait_for_turn()
            self._proxy.allow_more(limits.max_file_bytes)
            return await press_for_document(self._tab, link.control, limits, storage)
        async with explained(limits):
            kept = await self._context.cookies()
        self._client.replace_cookies([_read_cookie(cookie) for cookie in kept])
        return await download_document(self._client, link, limits, storage, referer=referer, known=known)


def _read_cookie(kept: KeptCookie) -> Cookie:
    return Cookie(
        name=kept.get("name", ""),
        value=kept.get("value", ""),
        domain=kept.get("domain", ""),
        path=kept.get("path", "/"),
        is_secure=kept.get("secure", False),
    )


async def _close_other(page: BrowserPage) -> None:
    """Windows that pages open by themselves are not visited."""
    await page.close()
