"""Signing in and out of the API, and who is asking."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

import anyio
from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from api.resources import Here, Resources
from api.shapes import StrictShape, TokenShape
from api.tokens import InvalidTokenError, NotSignedInError, TokenClaims, read_token, sign_token
from db.errors import NotAllowedError
from db.models import SessionKind
from db.user_sessions import create_user_session, find_viewer, revoke_session
from db.users import authenticate_user
from db.viewers import Viewer

PASSWORD_CHECKS_AT_ONCE = 4

# Hashing is slow on purpose: a flood of sign-ins waits here and leaves the threads to the other calls.
password_checks = anyio.CapacityLimiter(PASSWORD_CHECKS_AT_ONCE)

router = APIRouter(prefix="/auth", tags=["sign-in"])
bearer = HTTPBearer(auto_error=False, description="The access_token of POST /auth/login")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


class Credentials(StrictShape):
    """Who signs in."""

    username: str
    password: SecretStr


def current_viewer(bearer: Bearer, here: Here) -> Viewer:
    """The user whose token was sent. Raises NotSignedInError, InvalidTokenError.

    In a transaction of its own: a connection that waited for the handler's thread could starve the pool.
    """
    if bearer is None:
        raise NotSignedInError
    claims = read_token(bearer.credentials, here.box.signing_keys)
    with here.transaction() as session:
        viewer = find_viewer(session, claims.session_token, SessionKind.API, datetime.now(UTC))
    if viewer is None or viewer.user_id != claims.user_id:
        raise InvalidTokenError
    return viewer


CurrentViewer = Annotated[Viewer, Depends(current_viewer)]


def current_writer(viewer: CurrentViewer) -> Viewer:
    """The user, if the role may change anything. Raises NotAllowedError."""
    if not viewer.may_write:
        raise NotAllowedError
    return viewer


def current_admin(viewer: CurrentViewer) -> Viewer:
    """The user, if an admin. Raises NotAllowedError."""
    if not viewer.is_admin:
        raise NotAllowedError("only admins may see this")
    return viewer


Writer = Annotated[Viewer, Depends(current_writer)]
Admin = Annotated[Viewer, Depends(current_admin)]


@router.post("/login")
async def sign_in(credentials: Credentials, request: Request, here: Here) -> TokenShape:
    """Exchange username and password for an access token."""
    address = request.client.host if request.client else "unknown"
    work = partial(_start_session, here, credentials, address, request.headers.get("user-agent"))
    return await to_thread.run_sync(work, limiter=password_checks)


@router.post("/logout", status_code=204)
def sign_out(viewer: CurrentViewer, bearer: Bearer, here: Here) -> Response:
    """Revoke the access token that this call is made with."""
    assert bearer is not None
    claims = read_token(bearer.credentials, here.box.signing_keys)
    with here.transaction() as session:
        revoke_session(session, claims.session_token, datetime.now(UTC))
    return Response(status_code=204)


def _start_session(here: Resources, credentials: Credentials, ip: str, user_agent: str | None) -> TokenShape:
    now = datetime.now(UTC)
    ttl = timedelta(hours=here.settings.session_hours)
    with here.transaction() as session:
        user = authenticate_user(session, credentials.username, credentials.password.get_secret_value(), ip, now)
        session_token = create_user_session(session, user, SessionKind.API, now, ttl, ip, user_agent)
    token = sign_token(TokenClaims(user.id, session_token), here.box.signing_key, now=now, ttl=ttl)
    return TokenShape(access_token=token, expires_in=int(ttl.total_seconds()))
