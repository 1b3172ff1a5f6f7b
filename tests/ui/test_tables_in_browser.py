"""Hostile texts in a real browser: nothing runs, nothing is fetched, and what a table saves is inert."""

import csv
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from settings import PROJECT_ROOT
from tests.chromium import launch_chromium
from tests.waiting import wait_until

START_SECONDS = 40


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a running page of hostile texts."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = ["--server.port", str(port), "--server.address", "127.0.0.1"]
    command = [sys.executable, "-m", "streamlit", "run", "tests/ui/hostile_tables.py", *options]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)}) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_up(f"{url}/_stcore/health"), START_SECONDS, "the page's server")
        yield url
        process.terminate()


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        page = browser.new_page()
        # Without the dialog that asks where to save, which a headless browser cannot show, it is an ordinary download.
        page.add_init_script("delete window.showSaveFilePicker")
        page.goto(address)
        expect(page.get_by_text("All is drawn")).to_be_visible(timeout=START_SECONDS * 1000)
        expect(page.get_by_test_id("stDataFrame").locator("canvas").first).to_be_visible()
        yield page
        browser.close()


def test_nothing_runs_and_nothing_becomes_a_link_or_a_picture(page: Page) -> None:
    main = page.get_by_test_id("stMain")
    expect(main).to_contain_text("<script>")
    expect(main.locator("img, script")).to_have_count(0)
    expect(main.locator("a[href*='evil.example']")).to_have_count(0)
    assert "pwned" not in page.title()


def test_what_the_tables_own_toolbar_saves_calculates_nothing(page: Page, tmp_path: Path) -> None:
    page.get_by_test_id("stDataFrame").hover()
    with page.expect_download() as downloading:
        page.get_by_role("button", name=re.compile("Download as CSV")).click()
    path = tmp_path / "table.csv"
    downloading.value.save_as(path)
    rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    assert [row["number"] for row in rows] == ["'=1+1", "'＋1", "safe"]
    assert [row["text"] for row in rows][::2] == ["'@SUM(A1)", "'-1"]
    assert [float(row["amount"]) for row in rows] == [-5.1, 2, 3]
