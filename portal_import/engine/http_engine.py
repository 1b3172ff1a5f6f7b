"""The http engine: imports one account of a portal over plain HTTP, without a browser."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from portal_import.engine.account_visit import visit_account
from portal_import.engine.client import PortalClient
from portal_import.engine.document_links import DocumentLink
from portal_import.engine.downloads import download_document
from portal_import.engine.gate import PortalGate
from portal_import.engine.page import Page
from portal_import.engine.pdf_reader import PdfReader
from portal_import.engine.repetition import Report
from portal_import.engine.sign_in_test import visit_for_test
from portal_import.engine.signin import open_billing_page
from portal_import.engine.storage import DocumentStore
from portal_import.engine.visits import VisitRules
from portal_import.outcomes import AccountLogin, AccountOutcome, Document, Limits, PortalProfile, SignInTest


async def import_account(
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
    """Sign in once, read the billing page, store every document, and say how that ended.

    Nothing that a portal does is raised; what `report` and `gate` raise is, but for VisitErrors. `report` gets
    lines for people, free of passwords, cookies and query strings; `sleep` waits before a repeated request. `pdfs`
    is shared with other accounts of a run; without it the visit has one of its own.
    """
    return await visit_account(
        login, profile, limits, storage, report=report, gate=gate, sleep=sleep, enter=_HttpVisitor, pdfs=pdfs
    )


async def try_sign_in(
    login: AccountLogin,
    profile: PortalProfile,
    limits: Limits,
    *,
    report: Report,
    gate: PortalGate,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> SignInTest:
    """Sign in once, open the billing page and report what was seen on the way; store nothing. Else as an import."""
    return await visit_for_test(login, profile, limits, report=report, gate=gate, sleep=sleep, enter=_HttpVisitor)


class _HttpVisitor:
    """One account's own HTTP client."""

    def __init__(self, rules: VisitRules) -> None:
        self._rules = rules
        self._client = PortalClient(
            rules.limits,
            report=rules.report,
            gate=rules.gate,
            sleep=rules.sleep,
            observe_redirect=rules.observe_redirect,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    @property
    def retry_attempts(self) -> int:
        return self._client.retry_attempts

    async def open_billing_page(self) -> Page:
        rules = self._rules
        return await open_billing_page(
            self._client,
            rules.login,
            rules.profile,
            report=rules.report,
            redact=rules.redact,
            observe=rules.observe,
        )

    async def open_page(self, url: str, *, referer: str) -> Page:
        return await self._client.get_page(url, referer=referer)

    async def download(
        self, link: DocumentLink, storage: DocumentStore, *, referer: str, known: Document | None
    ) -> Document:
        return await download_document(self._client, link, self._rules.limits, storage, referer=referer, known=known)
