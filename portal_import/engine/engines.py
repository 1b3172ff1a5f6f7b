"""The engines by which a run visits a portal: http for most, a browser where a portal is set to it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from db.models import Engine
from portal_import.engine import http_engine
from portal_import.engine.errors import EngineUnavailableError
from portal_import.engine.gate import PortalGate
from portal_import.engine.pdf_reader import PdfReader
from portal_import.engine.repetition import Report
from portal_import.engine.storage import DocumentStore
from portal_import.outcomes import AccountLogin, AccountOutcome, Limits, PortalProfile, SignInTest

MAX_BROWSER_ACCOUNTS = 2  # at once in a run, whatever the portal allows: each takes a core and some 200 MB
NO_PLAYWRIGHT = (
    "this portal is set to the browser engine, which needs Playwright and Chromium where the run is executed: install"
    " them (.venv/bin/python -m pip install --require-hashes -r requirements-browser.txt, apt-get install chromium),"
    " or set the portal to the http engine"
)


class AccountEngine(Protocol):
    """What a run needs of an engine; `http_engine` says what each does."""

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
        """Sign in once, read the billing page, store every document."""
        ...

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
        """Sign in once, open the billing page and report what was seen."""
        ...


@asynccontextmanager
async def open_engine(name: str) -> AsyncGenerator[AccountEngine]:
    """The engine, as long as the context lasts. Raises EngineUnavailableError, which says what to do."""
    if name != Engine.BROWSER:
        yield http_engine
        return
    try:  # Playwright is an optional package, and no other run is to load it
        from portal_import.engine.browser_engine import BrowserEngine
        from portal_import.engine.chromium import start_chromium
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "playwright":
            raise
        raise EngineUnavailableError(NO_PLAYWRIGHT) from None
    async with start_chromium() as chromium:
        yield BrowserEngine(chromium)


def limit_accounts_at_once(name: str, allowed: int) -> int:
    """How many accounts the engine imports at once where the portal allows so many."""
    return min(allowed, MAX_BROWSER_ACCOUNTS) if name == Engine.BROWSER else allowed
