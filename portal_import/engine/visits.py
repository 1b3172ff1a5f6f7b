"""Conducts one account's visit to its portal, whichever engine makes it: in its time, and with nothing secret said.

An import and a test of the sign-in are such visits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from db.models import LogLevel, ResultCause
from portal_import.engine.addresses import hide_queries
from portal_import.engine.computing import limit_steps
from portal_import.engine.document_links import DocumentLink
from portal_import.engine.errors import VisitError
from portal_import.engine.gate import PortalGate
from portal_import.engine.page import Page
from portal_import.engine.page_notes import note_page
from portal_import.engine.repetition import Report
from portal_import.engine.secrecy import Redactor
from portal_import.engine.storage import DocumentStore
from portal_import.outcomes import AccountLogin, AccountOutcome, Document, Limits, PortalProfile

_MAX_SAID = 1_000

Observe = Callable[[str, Page], None]


def overlook(name: str, page: Page) -> None:
    """An import goes on without a word about each page."""


def overlook_redirect(words: str) -> None:
    """Nor about each redirect."""


@dataclass(frozen=True)
class VisitRules:
    """What holds for one account's visit, whoever makes it. Every request asks the `gate` for its turn.

    `observe` is shown each page on the way to the bills, under the name that people know it by; `observe_redirect` is
    told of each redirect.
    """

    login: AccountLogin
    profile: PortalProfile
    limits: Limits
    report: Report
    redact: Redactor
    gate: PortalGate
    sleep: Callable[[float], Awaitable[None]]
    observe: Observe = overlook
    observe_redirect: Callable[[str], None] = overlook_redirect


class Visitor(AbstractAsyncContextManager[object], Protocol):
    """An engine's way through the portal, signed in as one account, with cookies of its own."""

    @property
    def retry_attempts(self) -> int:
        """How many requests were sent again."""
        ...

    async def open_billing_page(self) -> Page:
        """Sign in once and open the billing page. Raises VisitError when the portal doesn't let the account in."""
        ...

    async def open_page(self, url: str, *, referer: str) -> Page:
        """A further page of bills, whatever its status but the passing ones. Raises VisitError when there is none."""
        ...

    async def download(
        self, link: DocumentLink, storage: DocumentStore, *, referer: str, known: Document | None
    ) -> Document:
        """The document, stored, of a link of the page that was opened last. As `downloads.download_document`."""
        ...


@dataclass(frozen=True)
class VisitEnd:
    """How a visit ended: no failure where it went to its end. `retries` counts the requests that were sent again."""

    failure: AccountOutcome | None
    retries: int


async def conduct_visit(
    login: AccountLogin,
    profile: PortalProfile,
    limits: Limits,
    *,
    report: Report,
    gate: PortalGate,
    sleep: Callable[[float], Awaitable[None]],
    enter: Callable[[VisitRules], Visitor],
    make: Callable[[Visitor, VisitRules], Coroutine[Any, Any, None]],
    observes: bool = False,
) -> VisitEnd:
    """Make the visit with the visitor that `enter` makes. What the portal does wrong is returned, never raised.

    One that `observes` reports all that it sees on the way.
    """
    redact = Redactor(login.password)

    def report_safely(level: LogLevel, line: str) -> None:
        report(level, _cut(redact(hide_queries(line))))

    deadline = asyncio.timeout(limits.account_timeout_seconds)
    rules = VisitRules(login, profile, limits, report_safely, redact, _UntimedGate(gate, deadline), sleep)
    if observes:
        rules = replace(rules, observe=_note_pages(report_safely), observe_redirect=_note_redirects(report_safely))
    visitor = enter(rules)
    failure: AccountOutcome | None = None
    try:
        async with visitor, deadline:
            await limit_steps(make(visitor, rules), limits.step_computing_seconds)
    except VisitError as error:
        # The exception itself is not kept: it would keep all that was at hand, whole pages too.
        failure = _make_failure(error, visitor.retry_attempts, redact)
    except TimeoutError:
        if not deadline.expired():
            raise
        words = f"the account was not finished within {limits.account_timeout_seconds:g} seconds"
        failure = _make_failure(VisitError(words, cause=ResultCause.TIMEOUT), visitor.retry_attempts, redact)
    return VisitEnd(failure, visitor.retry_attempts)


class _UntimedGate:
    """The gate, with what is waited at it added to the account's time."""

    def __init__(self, gate: PortalGate, deadline: asyncio.Timeout) -> None:
        self.postpone = gate.postpone
        self._gate = gate
        self._deadline = deadline

    async def wait_for_turn(self) -> None:
        with self._stopped_clock():
            await self._gate.wait_for_turn()

    async def begin_sign_in(self) -> None:
        with self._stopped_clock():
            await self._gate.begin_sign_in()

    @contextmanager
    def _stopped_clock(self) -> Generator[None]:
        loop, when = asyncio.get_running_loop(), self._deadline.when()
        started = loop.time()
        yield
        if when is not None and not self._deadline.expired():
            self._deadline.reschedule(when + loop.time() - started)


def _note_pages(report: Report) -> Observe:
    def observe(name: str, page: Page) -> None:
        for line in note_page(name, page):
            report(LogLevel.INFO, line)

    return observe


def _note_redirects(report: Report) -> Callable[[str], None]:
    return lambda words: report(LogLevel.INFO, f"  {words}")


def _make_failure(error: VisitError, retries: int, redact: Redactor) -> AccountOutcome:
    said, detail = _cut(redact(str(error))), _cut(redact(hide_queries(error.detail or str(error))))
    return AccountOutcome(error.status, cause=error.cause, error=said, final_error=detail, retry_attempts=retries)


def _cut(text: str) -> str:
    """At most so much is said, however much the portal says. Redacted first: half a password is still a secret."""
    return text if len(text) <= _MAX_SAID else f"{text[: _MAX_SAID - 1]}…"
