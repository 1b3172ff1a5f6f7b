"""How large a request may be: an accounts CSV has room, other bodies are small. Nothing larger is read."""

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_response
from portal_import.accounts_csv import MAX_BYTES

MAX_JSON_BYTES = 64 * 1024
MAX_FORM_BYTES = MAX_BYTES + MAX_JSON_BYTES
TOO_LARGE = f"the request is too large; an accounts CSV may have {MAX_BYTES // 2**20} MB, a JSON body 64 KB"


class BodyLimit:
    """ASGI middleware: 413 at once for an announced length, otherwise as soon as too much has come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_form = headers.get("content-type", "").lower().startswith("multipart/form-data")
        limit = MAX_FORM_BYTES if is_form else MAX_JSON_BYTES
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:18]) > limit:
            await error_response(413, TOO_LARGE)(scope, receive, send)
            return
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, TOO_LARGE)
            return message

        await self._app(scope, receive_limited, send)
