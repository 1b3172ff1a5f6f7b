"""The cookie that carries a browser's session, and the look-up of whose it is."""

from datetime import UTC, datetime, timedelta
from functools import partial

import anyio
from anyio import to_thread
from starlette.requests import HTTPConnection
from starlette.responses import Response

from db.engine import transaction
from db.models import SessionKind
from db.user_sessions import find_viewer
from db.viewers import Viewer
from settings import get_settings

MAX_TOKEN_LENGTH = 128
LOOK_UPS_AT_ONCE = 10

_look_ups = anyio.CapacityLimiter(LOOK_UPS_AT_ONCE)


def cookie_name() -> str:
    """Cookies ignore ports: the port in the name keeps two installations on one host apart."""
    return f"punctual_session_{get_settings().port}"


def session_ttl() -> timedelta:
    """How long a browser stays signed in."""
    return timedelta(hours=get_settings().session_hours)


def read_token(connection: HTTPConnection) -> str | None:
    """The session token that the client sent, if it could be one."""
    token = connection.cookies.get(cookie_name())
    return token if token and len(token) <= MAX_TOKEN_LENGTH else None


def set_session_cookie(response: Response, token: str) -> None:
    """Sign the browser in."""
    response.set_cookie(
        cookie_name(),
        token,
        max_age=int(session_ttl().total_seconds()),
        path="/",
        httponly=True,
        samesite="lax",
        secure=get_settings().cookie_secure,
    )


def clear_session_cookie(response: Response) -> None:
    """Make the browser forget its session."""
    response.delete_cookie(cookie_name(), path="/", httponly=True, samesite="lax", secure=get_settings().cookie_secure)


async def look_up_viewer(token: str | None) -> Viewer | None:
    """Whose session the token is at this moment, or None. Nothing is cached, so a revocation holds at once."""
    if token is None:
        return None
    return await to_thread.run_sync(partial(_find_viewer, token), limiter=_look_ups)


def _find_viewer(token: str) -> Viewer | None:
    with transaction() as session:
        return find_viewer(session, token, SessionKind.BROWSER, datetime.now(UTC))
