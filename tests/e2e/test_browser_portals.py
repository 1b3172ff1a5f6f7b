"""A portal's page in a real browser: a refused selector, a sign-in that is watched, a column chosen with a preview."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.chromium import launch_chromium
from tests.e2e.installation import ADMIN_PASSWORD, PROJECT_ROOT, Installation
from tests.e2e.test_browser_schedules import signed_in_client
from tests.waiting import wait_until

WAIT_MS = 60_000
WAIT_SECONDS = 60
NAME = "Energy: www.evil.example, HTTPS://evil.example/x, ask ada.meyer@evil.example"
ACCOUNTS = (PROJECT_ROOT / "demo" / "accounts.csv").read_bytes()


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of headless Chromium."""
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        yield browser.new_page(viewport={"width": 1440, "height": 900})
        browser.close()


def test_portal_is_corrected_tested_and_mapped(installation: Installation, page: Page) -> None:
    installation.start_demo()
    installation.start_web()
    installation.start_scheduler()
    client = signed_in_client(installation)
    form = {
        "name": NAME,
        "login_url": f"{installation.portal}/login",
        "billing_url": f"{installation.portal}/billing",
        "authorised": "true",
    }
    client.post("/jobs", data=form, files={"csv": ("accounts.csv", ACCOUNTS, "text/csv")}).raise_for_status()
    (portal,) = client.get("/portals").raise_for_status().json()["items"]

    page.goto(f"{installation.url}/portal?id={portal['id']}")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password", exact=True).fill(ADMIN_PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    field = page.get_by_role("textbox", name="User name field")
    field.fill("//input", timeout=WAIT_MS)
    page.get_by_role("button", name="Save settings").click()
    expect(page.get_by_text("which is no CSS selector from character 1 on")).to_be_visible(timeout=WAIT_MS)
    expect(field).to_have_value("//input")
    field.fill("input[name=email]")  # and not saved before the end

    page.get_by_role("tab", name="Test sign-in").click()
    page.get_by_role("button", name="Test sign-in").click()
    expect(page.get_by_text("The sign-in works.")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("Sign-in page: “Sign in · Northwind Energy”, 200 OK")).to_be_visible()
    expect(page.get_by_text("Run completed")).to_be_visible()
    sent = [r for r in installation.get_portal("/_demo/requests") if (r["method"], r["path"]) == ("POST", "/login")]
    assert len(sent) == 1

    page.get_by_role("tab", name="Bill table").click()
    expect(page.get_by_text("Seen by a test sign-in")).to_be_visible(timeout=WAIT_MS)
    # Drawn to its end: the choices offer the columns of the table that was seen, and are not drawn again while open.
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=WAIT_MS)
    box = page.get_by_role("combobox", name="Due date", exact=True)
    box.click()
    page.get_by_role("option", name="Documents", exact=True).click(timeout=WAIT_MS)
    expect(page.get_by_text("Due date: “PDF Usage CSV” could not be read.")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Save columns").click()
    wait_until(lambda: said(client, portal)["column_mapping"], WAIT_SECONDS, "the columns to be saved")

    page.get_by_role("tab", name="Settings").click()
    expect(field).to_have_value("input[name=email]")
    page.get_by_role("button", name="Save settings").click()
    wait_until(lambda: said(client, portal)["username_selector"], WAIT_SECONDS, "the settings to be saved")
    after = said(client, portal)
    assert (after["username_selector"], after["column_mapping"]) == ("input[name=email]", {"due_on": "Documents"})

    # What people and portals named is no link, and reads as it was given.
    page.get_by_role("button", name="1 job").click()
    page.get_by_role("link", name=NAME).click()
    expect(page.get_by_role("heading", name=NAME, exact=True)).to_be_visible(timeout=WAIT_MS)
    assert page.locator("a[href*='evil']").count() == 0


def said(client: httpx.Client, portal: dict[str, Any]) -> dict[str, Any]:
    """What was said of the portal so far."""
    return client.get(f"/portals/{portal['id']}").raise_for_status().json()
