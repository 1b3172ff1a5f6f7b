"""A portal on loopback that costs as little as possible: a sign-in form, and a billing page with one bill."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

START_SECONDS = 20
SIGN_IN_PAGE = """<form method="post" action="/login"><input name="user"><input name="pass" type="password">
<button>Sign in</button></form>"""
BILLING_PAGE = """<table><tr><th>Invoice number</th><th>Issue date</th><th>Amount</th></tr>
<tr><td>00017</td><td>2026-11-24</td><td>12.50 EUR</td></tr></table>"""


def _show_form(_: Request) -> Response:
    return HTMLResponse(SIGN_IN_PAGE)


def _sign_in(_: Request) -> Response:
    answer = RedirectResponse("/billing", status_code=303)
    answer.set_cookie("visitor", "1")
    return answer


def _show_bills(request: Request) -> Response:
    return HTMLResponse(BILLING_PAGE if "visitor" in request.cookies else SIGN_IN_PAGE)


@contextmanager
def small_portal() -> Generator[str]:
    """Its host and port, while it serves."""
    routes = [
        Route("/login", _show_form),
        Route("/login", _sign_in, methods=["POST"]),
        Route("/billing", _show_bills),
    ]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not (server.started and server.servers):
        if time.monotonic() > deadline:
            raise TimeoutError("the portal did not start")
        time.sleep(0.02)
    yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.force_exit = server.should_exit = True
    thread.join(START_SECONDS)
