"""The gate before everything: no page, socket, file or upload without a live session.

Pure ASGI, so it stands before Streamlit's WebSocket as well. It removes identity headers that a client
sends, adds the signed-in user's, and closes open sockets when their session ends. While the database is away
new requests are refused in words; open pages stay, and say so themselves.
"""

import logging
from urllib.parse import quote

import anyio
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from db.viewers import Viewer
from web.account_pages import render_page
from web.identity import IDENTITY_HEADER, is_identity_header, seal_identity
from web.session_cookie import look_up_viewer, read_token

LOGIN_PATH = "/account/login"
PUBLIC_PATHS = (LOGIN_PATH, "/account/logout", "/api", "/_stcore/health", "/favicon.png")
PUBLIC_FOLDERS = ("/account/static/", "/api/", "/static/")
INTERNAL_FOLDERS = ("/_stcore/", "/media/", "/component/", "/app/static/", "/files/")

DATABASE_ERRORS = (DBAPIError, PoolTimeoutError)
OUTAGE_ERRORS = (OperationalError, InterfaceError, PoolTimeoutError)

SESSION_ENDED = 4401
TRY_AGAIN_LATER = 1013
SOCKET_CHECK_SECONDS = 3

log = logging.getLogger("punctual.web")


class SessionGate:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope = {**scope, "headers": [(k, v) for k, v in scope["headers"] if not is_identity_header(k)]}
        if is_public(scope["path"]):
            await self._app(scope, receive, send)
            return
        token = read_token(HTTPConnection(scope))
        try:
            viewer = await look_up_viewer(token)
        except DATABASE_ERRORS as error:
            log.error("the database cannot be asked for a session: %s", getattr(error, "orig", error))
            await _refuse(scope, receive, send, _unavailable(scope), TRY_AGAIN_LATER)
            return
        if token is None or viewer is None:
            await _refuse(scope, receive, send, _sign_in_first(scope), SESSION_ENDED)
            return
        identify(scope, viewer)
        if scope["type"] == "http":
            await self._app(scope, receive, send)
        else:
            await _GuardedSocket(token, receive, send).run(self._app, scope)


class _GuardedSocket:
    """An accepted WebSocket: every message from the client, and every few seconds, its session is looked up."""

    def __init__(self, token: str, receive: Receive, send: Send) -> None:
        self._token = token
        self._receive = receive
        self._send = send
        self._is_accepted = False
        self._is_closed = False
        self._is_in_outage = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch)
                await app(scope, self.receive, self.send)
                tasks.cancel_scope.cancel()
        except* OSError:
            log.debug("the browser went away")  # in the middle of an answer; nobody is left to tell

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.receive" and not await self._is_allowed():
            return {"type": "websocket.disconnect", "code": SESSION_ENDED}
        return message

    async def send(self, message: Message) -> None:
        if self._is_closed:
            raise OSError("the session of this socket has ended")
        self._is_accepted = self._is_accepted or message["type"] == "websocket.accept"
        self._is_closed = message["type"] == "websocket.close"
        await self._send(message)

    async def _watch(self) -> None:
        while not self._is_closed:
            await anyio.sleep(SOCKET_CHECK_SECONDS)
            if self._is_accepted:
                await self._is_allowed()

    async def _is_allowed(self) -> bool:
        """Whether the session lives on; closes the socket when it does not."""
        if self._is_closed:
            return False
        try:
            viewer = await look_up_viewer(self._token)
        except OUTAGE_ERRORS as error:
            # Nothing can be read or revoked meanwhile; the page, whose session was good until now, says so itself.
            if not self._is_in_outage:
                log.error("the database cannot be asked for a session: %s", getattr(error, "orig", error))
            self._is_in_outage = True
            return True
        self._is_in_outage = False
        if viewer is None:
            await self._close(SESSION_ENDED)
        return viewer is not None

    async def _close(self, code: int) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if code == SESSION_ENDED:
            await self._send({"type": "websocket.send", "bytes": reload_message()})
        await self._send({"type": "websocket.close", "code": code, "reason": "the session has ended"})


def is_public(path: str) -> bool:
    """Whether a path needs no session: the sign-in page, the API with its own tokens, Streamlit's own assets."""
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDERS)


def identify(scope: Scope, viewer: Viewer) -> None:
    """Tell what lies behind the gate who is asking: scripts by a header, routes by `request.state.viewer`."""
    header = (IDENTITY_HEADER.lower().encode(), seal_identity(viewer.user_id).encode())
    scope["headers"] = [*scope["headers"], header]
    scope["state"] = {**scope.get("state", {}), "viewer": viewer}


def reload_message() -> bytes:
    """Makes Streamlit's page load its own address anew, which then leads to the sign-in page and back."""
    message = ForwardMsg()
    message.auth_redirect.url = ""
    return message.SerializeToString()


def _sign_in_first(scope: Scope) -> Response:
    if scope["type"] == "http" and _wants_page(scope):
        return RedirectResponse(sign_in_address(scope), status_code=303, headers={"Cache-Control": "no-store"})
    if scope["path"].startswith("/_stcore/"):
        # Streamlit's page shows this text to a person when it comes back after its session ended.
        text = "Your session has ended. Reload this page to sign in again."
        return PlainTextResponse(text, status_code=401, headers={"Cache-Control": "no-store"})
    return JSONResponse({"error": "sign in first"}, status_code=401, headers={"Cache-Control": "no-store"})


def _unavailable(scope: Scope) -> Response:
    if scope["type"] == "http" and _wants_page(scope):
        response: Response = render_page("away.html", status=503)
    else:
        response = JSONResponse({"error": "the database cannot be reached; try again shortly"}, status_code=503)
    response.headers.update({"Cache-Control": "no-store", "Retry-After": "5"})
    return response


def sign_in_address(scope: Scope) -> str:
    """The sign-in page, and the way back to where the browser was going."""
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string", b"")
    target = (path + (b"?" + query if query else b"")).decode("latin-1")
    return LOGIN_PATH if target == "/" else f"{LOGIN_PATH}?next={quote(target, safe='/')}"


def _wants_page(scope: Scope) -> bool:
    if scope["method"] not in ("GET", "HEAD"):
        return False
    headers = Headers(scope=scope)
    accepted = headers.get("accept", "*/*")
    if "text/html" in accepted:
        return True
    is_browser_fetch = headers.get("sec-fetch-mode") not in (None, "navigate")
    return "*/*" in accepted and not is_browser_fetch and not scope["path"].startswith(INTERNAL_FOLDERS)


async def _refuse(scope: Scope, receive: Receive, send: Send, response: Response, close_code: int) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": close_code, "reason": "sign in first"})
    else:
        await response(scope, receive, send)
