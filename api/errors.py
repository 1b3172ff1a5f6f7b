"""Every error of the API as `{"error": "..."}` with its status, also those that the framework finds."""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.cursors import InvalidCursorError
from api.tokens import InvalidTokenError, NotSignedInError
from api.validation_words import explain_fields
from db.bulk_jobs import NoJobsError, TooManyJobsError
from db.calendars import InvalidCalendarError
from db.documents import StorageAwayError
from db.errors import ConflictError, NotAllowedError, NotFoundError, PortalNotAuthorisedError
from db.ledger import InvalidPeriodError
from db.portal_settings import InvalidPortalError
from db.sign_in_throttle import TooManyAttemptsError
from db.users import InvalidCredentialsError
from portal_import.accounts_csv import InvalidAccountsFileError
from portal_import.job_draft import InvalidJobError
from portal_import.url_templates import InvalidUrlError
from recurrence import InvalidScheduleError
from recurrence.ical_rules import InvalidCalendarFileError

DATABASE_AWAY = "the database is not reachable at the moment"
DATABASE_BUSY = "somebody else is changing the same thing; try again shortly"
RETRY_AFTER_SECONDS = 5
DATABASE_ERRORS = (OperationalError, InterfaceError, PoolTimeoutError)

_STATUSES: dict[type[Exception], int] = {
    NotFoundError: 404,
    NotAllowedError: 403,
    ConflictError: 409,
    InvalidCalendarError: 422,
    InvalidCursorError: 422,
    InvalidPeriodError: 422,
    InvalidScheduleError: 422,
    InvalidUrlError: 422,
    NoJobsError: 422,
    StorageAwayError: 503,
    TooManyJobsError: 422,
}
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_WAITED_TOO_LONG = ("55P03", "40P01", "40001")  # lock_not_available, deadlock_detected, serialization_failure
_BEARER = 'Bearer realm="punctual"'

log = logging.getLogger("punctual.api")


def add_error_handlers(api: FastAPI) -> None:
    """Make the application answer every error in this shape."""
    for kind in _STATUSES:
        api.add_exception_handler(kind, _answer_known)
    for kind in DATABASE_ERRORS:
        api.add_exception_handler(kind, _answer_database_trouble)
    api.add_exception_handler(InvalidJobError, _answer_invalid_fields)
    api.add_exception_handler(InvalidPortalError, _answer_invalid_fields)
    api.add_exception_handler(InvalidAccountsFileError, _answer_invalid_accounts)
    api.add_exception_handler(InvalidCalendarFileError, _answer_invalid_calendar_file)
    api.add_exception_handler(PortalNotAuthorisedError, _answer_not_authorised)
    api.add_exception_handler(InvalidCredentialsError, _answer_not_signed_in)
    api.add_exception_handler(InvalidTokenError, _answer_not_signed_in)
    api.add_exception_handler(TooManyAttemptsError, _answer_too_many)
    api.add_exception_handler(RequestValidationError, _answer_invalid_request)
    api.add_exception_handler(HTTPException, _answer_http)
    api.add_exception_handler(Exception, _answer_unexpected)


def error_response(
    status: int, message: str, *, fields: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The one shape of an error."""
    content: dict[str, object] = {"error": _sendable(message)}
    if fields:
        content["fields"] = {_sendable(name): _sendable(why) for name, why in fields.items()}
    return JSONResponse(content, status, headers)


def is_database_away(error: Exception) -> bool:
    """Whether the database could not be asked at all, as opposed to having refused something."""
    if not isinstance(error, DBAPIError):
        return True  # no connection became free in time
    return error.connection_invalidated or getattr(error.orig, "pgcode", None) is None


async def _answer_known(request: Request, error: Exception) -> JSONResponse:
    status = next(_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)
    return error_response(status, str(error))


async def _answer_invalid_fields(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, InvalidJobError | InvalidPortalError)
    return error_response(422, str(error), fields=error.fields)


async def _answer_invalid_accounts(request: Request, error: Exception) -> JSONResponse:
    return error_response(422, f"csv: {error}", fields={"csv": str(error)})


async def _answer_invalid_calendar_file(request: Request, error: Exception) -> JSONResponse:
    return error_response(422, f"ics: {error}", fields={"ics": str(error)})


async def _answer_not_authorised(request: Request, error: Exception) -> JSONResponse:
    why = f"{error}; send authorised=true, once for each portal"
    return error_response(422, f"authorised: {why}", fields={"authorised": why})


async def _answer_not_signed_in(request: Request, error: Exception) -> JSONResponse:
    is_refused_token = isinstance(error, InvalidTokenError) and not isinstance(error, NotSignedInError)
    challenge = f'{_BEARER}, error="invalid_token"' if is_refused_token else _BEARER
    return error_response(401, str(error), headers={"WWW-Authenticate": challenge})


async def _answer_too_many(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TooManyAttemptsError)
    return error_response(429, str(error), headers={"Retry-After": str(error.retry_after_seconds)})


async def _answer_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    message, fields = explain_fields(error.errors())
    return error_response(422, message, fields=fields)


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    path = request.url.path
    if error.status_code == 404 and error.detail == HTTPStatus.NOT_FOUND.phrase:
        return error_response(404, f"there is no {path}")
    if error.status_code == 405:
        allowed = ", ".join(_allowed_methods(request))
        return error_response(
            405, f"{request.method} does not work on {path}; allowed: {allowed}", headers={"Allow": allowed}
        )
    return error_response(error.status_code, str(error.detail), headers=headers)


async def _answer_database_trouble(request: Request, error: Exception) -> JSONResponse:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    if is_database_away(error):
        log.error(
            "%s %s: the database is not reachable: %s", request.method, request.url.path, getattr(error, "orig", error)
        )
        return error_response(503, DATABASE_AWAY, headers=headers)
    if isinstance(error, DBAPIError) and getattr(error.orig, "pgcode", None) in _WAITED_TOO_LONG:
        return error_response(503, DATABASE_BUSY, headers=headers)
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return await _answer_unexpected(request, error)


async def _answer_unexpected(request: Request, error: Exception) -> JSONResponse:
    return error_response(500, "something went wrong inside Punctual; its log says what")


def _allowed_methods(request: Request) -> list[str]:
    """The methods of all routes of this path; each route by itself knows only its own."""

    def is_served(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in METHODS if is_served(method)]


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
