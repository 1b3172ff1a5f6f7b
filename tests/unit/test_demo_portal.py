import csv
import hashlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import lxml.html
import pypdfium2
import pytest
from starlette.testclient import TestClient

from demo.accounts import ACCOUNTS, ACCOUNTS_BY_USERNAME, ACCOUNTS_CSV, Account, Offer
from demo.app import WRONG_CREDENTIALS, build_app
from demo.bills import CREDIT, STANDING_CHARGE_PER_DAY, VAT_RATE, list_bills
from demo.documents import make_document, make_file_name

PROJECT = Path(__file__).parents[2]
TODAY = date(2026, 3, 17)
ADA = ACCOUNTS_BY_USERNAME["ada.meyer@example.com"]
BEN = ACCOUNTS_BY_USERNAME["ben.okafor@example.com"]
WRONG_IN_CSV = "hugo.martin@example.com"
WITHOUT_BILLS = "noah.fischer@example.com"
BUSY_TWICE = "pablo.silva@example.com"


def open_portal(today: date = TODAY, *, inspect: bool = False, latency_ms: int = 0) -> TestClient:
    return TestClient(build_app(today, inspect=inspect, latency_ms=latency_ms), follow_redirects=False)


def read_csrf_token(page: httpx.Response) -> str:
    return lxml.html.fromstring(page.text).xpath('string(//input[@name="csrf_token"]/@value)')


def post_login(portal: TestClient, username: str, password: str) -> httpx.Response:
    token = read_csrf_token(portal.get("/login"))
    return portal.post("/login", data={"csrf_token": token, "email": username, "password": password})


def sign_in(portal: TestClient, account: Account) -> TestClient:
    answer = post_login(portal, account.username, account.password)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    return portal


def read_bill_rows(page: httpx.Response) -> list[list[str]]:
    rows = lxml.html.fromstring(page.text).xpath('//table[@id="bills"]/tbody/tr')
    return [[cell.text_content().strip() for cell in row] for row in rows]


def read_document_links(page: httpx.Response) -> list[str]:
    return lxml.html.fromstring(page.text).xpath('//*[@id="bills"]//a/@href')


def read_pdf_text(content: bytes) -> str:
    with pypdfium2.PdfDocument(content) as pdf:
        return "\n".join(page.get_textpage().get_text_range() for page in pdf)


def read_accounts_csv() -> list[dict[str, str]]:
    with ACCOUNTS_CSV.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# Signing in


def test_login_page_has_an_unrelated_form_before_the_sign_in_form():
    page = open_portal().get("/login")
    search, login = lxml.html.fromstring(page.text).forms
    assert (search.method, search.action, [field.type for field in search.inputs]) == (
        "GET",
        "/help",
        ["search"],
    )
    assert (login.method, login.action) == ("POST", "/login")
    assert [field.type for field in login.inputs] == ["hidden", "email", "password"]
    assert len(read_csrf_token(page)) == 64


def test_login_page_sets_a_cookie_before_anybody_signs_in():
    cookie = open_portal().get("/login").headers["set-cookie"]
    assert cookie.startswith("northwind_visitor=")
    assert {"HttpOnly", "SameSite=lax"} <= set(cookie.split("; "))


@pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account.username)
def test_sign_in_works_for_every_account(account: Account):
    portal = sign_in(open_portal(), account)
    page = portal.get("/account")
    assert page.status_code == 200
    assert account.customer_number in page.text


def test_sign_in_ignores_the_case_of_the_username():
    assert post_login(open_portal(), " Ada.Meyer@Example.com ", ADA.password).status_code == 303


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (ADA.username, "wrong"),
        (ADA.username, ""),
        (ADA.username, BEN.password),
        ("nobody@example.com", ADA.password),
    ],
)
def test_sign_in_with_wrong_credentials_shows_the_form_again(username: str, password: str):
    portal = open_portal()
    answer = post_login(portal, username, password)
    assert answer.status_code == 200
    assert WRONG_CREDENTIALS in answer.text
    assert lxml.html.fromstring(answer.text).xpath('//form//input[@type="password"]')
    assert portal.get("/billing").headers["location"] == "/login"


def test_sign_in_page_escapes_what_was_typed():
    answer = post_login(open_portal(), '"><script>alert(1)</script>', "wrong")
    assert "<script>" not in answer.text


def test_sign_in_without_a_csrf_token_is_refused():
    portal = open_portal()
    portal.get("/login")
    answer = portal.post("/login", data={"email": ADA.username, "password": ADA.password})
    assert answer.status_code == 403
    assert portal.get("/billing").status_code == 303


def test_sign_in_with_another_visitors_csrf_token_is_refused():
    portal = open_portal()
    other = TestClient(portal.app, follow_redirects=False)
    portal.get("/login")
    fields = {
        "csrf_token": read_csrf_token(other.get("/login")),
        "email": ADA.username,
        "password": ADA.password,
    }
    assert portal.post("/login", data=fields).status_code == 403


def test_sign_in_without_the_visitor_cookie_is_refused():
    portal = open_portal()
    token = read_csrf_token(portal.get("/login"))
    portal.cookies.clear()
    fields = {"csrf_token": token, "email": ADA.username, "password": ADA.password}
    assert portal.post("/login", data=fields).status_code == 403


def test_sign_out_ends_the_session_on_the_server():
    portal = sign_in(open_portal(), ADA)
    session = portal.cookies["northwind_session"]
    assert portal.get("/logout").headers["location"] == "/"
    portal.cookies.set("northwind_session", session)
    assert portal.get("/billing").headers["location"] == "/login"


@pytest.mark.parametrize("path", ["/account", "/billing", f"/bills/{list_bills(ADA, TODAY)[0].number}.pdf"])
def test_private_pages_without_a_session_lead_to_the_login(path: str):
    answer = open_portal().get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


@pytest.mark.parametrize("path", ["/", "/login", "/help", "/help?q=csv"])
def test_public_pages_load_nothing_from_elsewhere(path: str):
    page = open_portal().get(path)
    assert page.status_code == 200
    links = lxml.html.fromstring(page.text).xpath("//@href | //@src | //@action")
    assert all(link.startswith(("/", "data:")) for link in links)


def test_help_finds_topics_and_escapes_the_query():
    portal = open_portal()
    assert "Moving home" in portal.get("/help?q=meter").text
    assert "<b>" not in portal.get("/help?q=<b>").text


# Bills


def test_billing_lists_every_bill_with_links_to_its_documents():
    page = sign_in(open_portal(), ADA).get("/billing")
    bills = list_bills(ADA, TODAY)
    assert [row[:5] for row in read_bill_rows(page)] == [
        [bill.number, str(bill.issued_on), str(bill.due_on), f"{bill.amount:,.2f}", "EUR"] for bill in bills
    ]
    assert [row[5] for row in read_bill_rows(page)] == ["Open", "Paid", "Paid"]
    assert read_document_links(page) == [f"/bills/{bill.number}.{kind}" for bill in bills for kind in ("pdf", "csv")]


def test_billing_numbers_start_with_zeros_and_are_unique():
    numbers = [bill.number for account in ACCOUNTS for bill in list_bills(account, TODAY)]
    assert all(re.fullmatch(r"00\d{9}", number) for number in numbers)
    assert len(set(numbers)) == len(numbers) == 58


def test_billing_amounts_differ_between_accounts():
    amounts = Counter(bill.amount for account in ACCOUNTS for bill in list_bills(account, TODAY))
    assert len(amounts) == 58
    assert any(amount >= 1000 for amount in amounts)


@pytest.mark.parametrize("kind", ["pdf", "csv"])
def test_document_of_another_account_is_not_found(kind: str):
    bens_bill = list_bills(BEN, TODAY)[0]
    assert sign_in(open_portal(), BEN).get(f"/bills/{bens_bill.number}.{kind}").status_code == 200
    assert sign_in(open_portal(), ADA).get(f"/bills/{bens_bill.number}.{kind}").status_code == 404


@pytest.mark.parametrize("name", ["00000000000.pdf", "{own}.xlsx", "{own}", "{own_without_zeros}.pdf"])
def test_document_that_does_not_exist_is_not_found(name: str):
    own = list_bills(ADA, TODAY)[0].number
    path = "/bills/" + name.format(own=own, own_without_zeros=own.lstrip("0"))
    assert sign_in(open_portal(), ADA).get(path).status_code == 404


def test_pdf_names_its_file_and_shows_number_dates_and_amount():
    bill = list_bills(ADA, TODAY)[0]
    answer = sign_in(open_portal(), ADA).get(f"/bills/{bill.number}.pdf")
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"] == f'attachment; filename="northwind-invoice-{bill.number}.pdf"'
    text = read_pdf_text(answer.content)
    for expected in (bill.number, f"EUR {bill.amount:,.2f}", ADA.name, str(bill.issued_on), str(bill.due_on)):
        assert expected in text


def test_pdf_can_be_made_for_every_bill_of_every_account():
    for account in ACCOUNTS:
        for bill in list_bills(account, TODAY):
            text = read_pdf_text(make_document(bill, "pdf"))
            assert account.name in text
            assert f"{account.currency} {bill.amount:,.2f}" in text


def test_csv_has_one_row_a_day_that_adds_up_to_the_bill():
    bill = list_bills(ADA, TODAY)[0]
    answer = sign_in(open_portal(), ADA).get(f"/bills/{bill.number}.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="northwind-usage-{bill.number}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert (rows[0]["date"], rows[-1]["date"], len(rows)) == ("2026-01-21", "2026-02-20", 31)
    assert {row["invoice_number"] for row in rows} == {bill.number}
    net = sum(Decimal(row["cost"]) for row in rows) + STANDING_CHARGE_PER_DAY * len(rows)
    assert abs(net * (1 + VAT_RATE) - bill.amount) < Decimal("0.02")


def test_documents_are_byte_identical_between_two_starts_of_the_portal():
    script = (
        "import hashlib; from datetime import date; from demo.accounts import ACCOUNTS;"
        "from demo.bills import list_bills; from demo.documents import make_document;"
        "print([hashlib.sha256(make_document(b, k)).hexdigest() for a in ACCOUNTS[:3]"
        " for b in list_bills(a, date(2026, 3, 17)) for k in ('pdf', 'csv')])"
    )
    first, second = (
        subprocess.check_output(
            [sys.executable, "-c", script], cwd=PROJECT, env=os.environ | {"PYTHONHASHSEED": seed, "TZ": zone}
        )
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    )
    assert first == second


def test_documents_are_stable_within_a_month_and_bills_keep_their_bytes_after_it():
    def collect(today: date) -> dict[str, str]:
        documents = open_portal(today, inspect=True).get("/_demo/bills", params={"username": ADA.username}).json()
        return {document["path"]: document["sha256"] for document in documents}

    first, last, after = (collect(day) for day in (date(2026, 3, 1), date(2026, 3, 31), date(2026, 4, 1)))
    assert first == last
    assert len(after.keys() - last.keys()) == 2  # the new bill's PDF and CSV
    assert all(after[path] == last[path] for path in after.keys() & last.keys())


def test_billing_looks_current_on_every_day_of_two_years():
    for day in (date(2027, 1, 1) + timedelta(days=n) for n in range(731)):
        for account in ACCOUNTS:
            bills = list_bills(account, day)
            assert [bill.issued_on for bill in bills] == sorted((bill.issued_on for bill in bills), reverse=True)
            assert all(bill.issued_on < day for bill in bills)
            assert not bills or bills[0].due_on > day > bills[0].issued_on > day - timedelta(days=42)


def test_portal_follows_the_clock_when_no_date_is_fixed():
    portal = sign_in(TestClient(build_app(), follow_redirects=False), ADA)
    newest_due_on = date.fromisoformat(read_bill_rows(portal.get("/billing"))[0][2])
    assert timedelta(0) < newest_due_on - datetime.now().astimezone().date() < timedelta(days=40)


def test_billing_shows_three_bills_a_page():
    portal = sign_in(open_portal(), BEN)
    numbers = [bill.number for bill in list_bills(BEN, TODAY)]
    first, second, beyond = (portal.get(f"/billing{query}") for query in ("", "?page=2", "?page=x9"))
    assert [row[0] for page in (first, second) for row in read_bill_rows(page)] == numbers
    assert [lxml.html.fromstring(page.text).xpath('//a[@rel="next"]/@href') for page in (first, second)] == [
        ["/billing?page=2"],
        [],
    ]
    assert read_bill_rows(beyond) == read_bill_rows(first)
    assert read_bill_rows(portal.get("/billing?page=99")) == read_bill_rows(second)


def test_document_that_has_not_changed_is_not_sent_again():
    portal = sign_in(open_portal(), ADA)
    path = f"/bills/{list_bills(ADA, TODAY)[0].number}.pdf"
    etag = portal.get(path).headers["etag"]
    answer = portal.get(path, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert portal.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


# The accounts that behave unusually


def account_with(offer: Offer) -> Account:
    [account] = [account for account in ACCOUNTS if account.offer is offer]
    return account


def test_pdf_behind_a_button_is_posted_for_with_the_pages_token():
    account = account_with(Offer.BUTTON)
    portal = sign_in(open_portal(), account)
    page = portal.get("/billing")
    form = lxml.html.fromstring(page.text).xpath('//table[@id="bills"]//form')[0]
    assert read_document_links(page)[0].endswith(".csv")
    answer = portal.post(form.action, data={"csrf_token": form.fields["csrf_token"]})
    bill = list_bills(account, TODAY)[0]
    assert (answer.status_code, answer.content) == (200, make_document(bill, "pdf"))
    assert portal.post(form.action, data={"csrf_token": "x"}).status_code == 403
    assert portal.get(f"/bills/{bill.number}.pdf").status_code == 404
    assert open_portal().post(form.action, data={"csrf_token": "x"}).headers["location"] == "/login"


def test_archive_holds_all_files_of_the_bill():
    account = account_with(Offer.ARCHIVE)
    portal = sign_in(open_portal(), account)
    bill = list_bills(account, TODAY)[0]
    answer = portal.get(read_document_links(portal.get("/billing"))[1])
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert contents == {make_file_name(bill, kind): make_document(bill, kind) for kind in ("pdf", "csv")}


def test_bare_list_leaves_everything_to_the_pdf():
    account = account_with(Offer.BARE)
    page = sign_in(open_portal(), account).get("/billing")
    bills = list_bills(account, TODAY)
    assert read_document_links(page) == [f"/bills/{bill.number}.pdf" for bill in bills]
    assert not any(f"{bill.amount:,.2f}" in page.text for bill in bills)


def test_newest_bill_is_corrected_from_the_second_sign_in_on():
    account = account_with(Offer.CORRECTED)
    portal = open_portal(inspect=True)
    original, corrected = (read_bill_rows(sign_in(portal, account).get("/billing")) for _ in range(2))
    assert Decimal(original[0][3].replace(",", "")) - Decimal(corrected[0][3].replace(",", "")) == CREDIT
    assert (original[0][:3], original[1:]) == (corrected[0][:3], corrected[1:])
    text = read_pdf_text(portal.get(f"/bills/{corrected[0][0]}.pdf").content)
    assert "Corrected invoice" in text
    assert f"Amount due {account.currency} {corrected[0][3]}" in text
    portal.post("/_demo/reset")
    assert read_bill_rows(sign_in(portal, account).get("/billing")) == original


def test_busy_account_answers_503_twice_after_every_sign_in():
    portal = open_portal()
    for _ in range(2):
        sign_in(portal, ACCOUNTS_BY_USERNAME[BUSY_TWICE])
        answers = [portal.get("/billing") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [503, 503, 200, 200]
        assert [answer.headers.get("retry-after") for answer in answers] == ["1", "1", None, None]
        assert len(read_bill_rows(answers[2])) == 3


def test_accounts_csv_has_the_promised_mix():
    rows = read_accounts_csv()
    assert list(rows[0]) == ["username", "password", "customer_number"]
    assert [row["username"] for row in rows] == [account.username for account in ACCOUNTS]
    assert [row["customer_number"] for row in rows] == [account.customer_number for account in ACCOUNTS]
    outcomes = {row["username"]: import_account(row["username"], row["password"]) for row in rows}
    assert Counter(outcomes.values()) == {
        "success": 17,
        "wrong credentials": 1,
        "no bills": 1,
        "success after 2": 1,
    }
    assert outcomes[WRONG_IN_CSV] == "wrong credentials"
    assert outcomes[WITHOUT_BILLS] == "no bills"
    assert outcomes[BUSY_TWICE] == "success after 2"


def import_account(username: str, password: str) -> str:
    """What an honest client with three tries at the billing page finds."""
    portal = open_portal()
    if post_login(portal, username, password).status_code != 303:
        return "wrong credentials"
    for retries in range(3):
        page = portal.get("/billing")
        if page.status_code != 200:
            continue
        if "There are no bills yet." in page.text:
            return "no bills"
        links = read_document_links(page)
        assert 2 <= len(links) <= 6
        assert all(portal.get(link).status_code == 200 for link in links)
        return f"success after {retries}" if retries else "success"
    return "busy"


# What tests may ask the portal


def test_request_log_names_accounts_and_never_holds_a_password():
    portal = open_portal(inspect=True)
    portal.get("/login", params={"email": BEN.username, "password": BEN.password})
    post_login(portal, ADA.username, "Not-The-Password")
    post_login(portal, "Typed-A-Password-Here", ADA.password)
    sign_in(portal, ADA).get("/billing")
    answer = portal.get("/_demo/requests")
    assert [(entry["method"], entry["path"], entry["username"], entry["status"]) for entry in answer.json()] == [
        ("GET", "/login", None, 200),
        ("GET", "/login", None, 200),
        ("POST", "/login", ADA.username, 200),
        ("GET", "/login", None, 200),
        ("POST", "/login", None, 200),
        ("GET", "/login", None, 200),
        ("POST", "/login", ADA.username, 303),
        ("GET", "/billing", ADA.username, 200),
    ]
    assert all(entry["at"].endswith("+00:00") for entry in answer.json())
    assert not any(word in answer.text for word in (ADA.password, BEN.password, "Not-The-Password", "Typed-A"))


def test_request_log_keeps_only_the_newest(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("demo.visitors.MAX_LOGGED_REQUESTS", 3)
    portal = open_portal(inspect=True)
    for path in ("/", "/help", "/login", "/account"):
        portal.get(path)
    assert [entry["path"] for entry in portal.get("/_demo/requests").json()] == [
        "/help",
        "/login",
        "/account",
    ]


def test_inspected_bills_are_the_bytes_the_portal_sends():
    portal = sign_in(open_portal(inspect=True), ADA)
    documents = portal.get("/_demo/bills", params={"username": ADA.username}).json()
    assert [document["path"] for document in documents] == read_document_links(portal.get("/billing"))
    for document in documents:
        content = portal.get(document["path"]).content
        assert (document["sha256"], document["size"]) == (hashlib.sha256(content).hexdigest(), len(content))


def test_inspected_bills_of_nobody_are_not_found():
    assert open_portal(inspect=True).get("/_demo/bills?username=nobody@example.com").status_code == 404


def test_reset_forgets_sessions_and_requests():
    portal = sign_in(open_portal(inspect=True), ADA)
    assert portal.post("/_demo/reset").status_code == 204
    assert portal.get("/_demo/requests").json() == []
    assert portal.get("/billing").status_code == 303


def test_inspection_is_absent_unless_asked_for():
    portal = open_portal()
    statuses = [portal.get("/_demo/requests").status_code, portal.get("/_demo/bills").status_code]
    assert [*statuses, portal.post("/_demo/reset").status_code] == [404, 404, 404]


def test_latency_delays_every_answer(monkeypatch: pytest.MonkeyPatch):
    delays: list[float] = []

    async def note_delay(seconds: float) -> None:
        delays.append(seconds)

    portal = open_portal(latency_ms=250)
    monkeypatch.setattr("demo.visitors.asyncio.sleep", note_delay)
    portal.get("/")
    portal.get("/nowhere")
    assert delays == [0.25, 0.25]


# The process


@contextmanager
def run_demo(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A real portal process and its address, taken from the line it prints."""
    command = [sys.executable, "-m", "demo", *arguments]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stderr
    try:
        line = process.stdout.readline()
        yield process, line.split(" is at ")[1].strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_serves_and_stops_cleanly(number: signal.Signals):
    with run_demo("--port", "0") as (process, address), httpx.Client(base_url=address) as client:
        assert "Northwind Energy" in client.get("/").text
        assert client.get("/_demo/requests").status_code == 404
        process.send_signal(number)
        output = process.communicate(timeout=20)
        assert (process.returncode, output) == (0, ("", ""))


def test_process_takes_inspect_and_latency():
    with run_demo("--port", "0", "--inspect", "--latency-ms", "30") as (_, address):
        answer = httpx.get(f"{address}/_demo/requests")
        assert answer.json() == []
        assert answer.elapsed >= timedelta(milliseconds=30)


def test_process_says_in_one_sentence_that_the_port_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environment = os.environ | {"PUNCTUAL_DEMO_PORT": port}
        command = [sys.executable, "-m", "demo"]
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60)
    expected = f"The demo portal cannot listen on 127.0.0.1 port {port}: address already in use.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


@pytest.mark.parametrize("arguments", [["--port", "http"], ["--port", "65536"], ["--latency-ms", "-1"]])
def test_process_refuses_options_that_are_not_numbers(arguments: list[str]):
    command = [sys.executable, "-m", "demo", *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


# Pages that scripts build


def test_script_pages_hold_neither_form_nor_bills_until_their_scripts_run():
    portal = open_portal()
    login = portal.get("/script/login")
    assert "password" not in lxml.html.fromstring(login.text).xpath("//input/@type")
    nonce = lxml.html.fromstring(login.text).xpath("string(//script/@nonce)")
    assert f"script-src 'nonce-{nonce}'" in login.headers["content-security-policy"]
    assert portal.get("/script/billing").headers["location"] == "/script/login"
    assert portal.get("/script/bills").status_code == 401


def test_script_pages_sign_in_and_list_bills_as_json():
    portal = open_portal()
    wrong = portal.post("/script/session", json={"email": ADA.username, "password": "wrong"})
    assert (wrong.status_code, wrong.json()) == (401, {"error": WRONG_CREDENTIALS})
    assert portal.post("/script/session", content=b"{").status_code == 400
    assert portal.post("/script/session", json={"email": ADA.username, "password": ADA.password}).status_code == 200
    assert read_bill_rows(portal.get("/script/billing")) == []
    bills = portal.get("/script/bills").json()
    assert [bill["number"] for bill in bills] == [bill.number for bill in list_bills(ADA, TODAY)]
    assert portal.get(bills[0]["documents"][0]["href"]).headers["content-type"] == "application/pdf"
