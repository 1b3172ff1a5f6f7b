"""The ways in which portals ask for a password: in two steps, by GET, by HTTP authentication, behind refreshes."""

import asyncio
import base64
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest

from db.models import ResultCause, ResultStatus
from portal_import.outcomes import PortalProfile
from tests.portal_server import (
    BILLING_PAGE,
    PASSWORD,
    USERNAME,
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
    visit,
)

USERNAME_PAGE = (
    '<h1>Sign in</h1><form method="post" action="{action}"><input type="hidden" name="csrf" value="token-one">'
    '<input name="who" autocomplete="username"><button class="next">Next</button></form>{alert}'
)
PASSWORD_PAGE = (
    '<h1>Welcome, <b>{who}</b></h1><form method="post" action="{action}"><input type="hidden" name="step" value="2">'
    '<input type="password" name="pass" autocomplete="current-password"><button class="in">Sign in</button></form>'
    "{alert}"
)
BASIC = {"WWW_Authenticate": 'Basic realm="Bills, Digest and more", charset="UTF-8"'}


def two_steps(step_two: Callable[[Request], bytes], *, same_url: bool) -> dict[str, Route]:
    """A portal that asks for the username first; `step_two` answers it."""
    second = "/login" if same_url else "/login/password"

    def post(request: Request) -> bytes:
        return check_password(request) if "pass" in request.form else step_two(request)

    def check_password(request: Request) -> bytes:
        if request.cookies.get("who") != USERNAME or request.form["pass"] != PASSWORD or request.form["step"] != "2":
            alert = '<p role="alert">Wrong password.</p>'
            return answer(PASSWORD_PAGE.format(who=USERNAME, action=second, alert=alert))
        return redirect("/home", Set_Cookie=f"session={USERNAME}; Path=/")

    return ordinary_routes() | {
        "GET /login": answer(USERNAME_PAGE.format(action="/login", alert="")),
        "POST /login": post,
        "GET /login/password": answer(PASSWORD_PAGE.format(who=USERNAME, action=second, alert="")),
        "POST /login/password": check_password,
    }


def show_password_page(request: Request) -> bytes:
    page = PASSWORD_PAGE.format(who=request.form["who"], action="/login", alert="")
    return answer(page, Set_Cookie=f"who={request.form['who']}; Path=/")


def pass_on_to_password_page(request: Request) -> bytes:
    return redirect("/login/password", Set_Cookie=f"who={request.form['who']}; Path=/")


def posts(made: Visit) -> list[list[str]]:
    """The fields of each form that was sent, in order."""
    return [sorted(request.form) for request in made.portal.requests if request.method == "POST"]


@pytest.mark.parametrize(
    ("step_two", "same_url"), [(show_password_page, True), (pass_on_to_password_page, False)], ids=["same", "redirect"]
)
def test_username_and_password_on_pages_of_their_own(step_two: Callable[[Request], bytes], same_url: bool) -> None:
    made = run_import(two_steps(step_two, same_url=same_url))
    assert made.outcome.status is ResultStatus.SUCCESS, made.outcome
    assert posts(made) == [["csrf", "who"], ["pass", "step"]]
    assert "sending the username to" in made.said
    check_no_secrets(made)


@pytest.mark.parametrize(
    ("step_two", "same_url"), [(show_password_page, True), (pass_on_to_password_page, False)], ids=["same", "redirect"]
)
def test_wrong_password_of_the_second_step_is_sent_once(step_two: Callable[[Request], bytes], same_url: bool) -> None:
    made = run_import(two_steps(step_two, same_url=same_url), password="p4ss wrong")
    check_failed(
        made, ResultStatus.WRONG_CREDENTIALS, "the portal refused the username or the password: “Wrong password.”"
    )
    assert posts(made) == [["csrf", "who"], ["pass", "step"]]


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ("We couldn't find an account with that e-mail.", ResultStatus.WRONG_CREDENTIALS, "refused the username: “We"),
        ("Your account has been locked.", ResultStatus.NEEDS_ATTENTION, "account is locked: “Your account"),
        ("We have e-mailed you a sign-in link.", ResultStatus.NEEDS_ATTENTION, "one-time code"),
        ("Something went wrong, try again later", ResultStatus.PORTAL_ERROR, "could not sign the account in"),
        ("Hello there", ResultStatus.PORTAL_CHANGED, "after the username, no password was asked for at"),
    ],
)
def test_portal_that_asks_for_no_password_says_why(said: str, status: ResultStatus, words: str) -> None:
    page = USERNAME_PAGE.format(action="/login", alert=f'<p role="alert">{said}</p>')
    made = run_import(two_steps(lambda request: answer(page), same_url=True))
    assert made.outcome.status is status
    assert words in (made.outcome.error or "")
    assert posts(made) == [["csrf", "who"]]
    assert made.portal.count("GET", "/billing") == 0


def test_failing_first_step_is_not_repeated() -> None:
    made = run_import(two_steps(lambda request: answer("busy", 503), same_url=True))
    assert made.outcome.status is ResultStatus.PORTAL_ERROR
    assert posts(made) == [["csrf", "who"]]


def test_second_step_of_another_origin_gets_no_password() -> None:
    async def scenario() -> tuple[Visit, ScriptedPortal]:
        async with ScriptedPortal({}) as thief:
            page = PASSWORD_PAGE.format(who="ann", action=f"{thief.url}/login", alert="")
            async with ScriptedPortal(two_steps(lambda request: answer(page), same_url=True)) as portal:
                return await visit(portal), thief

    made, thief = asyncio.run(scenario())
    assert made.outcome.cause is ResultCause.UNSAFE_FORM
    assert thief.requests == []


@pytest.mark.parametrize("selector", ["button.next", "button.in", "button"])
def test_submit_selector_may_be_meant_for_either_step(selector: str) -> None:
    made = run_import(two_steps(show_password_page, same_url=True), profile=PortalProfile(submit_selector=selector))
    assert made.outcome.status is ResultStatus.SUCCESS


def test_submit_selector_that_neither_step_has_is_told() -> None:
    made = run_import(two_steps(show_password_page, same_url=True), profile=PortalProfile(submit_selector="#go"))
    assert (made.outcome.status, made.outcome.cause) == (ResultStatus.PORTAL_CHANGED, ResultCause.SELECTOR)
    assert posts(made) == [["csrf", "who"]]


# By GET


def by_get(sign_in: Callable[[Request], bytes]) -> dict[str, Route]:
    page = (
        '<form action="/enter?old=1"><input name="u" type="email"><input type="password" name="p">'
        "<button>Log in</button></form>"
    )
    return ordinary_routes() | {"GET /login": answer(page), "GET /enter": sign_in}


def check_query(request: Request) -> bytes:
    if parse_qs(request.query) != {"u": [USERNAME], "p": [PASSWORD]}:
        return answer('<p role="alert">Wrong password.</p><form><input type="password"></form>')
    return answer("<h1>Hello</h1>", Set_Cookie=f"session={USERNAME}; Path=/")


def test_form_by_get_signs_in_and_the_password_goes_nowhere_else() -> None:
    made = run_import(by_get(check_query))
    assert made.outcome.status is ResultStatus.SUCCESS
    assert made.portal.count("GET", "/enter") == 1
    others = [request for request in made.portal.requests if request.path != "/enter"]
    assert [r.headers["referer"] for r in others if r.path == "/billing"] == [f"{made.portal.url}/enter"]
    assert not [r for r in others if "p4ss" in f"{r.query} {r.headers} {r.body!r}"]
    assert "the portal may write it into its own logs" in made.said
    check_no_secrets(made)


def test_wrong_password_by_get_is_sent_once() -> None:
    made = run_import(by_get(check_query), password="p4ss other")
    check_failed(
        made, ResultStatus.WRONG_CREDENTIALS, "the portal refused the username or the password: “Wrong password.”"
    )
    assert made.portal.count("GET", "/enter") == 1


@pytest.mark.parametrize("status", [302, 307, 308])
def test_sign_in_by_get_may_redirect_but_not_with_the_password(status: int) -> None:
    made = run_import(by_get(lambda request: redirect("/home", status, Set_Cookie=f"session={USERNAME}; Path=/")))
    assert made.outcome.status is ResultStatus.SUCCESS
    made = run_import(by_get(lambda request: redirect(f"/enter/?{request.query}", status)))
    check_failed(
        made,
        ResultStatus.PORTAL_ERROR,
        "the portal asked for the password to be sent a second time, in an address",
    )
    assert made.portal.count("GET", "/enter/") == 0


@pytest.mark.parametrize("status", [429, 500, 503])
def test_failing_sign_in_by_get_is_not_repeated(status: int) -> None:
    made = run_import(by_get(lambda request: answer("busy", status, Retry_After="1")))
    assert made.outcome.status is ResultStatus.PORTAL_ERROR
    assert (made.portal.count("GET", "/enter"), made.waits) == (1, [])
    check_no_secrets(made)


# By HTTP authentication


def credentials(request: Request) -> str | None:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    return base64.b64decode(value).decode() if kind == "Basic" else None


def protected(content: bytes, *, password: str = PASSWORD) -> Callable[[Request], bytes]:
    def serve(request: Request) -> bytes:
        if credentials(request) == f"{USERNAME}:{password}":
            return content
        return answer("<h1>Unauthorized</h1>", 401, **BASIC)

    return serve


def behind_basic(password: str = PASSWORD) -> dict[str, Route]:
    routes = ordinary_routes()
    pages = {"GET /login": answer("<h1>Start</h1>"), "GET /billing": answer(BILLING_PAGE)}
    pages |= {f"GET /bills/{n}.pdf": answer(b"%PDF-1.4\n%%EOF\n", content_type="application/pdf") for n in (17, 18)}
    return routes | {path: protected(content, password=password) for path, content in pages.items()}


def sent_credentials(made: Visit) -> list[str]:
    return [f"{r.method} {r.path}" for r in made.portal.requests if "authorization" in r.headers]


def test_http_authentication_of_the_sign_in_page_is_answered() -> None:
    made = run_import(behind_basic())
    assert made.outcome.status is ResultStatus.SUCCESS, made.outcome
    assert [(r.method, r.path) for r in made.portal.requests] == [
        ("GET", "/login"), ("GET", "/login"), ("GET", "/billing"), ("GET", "/bills/17.pdf"), ("GET", "/bills/18.pdf"),
    ]  # fmt: skip
    assert len(sent_credentials(made)) == 4
    assert "(HTTP authentication)" in made.said
    check_no_secrets(made)
    assert "YW5u" not in made.said  # as the header begins


def test_http_authentication_of_the_billing_page_alone_is_answered() -> None:
    routes = behind_basic() | {"GET /login": answer("<h1>Welcome to our bills</h1>")}
    made = run_import(routes)
    assert made.outcome.status is ResultStatus.SUCCESS, made.outcome
    assert sent_credentials(made)[:2] == ["GET /billing", "GET /billing"]


def test_refused_http_authentication_is_sent_once() -> None:
    made = run_import(behind_basic(password="another"))
    check_failed(made, ResultStatus.WRONG_CREDENTIALS, "the portal refused the username or the password")
    assert sent_credentials(made) == ["GET /login"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_failing_http_authentication_is_not_repeated(status: int) -> None:
    def fail(request: Request) -> bytes:
        return answer("busy", status, Retry_After="1") if credentials(request) else answer("", 401, **BASIC)

    made = run_import(behind_basic() | {"GET /login": fail})
    assert made.outcome.status is ResultStatus.PORTAL_ERROR
    assert (sent_credentials(made), made.waits) == (["GET /login"], [])


def test_http_authentication_of_another_site_gets_no_password() -> None:
    async def scenario() -> tuple[Visit, ScriptedPortal]:
        thief = ScriptedPortal({"GET /": answer("", 401, **BASIC)})
        portal = ScriptedPortal(ordinary_routes() | {"GET /login": lambda request: redirect(f"{thief.url}/")})
        async with thief, portal:
            return await visit(portal), thief

    made, thief = asyncio.run(scenario())
    assert (made.outcome.status, made.outcome.cause) == (ResultStatus.PORTAL_CHANGED, ResultCause.UNSAFE_FORM)
    assert not [request for request in thief.requests if "authorization" in request.headers]


def test_authorised_portal_that_links_elsewhere_keeps_the_password_to_itself() -> None:
    async def scenario() -> tuple[Visit, ScriptedPortal]:
        pdf = answer(b"%PDF-1.4\n%%EOF\n", content_type="application/pdf")
        async with ScriptedPortal({"GET /17.pdf": pdf, "GET /away": pdf}) as other:
            page = answer(BILLING_PAGE.replace('"/bills/17.pdf"', f'"{other.url}/17.pdf"'))
            routes = behind_basic() | {
                "GET /billing": protected(page),
                "GET /bills/18.pdf": protected(redirect(f"{other.url}/away")),
            }
            async with ScriptedPortal(routes) as portal:
                return await visit(portal), other

    made, other = asyncio.run(scenario())
    assert made.outcome.status is ResultStatus.SUCCESS
    assert [request.path for request in other.requests] == ["/17.pdf", "/away"]
    assert not [request for request in other.requests if "authorization" in request.headers]


def test_form_behind_http_authentication_gets_no_second_attempt() -> None:
    form = answer('<form method="post"><input name="u"><input type="password" name="p"></form>')
    made = run_import(behind_basic() | {"GET /login": protected(form)})
    assert (made.outcome.status, made.outcome.cause) == (ResultStatus.PORTAL_CHANGED, ResultCause.NOT_LET_IN)
    assert "asks to sign in twice" in (made.outcome.error or "")
    assert [r.method for r in made.portal.requests if r.method == "POST"] == []


def test_form_goes_before_http_authentication() -> None:
    routes = ordinary_routes()
    show_login = routes["GET /login"]
    assert callable(show_login)

    def challenge(request: Request) -> bytes:
        page = show_login(request)
        assert isinstance(page, bytes)
        return page.replace(b"200 Scripted", b"401 Scripted\r\nWWW-Authenticate: Basic", 1)

    made = run_import(routes | {"GET /login": challenge})
    assert made.outcome.status is ResultStatus.SUCCESS
    assert sent_credentials(made) == []


def test_http_authentication_of_another_kind_is_named() -> None:
    headers = {"WWW_Authenticate": 'Digest realm="Basic", nonce="x"'}
    made = run_import(ordinary_routes() | {"GET /login": answer("", 401, **headers)})
    check_failed(
        made,
        ResultStatus.PORTAL_CHANGED,
        "the portal asks for HTTP authentication of a kind that is not supported (Digest)",
    )


def test_username_with_a_colon_is_not_sent_by_http_authentication() -> None:
    made = run_import(behind_basic(), username="ann:x")
    assert made.outcome.status is ResultStatus.FAILED
    assert sent_credentials(made) == []


# Behind refreshes and redirects


def refresh(target: str, delay: int = 0) -> bytes:
    return answer(f'<head><meta http-equiv="Refresh" content="{delay}; URL={target}"></head><p>One moment</p>')


def test_refreshes_are_followed_at_every_step() -> None:
    routes = ordinary_routes()
    routes["GET /entry"] = redirect("/hop", 302, Set_Cookie="hop=1; Path=/")
    routes["GET /hop"] = lambda request: refresh("'/login'", 3) if request.cookies.get("hop") else answer("", 404)
    sign_in = routes["POST /login"]
    assert callable(sign_in)

    def sign_in_with_refresh(request: Request) -> bytes:
        went_well = sign_in(request)
        assert isinstance(went_well, bytes)
        page = refresh("/home")
        cookie = f"Set-Cookie: session={USERNAME}; Path=/\r\n".encode()
        return page.replace(b"Content-Type", cookie + b"Content-Type", 1) if b"303" in went_well[:20] else went_well

    routes["POST /login"] = sign_in_with_refresh
    routes["GET /bills"] = answer("<p>This way</p>", Refresh="1;url=billing")
    made = run_import(routes, login_path="/entry", billing_path="/bills")
    assert made.outcome.status is ResultStatus.SUCCESS, made.outcome
    assert [(r.method, r.path) for r in made.portal.requests][:7] == [
        ("GET", "/entry"), ("GET", "/hop"), ("GET", "/login"), ("POST", "/login"), ("GET", "/home"),
        ("GET", "/bills"), ("GET", "/billing"),
    ]  # fmt: skip


def test_refreshes_in_a_circle_end() -> None:
    made = run_import(ordinary_routes() | {"GET /login": refresh("/other"), "GET /other": refresh("/login")})
    check_failed(made, ResultStatus.PORTAL_ERROR, "the portal redirects in a circle")


@pytest.mark.parametrize(
    "head",
    [
        '<meta http-equiv="refresh" content="30; url=/logout">',
        '<meta http-equiv="refresh" content="5">',
        '<meta http-equiv="refresh" content="0; url=">',
        '<meta http-equiv="refresh" content="0; url=/billing">',
        '<meta http-equiv="refresh" content="0; url=javascript:alert(1)">',
        '<meta http-equiv="refresh" content="soon; url=/logout">',
        '<noscript><meta http-equiv="refresh" content="0; url=/logout"></noscript>',
        "<p>Write http-equiv=refresh content=0;url=/logout</p>",
    ],
)
def test_page_that_only_brings_itself_up_to_date_stays(head: str) -> None:
    page = answer(f"<html><head>{head}</head><body>{BILLING_PAGE}</body></html>")
    made = run_import(ordinary_routes() | {"GET /billing": page})
    assert made.outcome.status is ResultStatus.SUCCESS
    assert made.portal.count("GET", "/billing") == 1
    assert made.portal.count("GET", "/logout") == 0


def test_multipart_form_below_a_base_address_in_another_encoding_signs_in() -> None:
    page = (
        '<base href="/deep/"><form method="post" enctype="multipart/form-data" action="enter"><input name="Käufer">'
        '<input type="password" name="pass" autocomplete="current-password"><button>Anmelden</button></form>'
    )

    def enter(request: Request) -> bytes:
        parts = request.body.decode("cp1252")
        is_right = f'name="Käufer"\r\n\r\n{USERNAME}' in parts and f'name="pass"\r\n\r\n{PASSWORD}' in parts
        return redirect("/home", Set_Cookie=f"session={USERNAME}; Path=/") if is_right else answer("", 403)

    content = page.encode("cp1252")
    routes = ordinary_routes() | {
        "GET /login": answer(content, content_type="text/html; charset=windows-1252"),
        "POST /deep/enter": enter,
    }
    assert run_import(routes).outcome.status is ResultStatus.SUCCESS
