"""Stores what a script of the page makes, or fetches, when a person presses its button: no link leads to it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from playwright.async_api import Download, Error

from db.models import ResultCause, ResultStatus
from portal_import.engine.browser_errors import explained
from portal_import.engine.client import CHUNK_BYTES
from portal_import.engine.errors import VisitError
from portal_import.engine.file_names import extension_of, sanitise_name, type_for
from portal_import.engine.storage import DocumentStore, FileTooLargeError, StorageError
from portal_import.engine.tab import Tab
from portal_import.outcomes import Document, Limits

_STARTS_WITHIN_MS = 10_000
NO_DOWNLOAD = "pressing the button of a document started no download"


async def press_for_document(tab: Tab, control: int, limits: Limits, storage: DocumentStore) -> Document:
    """Press the control once and store what it downloads. Raises VisitError, nothing kept then.

    What comes over the network is bounded by the visit's proxy, so the browser's own copy is, too.
    """
    if tab.newest is None:
        raise VisitError(NO_DOWNLOAD, ResultStatus.PORTAL_CHANGED, cause=ResultCause.PAGE_GONE)
    async with explained(limits, NO_DOWNLOAD):
        button = await tab.newest.find_control(control)
        async with tab.browser_page.expect_download(timeout=_STARTS_WITHIN_MS) as coming:
            await button.click(no_wait_after=True, timeout=_STARTS_WITHIN_MS)
        download = await coming.value
    try:
        return await _store(download, limits, storage)
    finally:
        await _forget(download)


async def _store(download: Download, limits: Limits, storage: DocumentStore) -> Document:
    async with explained(limits):
        path = Path(await download.path())
    name = sanitise_name(download.suggested_filename) or "document"
    try:
        stored = await storage.save(_read(path), extension=extension_of(name), max_bytes=limits.max_file_bytes)
    except FileTooLargeError as error:
        words = f"the file is larger than the {limits.max_file_bytes:,} bytes allowed"
        raise VisitError(words, detail=name) from error
    except StorageError as error:
        raise VisitError(str(error), ResultStatus.FAILED, detail=str(error.__cause__ or error)) from error
    return Document(stored.file_url, name, type_for(name), stored.size_bytes, stored.sha256)


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


async def _forget(download: Download) -> None:
    """Make room for the next; at the latest the browser's folder takes it along."""
    try:
        await download.delete()
    except Error:
        return  # the page is gone, and the file goes with it
