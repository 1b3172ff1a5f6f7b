"""A test of the sign-in: what it tells of each step, and that it fetches nothing and tells no secret."""

import asyncio
from dataclasses import dataclass, field

from db.models import LogLevel, ResultCause, ResultStatus
from portal_import.engine.http_engine import try_sign_in
from portal_import.outcomes import AccountLogin, Limits, PortalProfile, SignInTest, TableSample
from tests.portal_server import (
    LOGIN_PAGE,
    PASSWORD,
    USERNAME,
    OpenGate,
    Request,
    Route,
    ScriptedPortal,
    answer,
    ordinary_routes,
    redirect,
    sign_in_page,
)


@dataclass
class Tried:
    """A test and all that it told."""

    portal: ScriptedPortal
    lines: list[str] = field(default_factory=list)
    test: SignInTest | None = None

    @property
    def found(self) -> SignInTest:
        assert self.test is not None
        return self.test

    def tells(self, words: str) -> bool:
        return any(words.replace("{}", self.portal.url) in line for line in self.lines)


def run_test(routes: dict[str, Route], *, bills_before: int = 0, login_path: str = "/login") -> Tried:
    async def scenario() -> Tried:
        async with ScriptedPortal(routes) as portal:
            made = Tried(portal)
            login = AccountLogin(USERNAME, PASSWORD, portal.url + login_path, f"{portal.url}/billing", bills_before)

            def note(level: LogLevel, line: str) -> None:
                made.lines.append(line)

            made.test = await try_sign_in(login, PortalProfile(), Limits(), report=note, gate=OpenGate())
            return made

    made = asyncio.run(scenario())
    spoken = "\n".join([*made.lines, repr(made.test)])
    for secret in (PASSWORD, "p4ss", "token-v", "session=", "visitor=", "secret-query"):
        assert secret not in spoken
    return made


def test_steps_tell_what_was_seen_and_nothing_is_fetched() -> None:
    page = LOGIN_PAGE.replace('action="/login"', 'action="/login?t=secret-query"')
    routes = ordinary_routes() | {"GET /enter": redirect("/login?next=secret-query", 302)}
    show_login = routes["GET /login"]
    assert callable(show_login)
    routes["GET /login"] = answer(f"<title>Welcome\nback</title>{page}<input name='loose'>".replace("{visitor}", "v0"))
    routes["POST /login"] = lambda request: redirect("/home", Set_Cookie=f"session={USERNAME}; Path=/")
    made = run_test(routes, login_path="/enter?x=secret-query")
    assert made.found.outcome.status is ResultStatus.SUCCESS
    assert made.found.outcome.bills == ()
    for words in (
        "redirected (302 Found) to {}/login",
        "sign-in page: “Welcome back”, 200 OK, at {}/login",
        "form sent by POST to {}/login: csrf (hidden), email (email), pass (password), button “Sign in”",
        "outside of any form: loose (text)",
        "sending the sign-in form to {}/login",
        "redirected (303 See Other) to {}/home",
        "answer to the sign-in: a page without a title, 200 OK, at {}/home",
        "  no form on it",
        "billing page: a page without a title, 200 OK, at {}/billing",
        "bills recognised in a table: 2; documents linked: 2; a test fetches none of them",
        "number under “Invoice number”",
    ):
        assert made.tells(words), (words, made.lines)
    assert [request.path for request in made.portal.requests if request.path.startswith("/bills")] == []


def test_sample_holds_the_table_as_it_stood() -> None:
    sample = run_test(ordinary_routes()).found.sample
    assert sample is not None
    assert sample.headers == ("Invoice number", "Issue date", "Due date", "Amount", "")
    assert sample.rows == (
        ("00017", "2026-11-24", "2026-12-08", "1.234,56 €", "PDF"),
        ("00018", "2026-12-24", "2027-01-07", "7,00 €", "PDF"),
    )


def test_table_that_is_not_recognised_is_sampled_for_mapping_it() -> None:
    rows = "".join(f"<tr><td>X{n}</td><td colspan=2>{n},00 {PASSWORD}</td></tr>" for n in range(20))
    page = (
        f"<table><tr><td><table><tr><td>layout</td></tr></table></td></tr></table>"
        f"<nav><table>{'<tr><th>Menu</th><td>Item</td></tr>' * 30}</table></nav>"
        f"<table><tr><th>Vorgang</th><th>Wert</th><th>Extra</th></tr>{rows}</table>"
    )
    made = run_test(ordinary_routes() | {"GET /billing": answer(page)})
    assert (made.found.outcome.status, made.found.outcome.cause) == (
        ResultStatus.PORTAL_CHANGED,
        ResultCause.NO_BILLS_FOUND,
    )
    assert made.tells("no table with the columns of bills was recognised")
    expected = tuple((f"X{n}", f"{n},00 •••", f"{n},00 •••") for n in range(10))
    assert made.found.sample == TableSample(("Vorgang", "Wert", "Extra"), expected)


def test_page_without_a_table_gives_no_sample() -> None:
    made = run_test(ordinary_routes() | {"GET /billing": answer("<p>There are no bills yet.</p>")})
    assert (made.found.outcome.status, made.found.sample) == (ResultStatus.NO_BILLS, None)
    assert made.tells("the page says that there are no bills")


def test_bills_that_are_gone_are_noticed_by_a_test_too() -> None:
    made = run_test(ordinary_routes() | {"GET /billing": answer("<p>There are no bills yet.</p>")}, bills_before=3)
    assert made.found.outcome.cause is ResultCause.BILLS_GONE


def test_refused_test_shows_the_page_that_refused_it() -> None:
    def refuse(request: Request) -> bytes:
        return sign_in_page(f"Wrong password: {request.form['pass'].replace('&', '&amp;').replace('<', '&lt;')}")

    made = run_test(ordinary_routes() | {"POST /login": refuse})
    assert made.found.outcome.status is ResultStatus.WRONG_CREDENTIALS
    assert made.found.outcome.error == "the portal refused the username or the password: “Wrong password: •••”"
    assert made.tells("answer to the sign-in: a page without a title, 200 OK, at {}/login")
    assert made.portal.count("POST", "/login") == 1


def test_many_forms_and_fields_are_told_in_few_words() -> None:
    fields = "".join(f"<input name='f{n}'>" for n in range(50))
    page = f"{LOGIN_PAGE.replace('{visitor}', 'v0')}" + f"<form>{fields}</form>" * 10
    made = run_test(ordinary_routes() | {"GET /login": answer(page)})
    assert made.tells("f19 (text), and 30 more")
    assert made.tells("and 6 more forms")
    assert max(map(len, made.lines)) < 1000
