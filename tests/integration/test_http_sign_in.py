"""Accounts that are not let in: why, and that the password is sent once at most."""

import asyncio

import pytest

from db.models import ResultStatus
from tests.portal_server import (
    LOGIN_PAGE,
    Request,
    Route,
    ScriptedPortal,
    Visit,
    answer,
    check_failed,
    check_no_secrets,
    ordinary_routes,
    redirect,
    run_import,
    sign_in_page,
    visit,
)


def test_wrong_password_is_sent_exactly_once():
    made = run_import(ordinary_routes(ann="right"), password="p4ss wrong")
    check_failed(
        made,
        ResultStatus.WRONG_CREDENTIALS,
        "the portal refused the username or the password: “E-mail or password is not correct.”",
    )
    assert made.portal.count("POST", "/login") == 1
    assert made.outcome.bills == ()


def test_password_that_the_portal_echoes_is_hidden():
    def refuse(request: Request) -> bytes:
        word = request.form["pass"].replace("&", "&amp;").replace("<", "&lt;")
        return sign_in_page(f"Wrong password {word}! " + "No. " * 100)

    made = run_import(ordinary_routes() | {"POST /login": refuse})
    assert made.outcome.status is ResultStatus.WRONG_CREDENTIALS
    assert made.outcome.error is not None
    assert "“Wrong password •••! No. No." in made.outcome.error
    assert len(made.outcome.error) < 270
    check_no_secrets(made)


@pytest.mark.parametrize(
    ("posted", "status", "words"),
    [
        (sign_in_page("Your account has been locked. Call us."), ResultStatus.NEEDS_ATTENTION, "the account is locked"),
        (
            sign_in_page("Wrong password. After 3 attempts your account will be locked."),
            ResultStatus.WRONG_CREDENTIALS,
            "refused",
        ),
        (sign_in_page("Wrong password: your account is now locked"), ResultStatus.NEEDS_ATTENTION, "locked"),
        (sign_in_page("Too many failed attempts"), ResultStatus.NEEDS_ATTENTION, "locked"),
        (sign_in_page("Ihr Passwort ist abgelaufen"), ResultStatus.NEEDS_ATTENTION, "password to be changed"),
        (sign_in_page("Please solve the CAPTCHA"), ResultStatus.NEEDS_ATTENTION, "CAPTCHA"),
        (
            sign_in_page("The service is temporarily unavailable"),
            ResultStatus.PORTAL_ERROR,
            "could not sign the account in",
        ),
        (sign_in_page("Your session has expired, try again"), ResultStatus.PORTAL_ERROR, "its own sign-in form"),
        (
            answer(
                LOGIN_PAGE.format(visitor="v0", alert='<p class="errornote">Please enter the correct password.</p>')
            ),
            ResultStatus.WRONG_CREDENTIALS,
            "is wrong: “Please enter the correct password.”",
        ),
        (sign_in_page(""), ResultStatus.WRONG_CREDENTIALS, "showed its sign-in form again"),
        (answer("<p>Login failed.</p><a href='/login'>Again</a>"), ResultStatus.WRONG_CREDENTIALS, "refused"),
        (answer("<h1>No</h1>", 401), ResultStatus.WRONG_CREDENTIALS, "refused"),
        (answer("<h1>No</h1>", 403), ResultStatus.PORTAL_ERROR, "403 Forbidden to the sign-in"),
        (
            answer('<form method="post"><input name="otp" autocomplete="one-time-code"></form>'),
            ResultStatus.NEEDS_ATTENTION,
            "one-time code (multi-factor sign-in)",
        ),
        (answer("<p>Enter the 6-digit verification code</p>"), ResultStatus.NEEDS_ATTENTION, "one-time code"),
        (answer("<p>Please accept our new terms of use</p>"), ResultStatus.NEEDS_ATTENTION, "new terms"),
        (
            answer('<form><input type="password" name="a"><input type="password" name="b"></form>'),
            ResultStatus.NEEDS_ATTENTION,
            "password to be changed",
        ),
        (answer("<h1>Welcome back</h1>"), ResultStatus.PORTAL_CHANGED, "asks to sign in again"),
    ],
)
def test_answer_to_the_sign_in_explains_why(posted: bytes, status: ResultStatus, words: str):
    made = run_import(ordinary_routes() | {"POST /login": posted})
    assert made.outcome.status is status
    assert words in (made.outcome.error or "")
    assert made.portal.count("POST", "/login") == 1


def test_billing_that_asks_for_a_code_needs_attention():
    code_page = '<form method="post"><label>Code <input name="mfa_code"></label></form>'
    made = run_import(ordinary_routes() | {"GET /billing": redirect("/mfa"), "GET /mfa": answer(code_page)})
    check_failed(made, ResultStatus.NEEDS_ATTENTION, "the portal asks for a one-time code (multi-factor sign-in)")


def test_captcha_in_the_form_is_not_even_tried():
    page = LOGIN_PAGE.replace("<button>", '<div class="g-recaptcha"></div><button>')
    made = run_import(ordinary_routes() | {"GET /login": answer(page)})
    check_failed(made, ResultStatus.NEEDS_ATTENTION, "the sign-in form asks to solve a CAPTCHA")
    assert made.portal.count("POST", "/login") == 0


def test_form_of_another_origin_gets_no_password():
    async def scenario() -> tuple[Visit, ScriptedPortal]:
        async with ScriptedPortal({}) as thief:
            page = LOGIN_PAGE.replace('action="/login"', f'action="{thief.url}/login?x=1"')
            async with ScriptedPortal(ordinary_routes() | {"GET /login": answer(page)}) as portal:
                return await visit(portal), thief

    made, thief = asyncio.run(scenario())
    assert made.outcome.status is ResultStatus.PORTAL_CHANGED
    assert "would send the password to another site" in (made.outcome.error or "")
    assert thief.requests == []


@pytest.mark.parametrize("status", [307, 308])
def test_password_is_not_sent_again_when_redirected(status: int):
    made = run_import(ordinary_routes() | {"POST /login": redirect("/login2", status)})
    assert made.outcome.status is ResultStatus.PORTAL_ERROR
    assert "not sent a second time" in (made.outcome.error or "")
    assert [request.path for request in made.portal.requests if request.method == "POST"] == ["/login"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_failing_sign_in_is_not_repeated(status: int):
    made = run_import(ordinary_routes() | {"POST /login": answer("busy", status, Retry_After="1")})
    assert made.outcome.status is ResultStatus.PORTAL_ERROR
    assert "to the sign-in, which was not sent a second time" in (made.outcome.error or "")
    assert (made.portal.count("POST", "/login"), made.outcome.retry_attempts, made.waits) == (1, 0, [])


def test_sign_in_without_an_answer_is_not_repeated():
    async def hang_up(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.close()

    made = run_import(ordinary_routes() | {"POST /login": hang_up})
    check_failed(
        made,
        ResultStatus.PORTAL_ERROR,
        "the sign-in failed and was not sent a second time: the portal closed the connection without an answer",
    )
    assert made.portal.count("POST", "/login") == 1


def test_page_without_a_form_may_need_a_browser():
    made = run_import(
        {"GET /login": answer('<div id="app"></div><script src="app.js"></script>')}, login_path="/login?t=secret"
    )
    check_failed(
        made,
        ResultStatus.PORTAL_CHANGED,
        f"no sign-in form found at {made.portal.url}/login; this portal may need the browser engine",
    )


def leading_to(where: str) -> dict[str, Route]:
    """A sound portal whose sign-in leads there."""
    routes = ordinary_routes()
    usual = routes["POST /login"]
    assert callable(usual)

    def sign_in(request: Request) -> bytes:
        made = usual(request)  # type: ignore[call-arg]
        assert isinstance(made, bytes)
        return made.replace(b"Location: /home", f"Location: {where}".encode())

    return routes | {"POST /login": sign_in}


def test_billing_page_that_the_sign_in_leads_to_is_not_fetched_again():
    made = run_import(leading_to("/billing"))
    assert (made.outcome.status, len(made.outcome.bills)) == (ResultStatus.SUCCESS, 2)
    assert made.portal.count("GET", "/billing") == 1
    assert "the sign-in led to the billing page" in made.said


@pytest.mark.parametrize("where", ["/billing?welcome=1", "/home"])
def test_any_other_page_that_it_leads_to_is_no_billing_page(where: str):
    made = run_import(leading_to(where))
    assert (made.outcome.status, len(made.outcome.bills)) == (ResultStatus.SUCCESS, 2)
    assert made.portal.count("GET", "/billing") == 1 + ("welcome" in where)


def test_answer_of_the_form_itself_is_no_billing_page_though_its_address_is_the_same():
    routes = ordinary_routes()
    login, sign_in = routes["GET /login"], routes["POST /login"]
    assert callable(login)
    assert callable(sign_in)

    def show_login(request: Request) -> bytes:
        return login(request).replace(b'action="/login"', b'action="/billing"').replace(b"Content-Length", b"X-Length")  # type: ignore

    def greet(request: Request) -> bytes:
        made = sign_in(request)  # type: ignore[call-arg]
        assert isinstance(made, bytes)
        cookie = next(line[12:] for line in made.decode().splitlines() if line.startswith("Set-Cookie: "))
        return answer("<h1>Welcome back</h1>", Set_Cookie=cookie)

    made = run_import(routes | {"GET /login": show_login, "POST /billing": greet})
    assert (made.outcome.status, len(made.outcome.bills)) == (ResultStatus.SUCCESS, 2)
    assert made.portal.count("GET", "/billing") == 1
