"""The system's Chromium for browser tests, kept from calling out."""

import shutil

from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def launch_chromium(playwright: Playwright) -> Browser:
    """Headless, from wherever the system keeps it."""
    path = next((found for found in map(shutil.which, NAMES) if found), None)
    assert path is not None, "the browser tests need Chromium; `make chromium` says how to get it"
    return playwright.chromium.launch(executable_path=path, args=list(QUIET))
