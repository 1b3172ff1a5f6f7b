"""A browser's page as the page readers want it: opened politely, at rest, as HTML, its controls at hand."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import ElementHandle, Error, JSHandle, Response
from playwright.async_api import Page as BrowserPage

from db.models import ResultCause, ResultStatus
from portal_import.engine.addresses import show
from portal_import.engine.browser_errors import explain_browser_error, explained
from portal_import.engine.browser_proxy import BrowserProxy
from portal_import.engine.errors import PassingError, VisitError, cause_of_status, describe_status
from portal_import.engine.gate import PortalGate
from portal_import.engine.page import CONTROL_MARK, Element, Page
from portal_import.engine.repetition import PASSING_STATUSES, RESTING_STATUSES, Repetition, read_retry_after
from portal_import.engine.traffic import Traffic
from portal_import.outcomes import Limits

BUILT_WITHIN_SECONDS = 8.0  # how long scripts may take to show what a page is for
_LOOK_AGAIN_SECONDS = 0.25
_SNAPSHOT = (Path(__file__).parent / "snapshot.js").read_text()


@dataclass(frozen=True)
class Snapshot:
    """The page as it was at one moment; `live` holds the browser's own elements."""

    page: Page
    live: JSHandle

    async def find(self, element: Element) -> ElementHandle:
        """The browser's element for a control of the page. Raises VisitError for what is none."""
        return await self.find_control(int(element.get(CONTROL_MARK, "-1")))

    async def find_control(self, number: int) -> ElementHandle:
        """The browser's element of that number. Raises VisitError where there is none."""
        found = await self.live.evaluate_handle("(live, number) => live[number]", number)
        handle = found.as_element()
        if handle is None:
            words = "what a selector of this portal finds is neither a field nor a button"
            raise VisitError(words, ResultStatus.PORTAL_CHANGED, cause=ResultCause.SELECTOR)
        return handle


class Tab:
    """The one page that an account's visit uses."""

    def __init__(
        self,
        browser_page: BrowserPage,
        proxy: BrowserProxy,
        limits: Limits,
        repetition: Repetition,
        gate: PortalGate,
    ) -> None:
        self.browser_page = browser_page
        self.traffic = Traffic(browser_page)
        self.forms_sent = 0
        self.newest: Snapshot | None = None
        self._proxy = proxy
        self._limits = limits
        self._repetition = repetition
        self._gate = gate

    async def open(self, url: str, *, referer: str | None = None, is_complete: Callable[[Page], bool]) -> Snapshot:
        """The page at `url` once it is complete, or has had its time. Raises VisitError when there is none."""

        async def open_once() -> None:
            await self._open(url, referer)

        await self._repetition.run(open_once)
        return await self.look(is_complete)

    async def look(self, is_complete: Callable[[Page], bool]) -> Snapshot:
        """The page that is open, once scripts have built what it is for, or have had their time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + BUILT_WITHIN_SECONDS
        while True:
            await self.traffic.settle(self._limits.request_timeout_seconds)
            if self._proxy.overflow is not None:
                raise self._proxy.overflow
            snapshot = await self._take_snapshot(is_last=loop.time() > deadline)
            is_over = loop.time() > deadline
            if snapshot is not None and (is_over or (is_complete(snapshot.page) and self.traffic.is_quiet())):
                return snapshot
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def find_answer_to_post(self, url: str | None) -> int | None:
        """The status of the answer to what was sent to that address; None when there was none."""
        response = self.traffic.find_answer_to_post(url) if url is not None else None
        if response is None:
            return None
        await self._heed_retry_after(response)
        return response.status

    def explain_failed_post(self) -> VisitError | None:
        """Why the newest form that was sent was not answered; None when it was."""
        failure = self.traffic.post_failure
        if failure is None:
            return None
        seconds = self._limits.request_timeout_seconds
        return self._proxy.failure or explain_browser_error(Error(failure), seconds)

    async def _open(self, url: str, referer: str | None) -> None:
        await self._gate.wait_for_turn()
        self._proxy.failure = None
        seconds = self._limits.request_timeout_seconds
        try:
            response = await self.browser_page.goto(
                url, referer=referer, wait_until="domcontentloaded", timeout=seconds * 1000
            )
        except Error as error:
            # The proxy knows why a connection was not made, the browser only that it was not.
            raise self._proxy.overflow or self._proxy.failure or explain_browser_error(error, seconds) from None
        if response is None:
            return
        wait_seconds = await self._heed_retry_after(response)
        if response.status in PASSING_STATUSES:
            answered = describe_status(response.status)
            raise PassingError(
                f"the portal answered {answered}",
                detail=f"GET {show(url)}: {answered}",
                wait_seconds=wait_seconds,
                cause=cause_of_status(response.status),
            )

    async def _heed_retry_after(self, response: Response) -> float | None:
        """The seconds after which the portal wants to see anybody again."""
        seconds = read_retry_after(response.headers.get("retry-after", ""), response.headers.get("date", ""))
        if seconds and response.status in RESTING_STATUSES:
            await self._gate.postpone(seconds)
        return seconds

    async def _take_snapshot(self, *, is_last: bool) -> Snapshot | None:
        """The page as it is; None when it went away meanwhile, unless that was the last chance."""
        limit = self._limits.max_page_bytes
        async with explained(self._limits):
            try:
                taken = await self.browser_page.evaluate_handle(_SNAPSHOT, [limit, CONTROL_MARK])
                html, url = await taken.evaluate("({ html, url }) => [html, url]")
                live = await taken.get_property("live")
            except Error as error:
                if is_last or "Execution context was destroyed" not in error.message:
                    raise
                return None
        if html is None:
            raise VisitError(f"the page is larger than {limit:,} bytes", detail=show(url))
        traffic = self.traffic
        page = Page(url, traffic.document_status, traffic.document_type, "utf-8", html, is_live=True)
        self.newest = Snapshot(page, live)
        return self.newest
