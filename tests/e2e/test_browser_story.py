"""The story of the product in a real browser: create a job in the form, watch it run, fetch a bill, sign out."""

import hashlib
import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Download, Page, expect, sync_playwright

from tests.chromium import launch_chromium
from tests.e2e.conftest import prepared_installation
from tests.e2e.installation import ADMIN_PASSWORD, PROJECT_ROOT, Installation

ACCOUNTS = PROJECT_ROOT / "demo" / "accounts.csv"
PAGES = ("/", "/new-job", "/job?id=", "/run?id=1")
WAIT_MS = 60_000
FIRST_CHECKBOX = {"x": 15, "y": 52}


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with sync_playwright() as playwright:
        chromium = launch_chromium(playwright)
        yield chromium
        chromium.close()


def sign_in(page: Page, installation: Installation) -> None:
    page.goto(f"{installation.url}/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password", exact=True).fill(ADMIN_PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible(timeout=WAIT_MS)


def fill_in(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Tab")


def create_job(page: Page, installation: Installation) -> None:
    page.get_by_role("link", name="New job").click()
    expect(page.get_by_role("heading", name="New job")).to_be_visible(timeout=WAIT_MS)
    fill_in(page, "Name", "Energy bills")
    page.locator("input[type=file]").set_input_files(ACCOUNTS)
    expect(page.get_by_text("20 accounts")).to_be_visible(timeout=WAIT_MS)
    fill_in(page, "Login URL", f"{installation.portal}/login")
    fill_in(page, "Billing URL", f"{installation.portal}/billing")
    expect(page.get_by_text(f"I am authorised to use 127.0.0.1:{installation.demo_port}")).to_be_visible(
        timeout=WAIT_MS
    )
    page.get_by_text("I am authorised to use").click()
    expect(page.get_by_text("Every Monday at 09:00")).to_be_visible()
    page.get_by_role("button", name="Create job").click()
    expect(page.get_by_role("heading", name="Energy bills")).to_be_visible(timeout=WAIT_MS)


def download_first_bill(page: Page) -> bytes:
    """Select the first bill and press its PDF, which opens beside the page and comes as a file."""
    downloads: list[Download] = []
    page.context.on("page", lambda opened: opened.on("download", lambda download: downloads.append(download)))
    page.on("download", lambda download: downloads.append(download))
    page.get_by_role("tab", name=re.compile("Bills")).click()
    page.locator('[data-testid="stDataFrame"]:visible').first.click(position=FIRST_CHECKBOX)
    link = page.get_by_role("link", name=re.compile(r"\.pdf"))
    expect(link).to_be_visible(timeout=WAIT_MS)
    link.click()
    deadline = time.monotonic() + WAIT_MS / 1000
    while not downloads and time.monotonic() < deadline:
        page.wait_for_timeout(50)  # lets the browser's events in
    (download,) = downloads
    return download.path().read_bytes()


def test_job_from_the_form_to_its_bills_and_out_again(installation: Installation, browser: Browser) -> None:
    installation.start_demo()
    installation.start_web()
    installation.start_scheduler()
    page = browser.new_page(viewport={"width": 1440, "height": 900}, timezone_id="Europe/Berlin")

    sign_in(page, installation)
    create_job(page, installation)
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible(timeout=WAIT_MS)
    page.goto(f"{installation.url}/run?id=1")
    expect(page.get_by_text("19 succeeded")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("1 account with wrong credentials.")).to_be_visible()
    content = download_first_bill(page)
    served = installation.get_portal("/_demo/bills?username=ada.meyer@example.com")
    assert hashlib.sha256(content).hexdigest() in {document["sha256"] for document in served}

    page.get_by_role("button", name="admin").click()
    page.get_by_role("link", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=WAIT_MS)
    page.goto(f"{installation.url}/run?id=1")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=WAIT_MS)
    assert "Energy bills" not in page.content()


@pytest.mark.parametrize("path", PAGES)
def test_deep_link_without_a_session_shows_only_the_sign_in(started: Installation, browser: Browser, path: str) -> None:
    page = browser.new_page()
    page.goto(f"{started.url}{path}")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=WAIT_MS)
    assert "/account/login" in page.url
    assert page.locator('[data-testid="stApp"]').count() == 0


@pytest.fixture(scope="module")
def started() -> Iterator[Installation]:
    """An installation whose web runs, shared by the tests that only look."""
    with prepared_installation() as made:
        made.start_web()
        yield made
