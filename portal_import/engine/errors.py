"""Everything that can go wrong at a portal, in words for a person."""

import errno
import os
import re
import socket
from http import HTTPStatus

import aiohttp

from db.models import ResultCause, ResultStatus
from portal_import.engine.addresses import hide_queries
from portal_import.engine.networks import explain_refusal_of_addresses

# aiohttp quotes the bytes that it could not read, cookies among them.
_QUOTED_BYTES = re.compile(r"""[\s:]*\bb['"].*""", re.DOTALL)


class VisitError(Exception):
    """The visit can't go on. `status` and `cause` are what that means for the account, `detail` the technical error."""

    def __init__(
        self,
        message: str,
        status: ResultStatus = ResultStatus.PORTAL_ERROR,
        *,
        detail: str | None = None,
        cause: ResultCause | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail
        self.cause = cause


class PassingError(VisitError):
    """May pass by itself, so a GET is worth repeating, after `wait_seconds` where the portal says so."""

    def __init__(
        self,
        message: str,
        *,
        detail: str | None = None,
        wait_seconds: float | None = None,
        cause: ResultCause | None = None,
    ) -> None:
        super().__init__(message, detail=detail, cause=cause)
        self.wait_seconds = wait_seconds


class EngineUnavailableError(Exception):
    """The portal's engine can't be used where the run is executed; the message says what to do."""


def describe_status(status: int) -> str:
    """`503 Service Unavailable`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def cause_of_status(status: int) -> ResultCause | None:
    """What a failing status says of the portal."""
    if status == 429:
        return ResultCause.BUSY
    if status in (404, 410):
        return ResultCause.PAGE_GONE
    return ResultCause.SERVER_ERROR if status >= 500 else None


def explain_request_error(error: aiohttp.ClientError | OSError, timeout_seconds: float) -> VisitError:
    """The VisitError that stands for an exception of aiohttp; a PassingError where it may pass."""
    said = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    detail = hide_queries(f"{type(error).__name__}: {_QUOTED_BYTES.sub('', said)}".rstrip(": "))
    if isinstance(error, TimeoutError):
        return PassingError(
            f"the portal did not answer within {timeout_seconds:g} seconds", detail=detail, cause=ResultCause.TIMEOUT
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        words = "the portal's certificate is not valid, so nothing was sent to it"
        return VisitError(words, detail=detail, cause=ResultCause.INSECURE)
    if isinstance(error, aiohttp.ClientSSLError):
        words = "no secure connection to the portal could be made"
        return VisitError(words, detail=detail, cause=ResultCause.INSECURE)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _unreachable("the portal could not be reached: its host name was not found", detail)
    if isinstance(error, aiohttp.ClientConnectorError):
        return explain_connection_error(error.host, error.os_error, detail)
    if isinstance(error, aiohttp.ClientPayloadError):
        return _unreachable("the portal's answer broke off before its end", detail)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return _unreachable("the portal closed the connection without an answer", detail)
    if isinstance(error, OSError):
        return _unreachable(f"the connection to the portal failed: {_describe_os_error(error)}", detail)
    if isinstance(error, aiohttp.InvalidURL):
        return VisitError("an address that the portal gave is not valid", detail=detail)
    return VisitError("the portal's answer is not valid HTTP", detail=detail)


def explain_connection_error(host: str, error: OSError, detail: str) -> VisitError:
    """Why no connection to the host could be made."""
    refusal = explain_refusal_of_addresses(error)
    if refusal is not None:
        words = f"nothing was sent to {host}: {refusal}"
        return VisitError(words, detail=detail, cause=ResultCause.FORBIDDEN_ADDRESS)
    return _unreachable(f"the portal could not be reached: {_describe_os_error(error)}", detail)


def _unreachable(words: str, detail: str) -> PassingError:
    return PassingError(words, detail=detail, cause=ResultCause.UNREACHABLE)


def _describe_os_error(error: OSError) -> str:
    cause = getattr(error, "os_error", error)
    if isinstance(cause, socket.gaierror):
        return "its host name was not found"
    # Attempts at several addresses are reported together, their texts joined and without a number.
    if isinstance(cause, ConnectionRefusedError) or "[Errno 111]" in str(cause) or cause.errno == errno.ECONNREFUSED:
        return "connection refused"
    if cause.errno:
        return os.strerror(cause.errno).lower()
    return "connection failed"
