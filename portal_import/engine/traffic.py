"""What a browser's page asks the portal for: tells when it has come to rest, and with which status it was answered."""

import asyncio
import time

from playwright.async_api import Page as Tab
from playwright.async_api import Request, Response

QUIET_SECONDS = 0.4  # without traffic, and with time for scripts to show what came
LONG_POLL_SECONDS = 10.0  # a request that takes longer waits for news
_POLL_SECONDS = 0.05
# Images and fonts show nothing new, and streams never end.
_COUNTED = frozenset({"document", "stylesheet", "script", "xhr", "fetch", "other"})


_ABANDONED = "ERR_ABORTED"  # by the page itself, when it went on to another


class Traffic:
    """The requests of one tab. `count` is how many there were; `document_status` is of the newest document."""

    def __init__(self, tab: Tab) -> None:
        self._tab = tab
        self._under_way: dict[Request, float] = {}
        self._last_change = time.monotonic()
        self._answers: dict[str, Response] = {}
        self.post_failure: str | None = None
        self.count = 0
        self.document_status = 200
        self.document_type = ""
        tab.on("request", self._note_request)
        tab.on("response", self._note_response)
        tab.on("requestfinished", self._note_end)
        tab.on("requestfailed", self._note_failure)

    def find_answer_to_post(self, url: str) -> Response | None:
        """What the newest POST to that address was answered with."""
        return self._answers.get(url)

    async def settle(self, within_seconds: float) -> None:
        """Return when the page has come to rest, or the time is over."""
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline and not self.is_quiet():
            await asyncio.sleep(_POLL_SECONDS)

    def is_quiet(self) -> bool:
        """Whether the page has come to rest."""
        now = time.monotonic()
        if now - self._last_change < QUIET_SECONDS:
            return False
        return all(now - since > LONG_POLL_SECONDS for since in self._under_way.values())

    def _note_request(self, request: Request) -> None:
        if request.resource_type in _COUNTED:
            self.count += 1
            self._under_way[request] = self._last_change = time.monotonic()

    def _note_response(self, response: Response) -> None:
        request = response.request
        if request.method == "POST":
            self._answers[request.url] = response
        is_document = request.resource_type == "document" and request.frame == self._tab.main_frame
        if is_document and not 300 <= response.status < 400:
            self.document_status = response.status
            self.document_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()

    def _note_failure(self, request: Request) -> None:
        self._note_end(request)
        if request.method == "POST" and request.failure and _ABANDONED not in request.failure:
            self.post_failure = request.failure

    def _note_end(self, request: Request) -> None:
        if self._under_way.pop(request, None) is not None:
            self._last_change = time.monotonic()
