"""Signing in and out: `/account/login` and `/account/logout`, ordinary forms around a session cookie."""

import logging
from datetime import UTC, datetime
from functools import partial

import anyio
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from db.engine import transaction
from db.models import SessionKind
from db.sign_in_throttle import TooManyAttemptsError
from db.user_sessions import create_user_session, revoke_session
from db.users import InvalidCredentialsError, authenticate_user
from web.account_pages import render_page, wait_in_words
from web.local_path import HOME, local_path
from web.same_site import is_own_link, read_form
from web.session_cookie import (
    clear_session_cookie,
    look_up_viewer,
    read_token,
    session_ttl,
    set_session_cookie,
)
from web.session_gate import DATABASE_ERRORS, LOGIN_PATH

PASSWORD_CHECKS_AT_ONCE = 4
DATABASE_AWAY = "Nobody can sign in at the moment, because the database cannot be reached. Try again shortly."

# Hashing is slow on purpose: a flood of sign-ins waits here and leaves the threads of the pages alone.
password_checks = anyio.CapacityLimiter(PASSWORD_CHECKS_AT_ONCE)

log = logging.getLogger("punctual.web")


async def show_sign_in(request: Request) -> Response:
    """The form, or straight on to where a signed-in browser was going."""
    target = local_path(request.query_params.get("next"))
    try:
        viewer = await look_up_viewer(read_token(request))
    except DATABASE_ERRORS as error:
        return _database_away(target, error)
    if viewer is not None:
        return RedirectResponse(target, status_code=303)
    return _sign_in_page(target, signed_out="signed_out" in request.query_params)


async def sign_in(request: Request) -> Response:
    """Check the form: 303 with the cookie, 401 for wrong credentials, 429 while the user has to wait.

    503 while the database cannot be asked.
    """
    form = await read_form(request)
    username, password = form.get("username", ""), form.get("password", "")
    target = local_path(form.get("next"))
    try:
        token = await to_thread.run_sync(
            partial(_start_session, username, password, client_address(request), request.headers.get("user-agent")),
            limiter=password_checks,
        )
    except InvalidCredentialsError:
        message = "The username or the password is wrong."
        return _sign_in_page(target, username=username, message=message, status=401)
    except TooManyAttemptsError as error:
        return too_many_attempts(error, partial(_sign_in_page, target, username=username))
    except DATABASE_ERRORS as error:
        return _database_away(target, error, username)
    response = RedirectResponse(target, status_code=303)
    set_session_cookie(response, token)
    return response


async def show_sign_out(request: Request) -> Response:
    """Sign out by a link of this site's own pages; from anywhere else a form asks first."""
    if is_own_link(request):
        return await _end_session(request)
    return render_page("logout.html")


async def sign_out(request: Request) -> Response:
    """End the session and forget the cookie, also when the session was over already."""
    await read_form(request)
    return await _end_session(request)


def too_many_attempts(error: TooManyAttemptsError, page: "partial[HTMLResponse]") -> Response:
    """The page with the wait in words, 429."""
    wait = wait_in_words(error.retry_after_seconds)
    response = page(message=f"Too many wrong passwords. Try again in {wait}.", status=429)
    response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def client_address(request: Request) -> str:
    """The browser's address; behind a trusted proxy uvicorn has put the forwarded one here."""
    return request.client.host if request.client else "unknown"


def _start_session(username: str, password: str, ip: str, user_agent: str | None) -> str:
    now = datetime.now(UTC)
    with transaction() as session:
        user = authenticate_user(session, username, password, ip, now)
        return create_user_session(session, user, SessionKind.BROWSER, now, session_ttl(), ip, user_agent)


async def _end_session(request: Request) -> Response:
    token = read_token(request)
    if token is not None:
        await to_thread.run_sync(_revoke, token)
    response = RedirectResponse(f"{LOGIN_PATH}?signed_out", status_code=303)
    clear_session_cookie(response)
    return response


def _revoke(token: str) -> None:
    with transaction() as session:
        revoke_session(session, token, datetime.now(UTC))


def _database_away(target: str, error: Exception, username: str = "") -> Response:
    log.error("sign-in: the database cannot be asked: %s", getattr(error, "orig", error))
    response = _sign_in_page(target, username=username, message=DATABASE_AWAY, status=503)
    response.headers["Retry-After"] = "5"
    return response


def _sign_in_page(
    target: str, *, username: str = "", message: str = "", signed_out: bool = False, status: int = 200
) -> HTMLResponse:
    return render_page(
        "login.html",
        status,
        next="" if target == HOME else target,
        username=username,
        message=message,
        signed_out=signed_out,
    )
