"""Schedules in a real browser: the preview that follows each key, several jobs at once, a calendar with a job on it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.chromium import launch_chromium
from tests.e2e.conftest import prepared_installation
from tests.e2e.installation import ADMIN_PASSWORD, Installation

WAIT_MS = 60_000
CSV = b"username,password\nada@example.com,Made-up-1\n"
ROW_HEIGHT, FIRST_ROW, TICK_BOX = 40, 55, 15


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of headless Chromium, in Berlin."""
    with sync_playwright() as playwright:
        browser: Browser = launch_chromium(playwright)
        yield browser.new_page(viewport={"width": 1440, "height": 900}, timezone_id="Europe/Berlin")
        browser.close()


@pytest.fixture(scope="module")
def started() -> Iterator[Installation]:
    """An installation whose web runs; nobody fires, so nothing changes by itself."""
    with prepared_installation() as made:
        made.start_web()
        yield made


def sign_in(page: Page, installation: Installation, path: str) -> None:
    page.goto(f"{installation.url}{path}")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password", exact=True).fill(ADMIN_PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def signed_in_client(installation: Installation) -> httpx.Client:
    client = httpx.Client(base_url=f"{installation.url}/api", timeout=30)
    answer = client.post("/auth/login", json={"username": "admin", "password": ADMIN_PASSWORD}).raise_for_status()
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return client


def add_job(client: httpx.Client, name: str, schedule_type: str, config: str) -> dict[str, Any]:
    form = {
        "name": name,
        "login_url": "https://portal.example/login",
        "billing_url": "https://portal.example/bills",
        "is_scheduled": "true",
        "schedule_type": schedule_type,
        "schedule_config": config,
        "time_zone": "Europe/Berlin",
        "authorised": "true",
    }
    return client.post("/jobs", data=form, files={"csv": ("accounts.csv", CSV, "text/csv")}).raise_for_status().json()


def get_job(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    return client.get(f"/jobs/{job['id']}").raise_for_status().json()


def test_preview_follows_every_key_of_a_cron_expression(started: Installation, page: Page) -> None:
    sign_in(page, started, "/new-job")
    page.get_by_text("Custom", exact=True).click(timeout=WAIT_MS)
    field = page.get_by_label("Cron expression", exact=True)
    field.fill("")
    field.press_sequentially("30 2 * * ")
    expect(page.get_by_text("has 4 fields")).to_be_visible(timeout=WAIT_MS)
    field.press_sequentially("*")  # and no other key, no leaving of the field
    expect(page.get_by_text("Every day at 02:30 (Europe/Berlin)")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("table.coming tr.first")).to_have_count(10)
    expect(page.get_by_text("02:30 does not exist, runs at 03:00")).to_be_visible()


def test_ticked_jobs_are_rescheduled_paused_and_resumed_together(started: Installation, page: Page) -> None:
    client = signed_in_client(started)
    jobs = [add_job(client, name, "daily", '{"hour": 9, "minute": 0}') for name in ("Gas", "Water")]
    sign_in(page, started, "/")
    tick(page, 0)
    tick(page, 1)
    expect(page.get_by_text("2 selected")).to_be_visible(timeout=WAIT_MS)

    page.get_by_role("button", name="Reschedule 2 jobs").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Monthly", exact=True).click(timeout=WAIT_MS)
    expect(dialog.get_by_text("On day 1 of every month at 09:00")).to_be_visible(timeout=WAIT_MS)
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden(timeout=WAIT_MS)
    page.get_by_role("button", name="Reschedule 2 jobs").click()
    expect(dialog.get_by_text("Every day at 09:00")).to_be_visible(timeout=WAIT_MS)  # what was cancelled is forgotten

    dialog.get_by_text("Weekly", exact=True).click(timeout=WAIT_MS)
    expect(dialog.get_by_text(re.compile("disappear in the next 30 days; nothing runs now")).first).to_be_visible(
        timeout=WAIT_MS
    )
    dialog.get_by_role("button", name="Reschedule 2 jobs").click()
    expect(dialog).to_be_hidden(timeout=WAIT_MS)
    assert {get_job(client, job)["schedule_type"] for job in jobs} == {"weekly"}

    page.get_by_role("button", name="Pause 2 jobs").click(timeout=WAIT_MS)
    page.get_by_role("button", name="Resume 2 jobs").click(timeout=WAIT_MS)
    assert all(get_job(client, job)["paused_at"] for job in jobs)
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("appear in the next 30 days").first).to_be_visible(timeout=WAIT_MS)
    dialog.get_by_role("button", name="Resume 2 jobs").click()
    expect(dialog).to_be_hidden(timeout=WAIT_MS)
    assert not any(get_job(client, job)["paused_at"] for job in jobs)


def test_calendar_made_in_the_browser_keeps_a_job_from_running(started: Installation, page: Page) -> None:
    sign_in(page, started, "/calendars")
    page.get_by_role("button", name="New calendar").click(timeout=WAIT_MS)
    dialog = page.get_by_role("dialog")
    name = dialog.get_by_label("Name", exact=True)
    name.fill("Germany")
    name.press("Tab")
    choose(page, dialog, "Country", "Germany")
    expect(dialog.get_by_text("Christmas Day").first).to_be_visible(timeout=WAIT_MS)
    dialog.get_by_role("button", name="Save calendar").click()
    expect(dialog).to_be_hidden(timeout=WAIT_MS)

    client = signed_in_client(started)
    christmas = add_job(client, "Christmas", "custom", '{"cron_expression": "0 9 25 12 *"}')
    (germany,) = client.get("/calendars").raise_for_status().json()["items"]
    client.patch(f"/jobs/{christmas['id']}", json={"calendar_ids": [germany["id"]]}).raise_for_status()
    page.goto(f"{started.url}/job?id={christmas['id']}&tab=Coming+up")
    expect(page.get_by_text("Christmas Day: skipped")).to_have_count(10, timeout=WAIT_MS)
    job = get_job(client, christmas)
    assert job["next_run"] is None or datetime.fromisoformat(job["next_run"]) > datetime.now(UTC)


def choose(page: Page, dialog: Locator, label: str, option: str) -> None:
    box = dialog.get_by_role("combobox", name=label, exact=True)
    box.click()
    box.press_sequentially(option)
    page.get_by_role("option", name=option, exact=True).click()


def tick(page: Page, row: int) -> None:
    table = page.locator('[data-testid="stDataFrame"]').first
    expect(table).to_be_visible(timeout=WAIT_MS)
    table.click(position={"x": TICK_BOX, "y": FIRST_ROW + row * ROW_HEIGHT})
