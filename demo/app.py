"""The portal's routes. State lives in memory, per app; nothing is written to disk."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import date, datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from demo import pages, script_pages
from demo.accounts import Account, Offer, find_account
from demo.bills import Bill, describe_status, list_bills
from demo.documents import MEDIA_TYPES, is_posted, list_kinds, make_document, make_file_name
from demo.visitors import (
    SESSION_COOKIE,
    VISITOR_COOKIE,
    CsrfTokens,
    RequestLog,
    RequestRecorder,
    Session,
    Sessions,
)

WRONG_CREDENTIALS = "The e-mail address or password is not correct."
BUSY_RETRY_AFTER_SECONDS = 1

_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def build_app(today: date | None = None, *, inspect: bool = False, latency_ms: int = 0) -> Starlette:
    """The portal as an ASGI app with a state of its own.

    `today` fixes the portal's date; None follows the machine's. `inspect` adds the `/_demo/` routes,
    which show tests what was asked and what should have been collected.
    """
    sessions, log = Sessions(), RequestLog()
    portal = Portal(sessions, lambda: today or datetime.now().astimezone().date())
    routes = portal.make_routes()
    if inspect:
        routes += Inspection(sessions, log, portal.today).make_routes()
    recorder = Middleware(RequestRecorder, log=log, sessions=sessions, delay_seconds=latency_ms / 1000)
    return Starlette(
        routes=routes,
        middleware=[recorder],
        exception_handlers={HTTPException: _answer_http_error},
    )


class Portal:
    """What a customer sees."""

    def __init__(self, sessions: Sessions, today: Callable[[], date]) -> None:
        self.today = today
        self._sessions = sessions
        self._csrf_tokens = CsrfTokens()

    def make_routes(self) -> list[Route]:
        return [
            Route("/", self.show_landing),
            Route("/help", self.show_help),
            Route("/login", self.show_login),
            Route("/login", self.sign_in, methods=["POST"]),
            Route("/logout", self.sign_out, methods=["GET", "POST"]),
            Route("/account", self.show_account),
            Route("/billing", self.show_billing),
            Route("/bills/{number}.{kind}", self.send_document),
            Route("/bills/{number}/download", self.send_posted_document, methods=["POST"]),
            Route("/script/login", self.show_script_login),
            Route("/script/session", self.sign_in_by_script, methods=["POST"]),
            Route("/script/billing", self.show_script_billing),
            Route("/script/bills", self.list_bills_for_script),
        ]

    async def show_landing(self, request: Request) -> Response:
        return _answer_page(pages.render_landing(self._find_account(request)))

    async def show_help(self, request: Request) -> Response:
        query = request.query_params.get("q", "").strip()[:100]
        return _answer_page(pages.render_help(query, self._find_account(request)))

    async def show_login(self, request: Request) -> Response:
        return self._answer_login(request)

    async def sign_in(self, request: Request) -> Response:
        async with request.form(max_files=0) as form:
            username, password, token = (str(form.get(name, "")) for name in ("email", "password", "csrf_token"))
        account = find_account(username)
        if account:
            request.state.username = account.username
        if not self._csrf_tokens.is_valid(request.cookies.get(VISITOR_COOKIE, ""), token):
            text = "Your sign-in page is out of date. Open it again and sign in."
            return _answer_page(pages.render_message("This form has expired", text), status=403)
        if account is None or not _is_same(password, account.password):
            return self._answer_login(request, username, WRONG_CREDENTIALS)
        response = RedirectResponse("/account", status_code=303)
        self._open_session(response, account)
        return response

    async def show_script_login(self, request: Request) -> Response:
        return _answer_script_page(script_pages.render_login)

    async def sign_in_by_script(self, request: Request) -> Response:
        try:
            given = await request.json()
            username, password = str(given["email"]), str(given["password"])
        except (ValueError, TypeError, KeyError):
            raise HTTPException(400, "Expected JSON with email and password.") from None
        account = find_account(username)
        if account:
            request.state.username = account.username
        if account is None or not _is_same(password, account.password):
            return JSONResponse({"error": WRONG_CREDENTIALS}, status_code=401)
        response = JSONResponse({})
        self._open_session(response, account)
        return response

    async def show_script_billing(self, request: Request) -> Response:
        session = self._sessions.find(request)
        if session is None:
            return RedirectResponse("/script/login", status_code=303)
        if session.busy_answers_left > 0:
            return _answer_busy(session)
        return _answer_script_page(script_pages.render_billing)

    async def list_bills_for_script(self, request: Request) -> Response:
        account = self._find_account(request)
        if account is None:
            raise HTTPException(401)
        today = self.today()
        return JSONResponse([_describe_bill(bill, describe_status(bill, today)) for bill in self._list_bills(account)])

    async def sign_out(self, request: Request) -> Response:
        self._sessions.close(request)
        response = RedirectResponse("/", status_code=303)
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax")
        return response

    async def show_account(self, request: Request) -> Response:
        account = self._find_account(request)
        if account is None:
            return RedirectResponse("/login", status_code=303)
        return _answer_page(pages.render_account(account, self._list_bills(account)))

    async def show_billing(self, request: Request) -> Response:
        session = self._sessions.find(request)
        if session is None:
            return RedirectResponse("/login", status_code=303)
        if session.busy_answers_left > 0:
            return _answer_busy(session)
        token = self._csrf_tokens.make(request.cookies[SESSION_COOKIE])
        bills, wanted = self._list_bills(session.account), request.query_params.get("page", "")
        page = min(int(wanted) if wanted.isdecimal() else 1, pages.count_pages(bills)) or 1
        return _answer_page(pages.render_billing(session.account, bills, self.today(), page, token))

    async def send_document(self, request: Request) -> Response:
        account, kind = self._find_account(request), request.path_params["kind"]
        if account is None:
            return RedirectResponse("/login", status_code=303)
        return self._answer_document(request, account, "" if is_posted(account, kind) else kind)

    async def send_posted_document(self, request: Request) -> Response:
        account = self._find_account(request)
        if account is None:
            return RedirectResponse("/login", status_code=303)
        async with request.form(max_files=0) as form:
            token = str(form.get("csrf_token", ""))
        if not self._csrf_tokens.is_valid(request.cookies[SESSION_COOKIE], token):
            raise HTTPException(403, "Your page is out of date. Open it again.")
        return self._answer_document(request, account, "pdf")

    def _answer_document(self, request: Request, account: Account, kind: str) -> Response:
        number = request.path_params["number"]
        bill = next((bill for bill in self._list_bills(account) if bill.number == number), None)
        if bill is None or kind not in list_kinds(account):
            raise HTTPException(404)
        content = make_document(bill, kind)
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
        if request.method == "GET" and request.headers.get("If-None-Match") == etag:
            return Response(status_code=304, headers=headers)
        name = make_file_name(bill, kind)
        headers |= {"Content-Type": MEDIA_TYPES[kind], "Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, headers=headers)

    def _list_bills(self, account: Account) -> list[Bill]:
        return list_current_bills(self._sessions, account, self.today())

    def _find_account(self, request: Request) -> Account | None:
        session = self._sessions.find(request)
        return session.account if session else None

    def _open_session(self, response: Response, account: Account) -> None:
        response.set_cookie(SESSION_COOKIE, self._sessions.open(account), httponly=True, samesite="lax")

    def _answer_login(self, request: Request, username: str = "", error: str = "") -> Response:
        visitor = request.cookies.get(VISITOR_COOKIE) or secrets.token_urlsafe(16)
        response = _answer_page(pages.render_login(self._csrf_tokens.make(visitor), username, error))
        response.set_cookie(VISITOR_COOKIE, visitor, httponly=True, samesite="lax")
        return response


class Inspection:
    """What a test sees: the requests that came in and the documents an account should get."""

    def __init__(self, sessions: Sessions, log: RequestLog, today: Callable[[], date]) -> None:
        self._sessions = sessions
        self._log = log
        self._today = today

    def make_routes(self) -> list[Route]:
        return [
            Route("/_demo/requests", self.list_requests),
            Route("/_demo/bills", self.list_documents),
            Route("/_demo/reset", self.reset, methods=["POST"]),
        ]

    async def list_requests(self, request: Request) -> Response:
        return JSONResponse(self._log.list())

    async def list_documents(self, request: Request) -> Response:
        account = find_account(request.query_params.get("username", ""))
        if account is None:
            return JSONResponse({"error": "no such account; give ?username="}, status_code=404)
        return JSONResponse(
            [
                {
                    "number": bill.number,
                    "path": f"/bills/{bill.number}.{kind}",
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "size": len(content),
                }
                for bill in list_current_bills(self._sessions, account, self._today())
                for kind in list_kinds(account)
                for content in [make_document(bill, kind)]
            ]
        )

    async def reset(self, request: Request) -> Response:
        """Forget every session, with its 503 countdown, and every logged request."""
        self._sessions.clear()
        self._log.clear()
        return Response(status_code=204)


def list_current_bills(sessions: Sessions, account: Account, today: date) -> list[Bill]:
    """What the account is shown now: a corrected bill is one from the second sign-in on."""
    is_corrected = account.offer is Offer.CORRECTED and sessions.count_sign_ins(account) > 1
    return list_bills(account, today, is_corrected=is_corrected)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _answer_page(pages.render_message("Page not found", "There is nothing at this address."), 404)
    response = _answer_page(pages.render_message("That did not work", error.detail), error.status_code)
    response.headers.update(error.headers or {})
    return response


def _answer_page(html: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(html, status_code=status, headers=_PAGE_HEADERS)


def _answer_busy(session: Session) -> Response:
    session.busy_answers_left -= 1
    response = _answer_page(pages.render_message("One moment", "Billing is busy. Try again shortly."), 503)
    response.headers["Retry-After"] = str(BUSY_RETRY_AFTER_SECONDS)
    return response


def _answer_script_page(render: Callable[[str], str]) -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    response = _answer_page(render(nonce))
    response.headers["Content-Security-Policy"] += f"; script-src 'nonce-{nonce}'; connect-src 'self'"
    return response


def _describe_bill(bill: Bill, status: str) -> dict[str, object]:
    """A bill as the table of the script pages shows it."""
    linked = [kind for kind in list_kinds(bill.account) if not is_posted(bill.account, kind)]
    return {
        "number": bill.number,
        "issued_on": bill.issued_on.isoformat(),
        "due_on": bill.due_on.isoformat(),
        "amount": f"{bill.amount:,.2f}",
        "currency": bill.currency,
        "status": status,
        "documents": [{"text": pages.LINK_WORDS[kind], "href": f"/bills/{bill.number}.{kind}"} for kind in linked],
    }


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
