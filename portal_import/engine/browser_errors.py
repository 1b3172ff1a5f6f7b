"""What Chromium and Playwright say when something goes wrong, in the words of the http engine."""

import asyncio
import builtins
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from playwright.async_api import Error, TimeoutError

from db.models import ResultCause, ResultStatus
from portal_import.engine.addresses import hide_queries
from portal_import.engine.errors import PassingError, VisitError
from portal_import.outcomes import Limits

_NET_ERROR = re.compile(r"net::(ERR_\w+)")
_PASSING = {
    "ERR_NAME_NOT_RESOLVED": "the portal could not be reached: its host name was not found",
    "ERR_CONNECTION_REFUSED": "the portal could not be reached: connection refused",
    "ERR_CONNECTION_TIMED_OUT": "the portal could not be reached: connection timed out",
    "ERR_ADDRESS_UNREACHABLE": "the portal could not be reached: no route to host",
    "ERR_EMPTY_RESPONSE": "the portal closed the connection without an answer",
    "ERR_CONNECTION_RESET": "the connection to the portal failed: connection reset by peer",
    "ERR_CONNECTION_CLOSED": "the portal closed the connection without an answer",
    "ERR_INCOMPLETE_CHUNKED_ENCODING": "the portal's answer broke off before its end",
    "ERR_CONTENT_LENGTH_MISMATCH": "the portal's answer broke off before its end",
}
_LASTING = {
    "ERR_TOO_MANY_REDIRECTS": "the portal redirects in a circle",
    "ERR_INVALID_REDIRECT": "the portal redirected to something that is no web address",
    "ERR_UNSAFE_REDIRECT": "the portal redirected to something that is no web address",
    "ERR_UNSAFE_PORT": "the portal's address has a port that no browser connects to",
    "ERR_SSL_PROTOCOL_ERROR": "no secure connection to the portal could be made",
}
CRASHED = "the browser's page crashed, most likely for lack of memory"


def explain_browser_error(error: Error, timeout_seconds: float) -> VisitError:
    """The VisitError that stands for Playwright's; a PassingError where it may pass.

    Only its first line is kept: the log that follows may quote what was typed.
    """
    line = hide_queries((error.message.splitlines() or [""])[0].strip())
    found = _NET_ERROR.search(line)
    code = found[1] if found else ""
    if isinstance(error, TimeoutError):
        return PassingError(
            f"the portal did not answer within {timeout_seconds:g} seconds", detail=line, cause=ResultCause.TIMEOUT
        )
    if code in _PASSING:
        return PassingError(_PASSING[code], detail=line, cause=ResultCause.UNREACHABLE)
    if code in _LASTING:
        return VisitError(_LASTING[code], detail=line)
    if code.startswith("ERR_CERT_"):
        return VisitError(
            "the portal's certificate is not valid, so nothing was sent to it", detail=line, cause=ResultCause.INSECURE
        )
    if code.startswith("ERR_SSL_"):
        return VisitError("no secure connection to the portal could be made", detail=line, cause=ResultCause.INSECURE)
    if "Download is starting" in line:
        return VisitError("the address leads to a file instead of a page", ResultStatus.PORTAL_CHANGED, detail=line)
    if "crashed" in line or "has been closed" in line:
        return VisitError(CRASHED, detail=line)
    if code:
        return PassingError(f"the portal could not be reached ({code})", detail=line, cause=ResultCause.UNREACHABLE)
    return VisitError("the browser could not do what the portal's page needs", detail=line)


@asynccontextmanager
async def explained(limits: Limits, action: str | None = None) -> AsyncGenerator[None]:
    """Turn Playwright's exceptions into VisitErrors; give up on a page whose scripts never pause.

    `action` says what the page did not let happen where Playwright waited for it in vain.
    """
    seconds = limits.request_timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            yield
    except Error as error:
        # Without the original: its text, and what it was raised from, may quote what was typed.
        if action is not None and isinstance(error, TimeoutError):
            raise VisitError(action, ResultStatus.PORTAL_CHANGED, cause=ResultCause.SELECTOR) from None
        raise explain_browser_error(error, seconds) from None
    except builtins.TimeoutError:
        raise VisitError(
            f"the portal's page kept the browser busy for {seconds:g} seconds", cause=ResultCause.TIMEOUT
        ) from None
