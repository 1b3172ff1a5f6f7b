"""Watches what a browser's page sends: the password leaves it once, for the sign-in page's own site.

A form built by scripts shows nothing beforehand of where it will send what was typed, so each request is looked at
when it is about to be sent, redirected ones too. What may not be sent is stopped.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from playwright.async_api import CDPSession, Error

from db.models import ResultCause, ResultStatus
from portal_import.engine.addresses import origin
from portal_import.engine.errors import VisitError

_ENCODINGS = ("utf-8", "cp1252")


class PasswordWatch:
    """Of one tab and one password. `refusal` is why a request was stopped; `sent_to` where the password went."""

    def __init__(self, session: CDPSession, password: str) -> None:
        self._session = session
        self._password = _as_a_value(password)
        self._home: str | None = None
        self.sent_to: str | None = None
        self.is_in_address = False
        self.refusal: VisitError | None = None

    async def start(self, home: str) -> None:
        """Watch from now on; `home` is the address of the sign-in page."""
        self._home = home
        self._session.on("Fetch.requestPaused", self._decide)
        await self._session.send("Fetch.enable", {"patterns": [{"urlPattern": "*", "requestStage": "Request"}]})

    async def _decide(self, event: Mapping[str, Any]) -> None:
        request: Mapping[str, Any] = event["request"]
        refusal = self._refuse(request, is_redirected=bool(event.get("redirectedRequestId")))
        self.refusal = self.refusal or refusal
        paused = {"requestId": event["requestId"]}
        try:
            if refusal is not None:
                await self._session.send("Fetch.failRequest", paused | {"errorReason": "BlockedByClient"})
            else:
                await self._session.send("Fetch.continueRequest", paused)
        except Error:
            return  # the page that asked is gone, and its request with it

    def _refuse(self, request: Mapping[str, Any], *, is_redirected: bool) -> VisitError | None:
        """Why the request must not be sent; None when it may."""
        url = str(request["url"])
        is_in_address = self._password.search(urlsplit(url).query.encode()) is not None
        if not is_in_address and not self._password.search(_body_of(request)):
            return None
        if is_redirected:
            return _unsafe("the portal asked for the password to be sent a second time, to another address")
        if self._home is None or origin(url) != origin(self._home):
            return _unsafe(
                f"the sign-in form would send the password to another site ({_site(url)}) than the page's own"
                f" ({_site(self._home or '')}), so it was not sent"
            )
        if self.sent_to is not None:
            return _unsafe("the portal's page tried to send the password a second time, which was stopped")
        self.sent_to = url
        self.is_in_address = is_in_address
        return None


def _as_a_value(password: str) -> re.Pattern[bytes]:
    """Finds the password where it is a whole value of a query, a form, JSON or a part of a multipart body.

    Anywhere else it may be a word: that of an account whose password is `billing` is in many addresses.
    """
    forms = b"|".join(re.escape(form) for form in sorted(_forms_of(password), key=len, reverse=True))
    return re.compile(rb"(?:^|[=\":>\n])(?:" + forms + rb")(?:$|[&\";,<\r\n])")


def _forms_of(password: str) -> frozenset[bytes]:
    """The password in the forms in which pages send it."""
    texts = {password, json.dumps(password)[1:-1], json.dumps(password, ensure_ascii=False)[1:-1]}
    forms = {text.encode(encoding, "xmlcharrefreplace") for text in texts for encoding in _ENCODINGS}
    for encoding in _ENCODINGS:
        for safe in ("", "*-._", "!'()*-._~"):
            forms.add(quote_plus(password, safe, encoding, "xmlcharrefreplace").encode())
            forms.add(quote(password, safe, encoding, "xmlcharrefreplace").encode())
    return frozenset(form for form in forms if form.strip())


def _body_of(request: Mapping[str, Any]) -> bytes:
    entries = request.get("postDataEntries") or []
    body = b"".join(base64.b64decode(entry.get("bytes", "")) for entry in entries)
    return body or str(request.get("postData", "")).encode()


def _site(url: str) -> str:
    scheme, host, port = origin(url)
    return f"{scheme}://{host}" + ("" if port in (80, 443) else f":{port}")


def _unsafe(message: str) -> VisitError:
    return VisitError(message, ResultStatus.PORTAL_CHANGED, cause=ResultCause.UNSAFE_FORM)
