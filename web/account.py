"""What signed-in people change about themselves, and the routes of everything under `/account`."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from db.engine import transaction
from db.passwords import UnusablePasswordError
from db.sign_in_throttle import TooManyAttemptsError
from db.users import InvalidCredentialsError, InvalidUserError, change_password, set_time_zone
from db.viewers import Viewer
from web.account_pages import get_style, render_page
from web.account_rules import PASSWORD_RULES, new_password_problem
from web.local_path import local_path
from web.same_site import read_form
from web.session_cookie import read_token
from web.sign_in import (
    client_address,
    password_checks,
    show_sign_in,
    show_sign_out,
    sign_in,
    sign_out,
    too_many_attempts,
)

_MARK = Path(__file__).parent / "static" / "clock.svg"


def show_password(request: Request) -> Response:
    """The form to change one's own password."""
    return _password_page(request.state.viewer, is_changed="changed" in request.query_params)


async def replace_password(request: Request) -> Response:
    """Change it: 303, 401 for a wrong current password, 422 for an unfit new one, 429 while having to wait."""
    viewer: Viewer = request.state.viewer
    form = await read_form(request)
    current, new = form.get("current", ""), form.get("new", "")
    problem = new_password_problem(new, form.get("repeated", ""), current=current)
    if problem:
        return _password_page(viewer, message=problem, status=422)
    try:
        await to_thread.run_sync(
            partial(_change_password, viewer, current, new, client_address(request), read_token(request)),
            limiter=password_checks,
        )
    except InvalidCredentialsError:
        return _password_page(viewer, message="The current password is wrong.", status=401)
    except UnusablePasswordError as error:
        return _password_page(viewer, message=str(error), status=422)
    except TooManyAttemptsError as error:
        return too_many_attempts(error, partial(_password_page, viewer))
    return RedirectResponse("/account/password?changed", status_code=303)


async def replace_time_zone(request: Request) -> Response:
    """Show times in the posted `time_zone`, an IANA name; an empty one follows the browser."""
    viewer: Viewer = request.state.viewer
    form = await read_form(request)
    time_zone = form.get("time_zone", "").strip() or None
    try:
        await to_thread.run_sync(_set_time_zone, viewer, time_zone)
    except InvalidUserError as error:
        return PlainTextResponse(str(error), status_code=422)
    return RedirectResponse(local_path(form.get("next")), status_code=303)


def get_mark(request: Request) -> Response:
    """The product's mark, also the pages' icon."""
    return FileResponse(_MARK, headers={"Cache-Control": "public, max-age=3600"})


ACCOUNT_ROUTES = [
    Route("/account/login", show_sign_in, methods=["GET"]),
    Route("/account/login", sign_in, methods=["POST"]),
    Route("/account/logout", show_sign_out, methods=["GET"]),
    Route("/account/logout", sign_out, methods=["POST"]),
    Route("/account/password", show_password, methods=["GET"]),
    Route("/account/password", replace_password, methods=["POST"]),
    Route("/account/time-zone", replace_time_zone, methods=["POST"]),
    Route("/account/static/account.css", get_style, methods=["GET"]),
    Route("/account/static/clock.svg", get_mark, methods=["GET"]),
]


def _change_password(viewer: Viewer, current: str, new: str, ip: str, token: str | None) -> None:
    with transaction() as session:
        change_password(
            session, viewer.user_id, current=current, new=new, ip=ip, now=datetime.now(UTC), keep_token=token
        )


def _set_time_zone(viewer: Viewer, time_zone: str | None) -> None:
    with transaction() as session:
        set_time_zone(session, viewer.user_id, time_zone)


def _password_page(viewer: Viewer, *, message: str = "", is_changed: bool = False, status: int = 200) -> HTMLResponse:
    return render_page(
        "password.html",
        status,
        username=viewer.username,
        message=message,
        is_changed=is_changed,
        rules=PASSWORD_RULES,
    )
