"""Imports with a real Chromium from portals that do exactly what a test scripts."""

import asyncio
import hashlib
import json
import sys
from unittest.mock import patch

import psutil
import pytest

from db.models import ResultStatus
from portal_import.engine.engines import NO_PLAYWRIGHT, open_engine
from portal_import.engine.errors import EngineUnavailableError
from portal_import.outcomes import Limits
from tests.browser_engine.conftest import VisitInBrowser
from tests.portal_server import (
    BILLING_PAGE,
    PASSWORD,
    PDF,
    USERNAME,
    Request,
    Route,
    answer,
    check_failed,
    check_no_secrets,
    endless,
    ordinary_routes,
    redirect,
)

WRONG = "E-mail or password is not correct."
# No form, no type=submit, the button disabled until both fields are filled in, and nothing of it in the page itself.
SCRIPTED_FORM = """<title>Portal</title><div id=app></div><script>
const send = async () => {
  const body = JSON.stringify({ user: u.value, password: p.value });
  const headers = { "Content-Type": "application/json" };
  const sent = await fetch("/api/session", { method: "POST", headers, body });
  if (sent.ok) location.href = "/home"; else e.textContent = "%s";
};
setTimeout(() => {
  app.innerHTML = `<h1>Sign in</h1><label>E-mail <input id=u></label><label>Password <input id=p type=password></label>
    <button type=button disabled id=b>Sign in</button><p id=e role=alert></p>`;
  p.oninput = () => { b.disabled = !p.value || !u.value };
  b.onclick = send;
}, 300);
</script>""".replace("%s", WRONG)


def open_session(request: Request) -> bytes:
    if json.loads(request.body) != {"user": USERNAME, "password": PASSWORD}:
        return answer("{}", 401, "application/json")
    return answer("{}", 200, "application/json", Set_Cookie=f"session={USERNAME}; Path=/; HttpOnly")


def scripted_routes(**changed: Route) -> dict[str, Route]:
    """A portal whose form a script builds; signed in, it is the ordinary one."""
    return ordinary_routes() | {"GET /login": answer(SCRIPTED_FORM), "POST /api/session": open_session}


def form_sent_by_script(method: str, action: str) -> bytes:
    """A form that says where it goes only when it is sent."""
    return answer(
        f"""<form method="{method}"><input name="email" type="email"><input name="pass" type="password">
        <button>Sign in</button></form><script>
        document.forms[0].onsubmit = (event) => {{ event.target.action = "{action}"; }};</script>"""
    )


def test_form_and_bills_of_scripts_are_read(visit_in_browser: VisitInBrowser) -> None:
    made = visit_in_browser(scripted_routes())
    assert made.outcome.status == ResultStatus.SUCCESS, made.outcome
    assert [bill.number for bill in made.outcome.bills] == ["00017", "00018"]
    assert [d.file_name for bill in made.outcome.bills for d in bill.documents] == ["17.pdf", "18.pdf"]
    assert len(made.files) == 2
    assert made.portal.count("POST", "/api/session") == 1
    agents = {request.headers["user-agent"] for request in made.portal.requests}
    assert len(agents) == 1
    assert agents.pop().endswith(" Punctual/0.1.0")
    check_no_secrets(made)


def test_wrong_password_is_sent_once_and_told_by_what_the_script_shows(visit_in_browser: VisitInBrowser) -> None:
    made = visit_in_browser(scripted_routes(), password="wrong")
    assert made.outcome.status == ResultStatus.WRONG_CREDENTIALS
    assert made.outcome.error == f"the portal refused the username or the password: “{WRONG}”"
    assert made.portal.count("POST", "/api/session") == 1
    assert made.gate.sign_ins == 1


def test_test_of_the_sign_in_tells_what_scripts_built_and_fetches_nothing(visit_in_browser: VisitInBrowser) -> None:
    made = visit_in_browser(scripted_routes(), is_test=True)
    assert made.outcome.status == ResultStatus.SUCCESS, made.outcome
    for seen in ("sign-in page", "billing page", "bills recognised in a table: 2; documents linked: 2", "signed in"):
        assert seen in made.said
    assert not [request for request in made.portal.requests if request.path.startswith("/bills/")]
    assert made.portal.count("POST", "/api/session") == 1
    check_no_secrets(made)


def test_two_steps_by_script(visit_in_browser: VisitInBrowser) -> None:
    form = (
        SCRIPTED_FORM.replace("<input id=u", "<input id=u autocomplete=username")
        .replace("<input id=p", "<input id=p hidden")
        .replace(
            "b.onclick = send",
            "b.disabled = false; b.onclick = () => { if (p.hidden) p.hidden = !(b.disabled = true); else send() }",
        )
    )
    made = visit_in_browser(scripted_routes() | {"GET /login": answer(form)})
    assert made.outcome.status == ResultStatus.SUCCESS, made.outcome
    assert made.portal.count("POST", "/api/session") == 1


# Bills that a script fetches when their button is pressed, and gives to the browser as a file.
_LINK = '<a href="/bills/{}.pdf">PDF</a>'
_BUTTONS = '<a href="#" onclick="save(18)">PDF</a> <button onclick=pay()>Pay</button>'
SCRIPTED_BILLS = (
    BILLING_PAGE.replace(_LINK.format(17), "<button onclick=save(17)>PDF</button>").replace(_LINK.format(18), _BUTTONS)
    + """<script>
const save = async (number) => {
  const file = await (await fetch(`/bills/${number}.pdf`)).blob();
  Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: `${number}.pdf` }).click();
};
const pay = () => fetch("/pay", { method: "POST" });
</script>"""
)


def test_files_that_scripts_make_are_stored(visit_in_browser: VisitInBrowser) -> None:
    made = visit_in_browser(scripted_routes() | {"GET /billing": answer(SCRIPTED_BILLS)})
    assert made.outcome.status == ResultStatus.SUCCESS, made.outcome
    documents = [document for bill in made.outcome.bills for document in bill.documents]
    assert [(d.file_name, d.content_type) for d in documents] == [
        ("17.pdf", "application/pdf"),
        ("18.pdf", "application/pdf"),
    ]
    assert [d.sha256 for d in documents] == [hashlib.sha256(PDF + number).hexdigest() for number in (b"17", b"18")]
    assert {file.name for file in made.files} == {f"{d.sha256}.pdf" for d in documents}
    assert made.portal.count("POST", "/pay") == 0


def test_file_of_a_script_beyond_the_limit_is_not_kept(visit_in_browser: VisitInBrowser) -> None:
    limits = Limits(request_timeout_seconds=10, max_file_bytes=1_000)
    made = visit_in_browser(scripted_routes() | {"GET /billing": answer(SCRIPTED_BILLS)}, limits=limits)
    assert made.outcome.status == ResultStatus.PORTAL_ERROR
    assert "the file is larger than the 1,000 bytes allowed" in (made.outcome.error or "")
    assert made.files == []


@pytest.mark.parametrize("way", ["form", "address", "redirect"])
def test_password_is_not_sent_to_another_site(visit_in_browser: VisitInBrowser, way: str) -> None:
    # Another port is another origin; the same scripted portal answers under its other name.
    def elsewhere(request: Request) -> str:
        return f"http://{request.headers['host'].replace('127.0.0.1', 'localhost')}/collect"

    def show_form(request: Request) -> bytes:
        return form_sent_by_script("get" if way == "address" else "post", elsewhere(request))

    routes = ordinary_routes() | {"GET /login": show_form, "POST /collect": answer("ha"), "GET /collect": answer("ha")}
    if way == "redirect":
        routes |= {
            "GET /login": form_sent_by_script("post", "/session"),
            "POST /session": lambda request: redirect(elsewhere(request), 307),
        }
    made = visit_in_browser(routes)
    assert made.outcome.status == ResultStatus.PORTAL_CHANGED, made.outcome
    assert not [request for request in made.portal.requests if request.path == "/collect"]
    check_no_secrets(made)


def test_page_that_tries_the_password_again_is_stopped(visit_in_browser: VisitInBrowser) -> None:
    form = SCRIPTED_FORM.replace("if (sent.ok)", "if (!sent.ok) await send(); if (sent.ok)")
    made = visit_in_browser(scripted_routes() | {"GET /login": answer(form)}, password="wrong")
    check_failed(
        made,
        ResultStatus.PORTAL_CHANGED,
        "the portal's page tried to send the password a second time, which was stopped",
    )
    assert made.portal.count("POST", "/api/session") == 1


@pytest.mark.parametrize("path", ["/login", "/billing"])
def test_metadata_addresses_are_refused_behind_redirects_too(visit_in_browser: VisitInBrowser, path: str) -> None:
    routes = scripted_routes() | {f"GET {path}": redirect("http://169.254.169.254/latest/meta-data/", 302)}
    made = visit_in_browser(routes)
    assert made.outcome.status == ResultStatus.PORTAL_ERROR
    assert made.outcome.error == (
        "nothing was sent to 169.254.169.254: 169.254.169.254 is a link-local address, which is never connected to"
    )


def test_private_networks_are_refused_by_the_setting(visit_in_browser: VisitInBrowser) -> None:
    made = visit_in_browser(scripted_routes(), limits=Limits(allows_private_networks=False))
    assert made.outcome.error is not None
    assert made.outcome.error.startswith("nothing was sent to 127.0.0.1: ")
    assert made.portal.requests == []


def test_endless_page_is_cut_off(visit_in_browser: VisitInBrowser) -> None:
    sent: list[int] = []
    limits = Limits(request_timeout_seconds=10, max_page_bytes=200_000)
    made = visit_in_browser(scripted_routes() | {"GET /billing": endless("text/html", sent)}, limits=limits)
    check_failed(
        made, ResultStatus.PORTAL_ERROR, "the portal's pages sent more than the 2,000,000 bytes allowed to a visit"
    )
    assert sum(sent) < 50_000_000


def test_busy_page_and_killed_browser_end_their_own_account_only(visit_in_browser: VisitInBrowser) -> None:
    limits = Limits(request_timeout_seconds=3, max_retries=0)
    busy = visit_in_browser(scripted_routes() | {"GET /login": answer("<script>for (;;) ;</script>")}, limits=limits)
    assert busy.outcome.status == ResultStatus.PORTAL_ERROR

    def kill_browser(request: Request) -> bytes:
        for process in psutil.Process().children(recursive=True):
            if any(argument.startswith("--user-data-dir=") for argument in process.cmdline()):
                process.kill()
        return answer("<h1>Too late</h1>")

    killed = visit_in_browser(scripted_routes() | {"GET /login": kill_browser})
    assert killed.outcome.status == ResultStatus.PORTAL_ERROR
    assert visit_in_browser(scripted_routes()).outcome.status == ResultStatus.SUCCESS


def test_sign_in_that_breaks_off_is_the_portals_error_and_not_repeated(visit_in_browser: VisitInBrowser) -> None:
    made = visit_in_browser(scripted_routes() | {"POST /api/session": b""})
    assert made.outcome.status == ResultStatus.PORTAL_ERROR, made.outcome
    assert (made.outcome.error or "").startswith("the sign-in failed and was not sent a second time: ")
    assert made.portal.count("POST", "/api/session") == 1


def test_other_engines_do_without_playwright() -> None:
    async def open_both() -> None:
        async with open_engine("http") as engine:
            assert callable(engine.import_account)
        with pytest.raises(EngineUnavailableError) as told:
            async with open_engine("browser"):
                pass
        assert str(told.value) == NO_PLAYWRIGHT

    ours = ("portal_import.engine.browser_engine", "portal_import.engine.chromium")
    with patch.dict(sys.modules, {"playwright": None, "playwright.async_api": None}):
        for name in ours:
            sys.modules.pop(name, None)
        asyncio.run(open_both())
