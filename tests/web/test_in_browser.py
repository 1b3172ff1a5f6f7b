"""The gate and a real browser: what a person sees when their session ends, and nothing blocked on the way."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from db.engine import transaction
from db.user_sessions import revoke_user_sessions
from tests.chromium import launch_chromium
from tests.web.site import PASSWORD, Site


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        yield browser.new_page()
        browser.close()


def sign_in(page: Page, username: str, password: str = PASSWORD) -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_person_signs_in_and_lands_where_the_link_led(site: Site, page: Page) -> None:
    username = site.add_user()
    blocked: list[str] = []
    page.on("console", lambda message: blocked.append(message.text) if "Security Policy" in message.text else None)
    page.goto(f"{site.url}/?job=7&q=a%26b")
    sign_in(page, username, "wrong")
    expect(page.get_by_role("alert")).to_have_text("The username or the password is wrong.")
    expect(page.get_by_label("Username")).to_have_value(username)
    sign_in(page, username)
    expect(page.get_by_text(f"Signed in as {username}.")).to_be_visible(timeout=30_000)
    assert page.url == f"{site.url}/?job=7&q=a%26b"
    assert "punctual_session" not in page.evaluate("document.cookie")
    assert blocked == []


def test_open_page_returns_to_sign_in_and_back_when_its_session_ends(site: Site, page: Page) -> None:
    username = site.add_user()
    page.goto(f"{site.url}/?job=7")
    sign_in(page, username)
    expect(page.get_by_text(f"Signed in as {username}.")).to_be_visible(timeout=30_000)
    with transaction(site.engine) as session:
        revoke_user_sessions(session, site.user_id_of(username), datetime.now(UTC))
    page.wait_for_url("**/account/login?next=**", timeout=30_000)
    sign_in(page, username)
    expect(page.get_by_text(f"Signed in as {username}.")).to_be_visible(timeout=30_000)
    assert page.url == f"{site.url}/?job=7"


def test_own_password_form_is_accepted_by_the_site(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/account/password")
    sign_in(page, site.add_user())
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill("Other-horse-2")
    page.get_by_label("New password again").fill("Other-horse-2")
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("status")).to_contain_text("Password changed.")
