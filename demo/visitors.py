"""Everything the demo portal remembers, all of it in memory: who is signed in and what was asked.

Nothing here ever sees a password.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections import Counter, OrderedDict, deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.accounts import Account

SESSION_COOKIE = "northwind_session"
VISITOR_COOKIE = "northwind_visitor"
MAX_SESSIONS = 100_000
MAX_LOGGED_REQUESTS = 100_000


@dataclass
class Session:
    """One sign-in. `busy_answers_left` counts down the 503 answers its billing page still owes."""

    account: Account
    busy_answers_left: int


class Sessions:
    """The signed-in sessions by cookie value; beyond `MAX_SESSIONS` the oldest are forgotten."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._sign_ins: Counter[str] = Counter()

    def open(self, account: Account) -> str:
        """Sign the account in and return the new cookie value."""
        cookie = secrets.token_urlsafe(24)
        self._sessions[cookie] = Session(account, account.busy_answers)
        self._sign_ins[account.username] += 1
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return cookie

    def count_sign_ins(self, account: Account) -> int:
        """How often the account was signed in to since the start, or since the last reset."""
        return self._sign_ins[account.username]

    def find(self, request: Request) -> Session | None:
        return self._sessions.get(request.cookies.get(SESSION_COOKIE, ""))

    def close(self, request: Request) -> None:
        self._sessions.pop(request.cookies.get(SESSION_COOKIE, ""), None)

    def clear(self) -> None:
        self._sessions.clear()
        self._sign_ins.clear()


class CsrfTokens:
    """Tokens bound to a cookie of the visitor's, so a token is worth nothing without the cookie."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def make(self, visitor: str) -> str:
        return hmac.new(self._key, visitor.encode(), hashlib.sha256).hexdigest()

    def is_valid(self, visitor: str, token: str) -> bool:
        return bool(visitor) and hmac.compare_digest(self.make(visitor).encode(), token.encode())


@dataclass
class LoggedRequest:
    """`path` is without the query string, which could hold anything a client put there; `status` is
    None while the answer is on its way; `at` is when the request arrived, in UTC."""

    method: str
    path: str
    username: str | None
    status: int | None
    at: str


class RequestLog:
    """The newest requests, in order of arrival."""

    def __init__(self) -> None:
        self._entries: deque[LoggedRequest] = deque(maxlen=MAX_LOGGED_REQUESTS)

    def add(self, entry: LoggedRequest) -> None:
        self._entries.append(entry)

    def list(self) -> list[dict[str, object]]:
        return [asdict(entry) for entry in self._entries]

    def clear(self) -> None:
        self._entries.clear()


class RequestRecorder:
    """ASGI middleware that writes every request to the log and delays every answer.

    A sign-in has no session yet: the handler names its account in `request.state.username`.
    """

    def __init__(self, app: ASGIApp, *, log: RequestLog, sessions: Sessions, delay_seconds: float) -> None:
        self._app = app
        self._log = log
        self._sessions = sessions
        self._delay_seconds = delay_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry = self._make_entry(scope)
        if not entry.path.startswith("/_demo/"):
            self._log.add(entry)

        async def send_and_note_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
                entry.username = scope["state"].get("username", entry.username)
            await send(message)

        if self._delay_seconds:
            await asyncio.sleep(self._delay_seconds)
        await self._app(scope, receive, send_and_note_status)

    def _make_entry(self, scope: Scope) -> LoggedRequest:
        scope["state"] = dict(scope.get("state", {}))
        session = self._sessions.find(Request(scope))
        return LoggedRequest(
            method=scope["method"],
            path=scope["path"],
            username=session.account.username if session else None,
            status=None,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
