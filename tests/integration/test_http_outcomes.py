"""Every outcome of an account, told apart from the others, from a portal that brings it about; each with its advice."""

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any

import pytest

from db.models import RETRYABLE_RESULTS, ResultCause, ResultStatus
from db.result_advice import advise
from portal_import.outcomes import Limits, PortalProfile
from tests.portal_server import (
    BILLING_PAGE,
    LOGIN_PAGE,
    Request,
    Route,
    ScriptedPortal,
    Visit,
    answer,
    check_no_secrets,
    ordinary_routes,
    redirect,
    run_import,
    sign_in_page,
    visit,
)

IMPATIENT = Limits(request_timeout_seconds=0.2, max_retries=1)
OF_THE_RUN = {ResultCause.LEFT_ALONE, ResultCause.BREAKER}  # no portal brings these about; tests of runs do


@dataclass(frozen=True)
class Case:
    """Routes in place of a sound portal's, and what they come to."""

    status: ResultStatus
    cause: ResultCause | None
    words: str
    routes: dict[str, Route] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


async def never(request: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


def posted(page: bytes) -> dict[str, Route]:
    return {"POST /login": page}


ATTENTION = ResultStatus.NEEDS_ATTENTION
ERROR = ResultStatus.PORTAL_ERROR
CHANGED = ResultStatus.PORTAL_CHANGED
CASES = {
    "success": Case(ResultStatus.SUCCESS, None, ""),
    "no bills": Case(ResultStatus.NO_BILLS, None, "", {"GET /billing": answer("<p>There are no bills yet.</p>")}),
    "wrong credentials": Case(
        ResultStatus.WRONG_CREDENTIALS,
        None,
        "refused the username or the password",
        posted(sign_in_page("Wrong password")),
    ),
    "code": Case(
        ATTENTION, ResultCause.ONE_TIME_CODE, "one-time code", posted(answer("<p>Enter the 6-digit security code</p>"))
    ),
    "captcha": Case(ATTENTION, ResultCause.CAPTCHA, "CAPTCHA", posted(sign_in_page("Please solve the CAPTCHA"))),
    "captcha before": Case(
        ATTENTION,
        ResultCause.CAPTCHA,
        "the sign-in form asks to solve a CAPTCHA",
        {"GET /login": answer(LOGIN_PAGE.replace("<button>", '<div class="g-recaptcha"></div><button>'))},
    ),
    "locked": Case(
        ATTENTION, ResultCause.LOCKED, "the account is locked", posted(sign_in_page("Your account has been locked."))
    ),
    "terms": Case(
        ATTENTION,
        ResultCause.NEW_TERMS,
        "new terms to be accepted",
        posted(answer("<p>Please accept our new terms.</p>")),
    ),
    "expired password": Case(
        ATTENTION,
        ResultCause.EXPIRED_PASSWORD,
        "password to be changed",
        posted(sign_in_page("Your password has expired")),
    ),
    "slow": Case(ERROR, ResultCause.TIMEOUT, "did not answer within", {"GET /login": never}, {"limits": IMPATIENT}),
    "slow on the whole": Case(
        ERROR,
        ResultCause.TIMEOUT,
        "not finished within",
        {"GET /home": never},
        {"limits": Limits(account_timeout_seconds=0.4)},
    ),
    "fault": Case(ERROR, ResultCause.SERVER_ERROR, "500 Internal Server Error", {"GET /billing": answer("", 500)}),
    "fault before": Case(ERROR, ResultCause.SERVER_ERROR, "503 Service Unavailable", {"GET /login": answer("", 503)}),
    "fault of the sign-in": Case(ERROR, ResultCause.SERVER_ERROR, "not sent a second time", posted(answer("", 502))),
    "busy": Case(ERROR, ResultCause.BUSY, "429 Too Many Requests", {"GET /billing": answer("", 429)}),
    "forbidden": Case(
        ERROR,
        ResultCause.FORBIDDEN_ADDRESS,
        "nothing was sent to",
        {},
        {"limits": Limits(allows_private_networks=False)},
    ),
    "hang-up": Case(ERROR, ResultCause.UNREACHABLE, "closed the connection", {"GET /login": b""}),
    "no form": Case(CHANGED, ResultCause.NO_FORM, "no sign-in form found", {"GET /login": answer("<h1>Hello</h1>")}),
    "unsafe form": Case(
        CHANGED,
        ResultCause.UNSAFE_FORM,
        "another site (http://evil.example)",
        {"GET /login": answer(LOGIN_PAGE.replace('action="/login"', 'action="http://evil.example/"'))},
    ),
    "selector": Case(
        CHANGED, ResultCause.SELECTOR, "selector", {}, {"profile": PortalProfile(password_selector="#pin")}
    ),
    "sign-in page gone": Case(CHANGED, ResultCause.PAGE_GONE, "404 Not Found", {"GET /login": answer("", 404)}),
    "billing page gone": Case(CHANGED, ResultCause.PAGE_GONE, "410 Gone", {"GET /billing": answer("", 410)}),
    "not let in": Case(
        CHANGED, ResultCause.NOT_LET_IN, "asks to sign in again", posted(answer("<h1>Welcome back</h1>"))
    ),
    "nothing recognised": Case(
        CHANGED,
        ResultCause.NO_BILLS_FOUND,
        "no bill documents or billing table",
        {"GET /billing": answer("<h1>Hi</h1>")},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_outcome_is_told_apart(case: Case) -> None:
    made = run_import(ordinary_routes() | case.routes, **case.options)
    check(made, case)


def check(made: Visit, case: Case) -> None:
    assert (made.outcome.status, made.outcome.cause) == (case.status, case.cause), made.outcome
    assert case.words in (made.outcome.error or "")
    # Only what may pass by itself is asked for again, and never what carries the password.
    assert made.portal.count("POST", "/login") <= 1
    if case.status is not ResultStatus.PORTAL_ERROR:
        assert (made.outcome.retry_attempts, made.waits) == (0, [])
    check_no_secrets(made)


def test_portal_that_is_down_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    async def scenario() -> Visit:
        portal = ScriptedPortal({})
        portal.url = f"http://127.0.0.1:{port}"
        return await visit(portal)

    check(asyncio.run(scenario()), Case(ERROR, ResultCause.UNREACHABLE, "connection refused"))


def test_portal_without_tls_is_insecure() -> None:
    async def scenario() -> Visit:
        async with ScriptedPortal({}) as portal:
            portal.url = portal.url.replace("http:", "https:")
            return await visit(portal)

    check(asyncio.run(scenario()), Case(ERROR, ResultCause.INSECURE, "no secure connection"))


HEADERS_ONLY = BILLING_PAGE.partition("</tr>")[0] + "</tr></table>"


@pytest.mark.parametrize(
    ("page", "status", "words"),
    [
        (
            "<p>There are no bills yet.</p>",
            CHANGED,
            "says that there are no bills, though earlier runs found 2",
        ),
        ("<h1>Your account</h1>", CHANGED, "the billing page shows no bills, though earlier runs found 2"),
        (HEADERS_ONLY, CHANGED, "the billing page shows no bills, though earlier runs found 2"),
        ("<p>You have no open invoices.</p>", ResultStatus.NO_BILLS, ""),
        ("<p>No invoices: all bills are paid.</p>", ResultStatus.NO_BILLS, ""),
        ("<p>Keine offenen Rechnungen</p>", ResultStatus.NO_BILLS, ""),
    ],
    ids=["none at all", "another page", "empty table", "none open", "all paid", "keine offenen"],
)
def test_bills_that_are_gone_mean_that_the_portal_changed(page: str, status: ResultStatus, words: str) -> None:
    async def scenario() -> Visit:
        async with ScriptedPortal(ordinary_routes()) as portal:
            first = await visit(portal)
            portal.routes["GET /billing"] = answer(page)
            return await visit(portal, after=first)

    made = asyncio.run(scenario())
    assert made.outcome.status is status
    assert made.outcome.cause == (ResultCause.BILLS_GONE if status is CHANGED else None)
    assert words in (made.outcome.error or "")


def test_account_that_never_had_bills_may_have_an_empty_table() -> None:
    made = run_import(ordinary_routes() | {"GET /billing": answer(HEADERS_ONLY)})
    assert made.outcome.status is ResultStatus.NO_BILLS


def test_code_that_the_billing_page_asks_for_needs_attention() -> None:
    routes = ordinary_routes() | {
        "GET /billing": redirect("/mfa"),
        "GET /mfa": answer('<form method="post"><label>Code <input name="otp"></label></form>'),
    }
    check(run_import(routes), Case(ATTENTION, ResultCause.ONE_TIME_CODE, "one-time code"))


def test_every_cause_is_brought_about_by_one_of_these_tests() -> None:
    seen = {case.cause for case in CASES.values()} | {ResultCause.INSECURE, ResultCause.BILLS_GONE}
    assert seen - {None} == set(ResultCause) - OF_THE_RUN


def test_advice_is_each_ones_own() -> None:
    causes = [advise(ResultStatus.FAILED, cause) for cause in ResultCause]
    statuses = [advise(status, None) for status in ResultStatus]
    assert len({*causes, *statuses}) == len(causes) + len(statuses)
    assert [text for text in (*causes, *statuses) if not text] == [advise(ResultStatus.SUCCESS, None)]


def test_what_is_tried_again_by_itself_is_no_refused_sign_in() -> None:
    refused = {ResultStatus.WRONG_CREDENTIALS, ResultStatus.NEEDS_ATTENTION, ResultStatus.PORTAL_CHANGED}
    assert not refused & set(RETRYABLE_RESULTS)
