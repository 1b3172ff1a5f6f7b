"""The system's Chromium, as one run uses it: in a folder of its own, told no secret of this process.

Loaded only by runs at portals that are set to the browser engine: Playwright is an optional package.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Error, Playwright, ProxySettings, async_playwright

from portal_import.browser_folders import browser_folder, end_processes
from portal_import.engine.errors import EngineUnavailableError
from settings import VERSION

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START_SECONDS = 60
CLOSE_SECONDS = 5
_ARGUMENTS = (
    "--disable-gpu",
    "--blink-settings=imagesEnabled=false",  # what is read is words
    "--dns-prefetch-disable",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
)
# What a browser needs of the environment. Everything else stays here: keys and passwords are in it.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "FONTCONFIG_PATH", "LD_LIBRARY_PATH", "PLAYWRIGHT_BROWSERS_PATH")
NO_CHROMIUM = (
    "this portal is set to the browser engine, and Chromium was not found where the run was executed: install it there"
    " (apt-get install chromium, or .venv/bin/python -m playwright install chromium), or set the portal to the http"
    " engine"
)


class Chromium:
    """A browser that is started anew when it has crashed. Accounts share it, each in a context of its own."""

    def __init__(self, playwright: Playwright, path: str, folder: Path) -> None:
        self._playwright = playwright
        self._path = path
        self._folder = folder
        self._browser: Browser | None = None
        self._starting = asyncio.Lock()
        self.user_agent = ""

    async def start(self) -> Browser:
        """The running browser. Raises EngineUnavailableError when it can't be started."""
        async with self._starting:
            if self._browser is None or not self._browser.is_connected():
                self._browser = await self._launch()
                session = await self._browser.new_browser_cdp_session()
                version = await session.send("Browser.getVersion")
                # Who visits is said, not hidden: no portal is to take this for a person.
                self.user_agent = f"{version['userAgent']} Punctual/{VERSION}"
            return self._browser

    async def open_context(self, proxy: ProxySettings) -> BrowserContext:
        """A visitor without a past: no cookies, no storage, nothing cached."""
        browser = await self.start()
        return await browser.new_context(
            user_agent=self.user_agent, proxy=proxy, service_workers="block", accept_downloads=True
        )

    async def close_context(self, context: BrowserContext) -> None:
        """End the visit; if need be, with the browser."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await context.close()
        except (Error, TimeoutError):
            await asyncio.to_thread(end_processes, self._folder)

    async def _launch(self) -> Browser:
        try:
            return await self._playwright.chromium.launch(
                executable_path=self._path,
                args=list(_ARGUMENTS),
                # Chromium refuses to sandbox what root starts; anybody else's is always sandboxed.
                chromium_sandbox=os.geteuid() != 0,
                handle_sigint=False,
                timeout=START_SECONDS * 1000,
            )
        except Error as error:
            raise EngineUnavailableError(
                f"this portal is set to the browser engine, and Chromium ({self._path}) could not be started:"
                f" {_find_reason(error.message)}"
            ) from error


@asynccontextmanager
async def start_chromium() -> AsyncGenerator[Chromium]:
    """A browser for the accounts of a run; it ends, and its profile goes, with this process at the latest.

    Raises EngineUnavailableError, which says what to do, when there is none.
    """
    with browser_folder() as folder:
        with _own_environment(folder):  # the driver copies it when it starts, and so does the browser
            playwright = await async_playwright().start()
        try:
            chromium = Chromium(playwright, _find_chromium(playwright), folder)
            await chromium.start()
            yield chromium
        finally:
            await playwright.stop()  # and with it the browser


def _find_chromium(playwright: Playwright) -> str:
    """The path of the system's Chromium, else of Playwright's own. Raises EngineUnavailableError."""
    found = next((path for path in map(shutil.which, NAMES) if path), playwright.chromium.executable_path)
    if not Path(found).exists():
        raise EngineUnavailableError(NO_CHROMIUM)
    return found


def _find_reason(message: str) -> str:
    """Of Playwright's long account of a failed start the line that tells: Chromium's own words, else the first."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if any("No usable sandbox" in line for line in lines):
        return "its sandbox needs unprivileged user namespaces, which this machine or container does not allow"
    spoken = [line for line in lines if ":FATAL:" in line or "error while loading" in line]
    return (spoken or lines or ["no reason was given"])[0][:300]


@contextmanager
def _own_environment(folder: Path) -> Generator[None]:
    """For a moment this process's environment is what a browser may know, with a home and temporary folder of its own.

    Playwright offers no other way to start its driver with less.
    """
    before = dict(os.environ)
    own = {name: before[name] for name in _PASSED_ON if name in before}
    own |= {name: str(folder) for name in ("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    _set_environment(own)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(wanted: dict[str, str]) -> None:
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)
