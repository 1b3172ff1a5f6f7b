"""Downloads one document and stores it, or says why what came is not the document."""

from collections.abc import AsyncIterator
from hashlib import sha256

import aiohttp

from db.models import ResultStatus
from portal_import.engine.addresses import show
from portal_import.engine.client import CHUNK_BYTES, FILE_HEADERS, PortalClient
from portal_import.engine.document_links import DocumentLink, extension_of
from portal_import.engine.errors import PassingError, VisitError, describe_status
from portal_import.engine.file_names import choose_file_name, type_for
from portal_import.engine.file_names import extension_of as extension_of_name
from portal_import.engine.page import HTML_TYPES
from portal_import.engine.storage import DocumentStore, FileTooLargeError, StorageError
from portal_import.outcomes import Document, Limits

_MAX_VALIDATOR = 300
_PDF_MARK = b"%PDF-"
_PDF_MARK_WITHIN = 1024  # as Acrobat and pdfium look for it
_PDF_END = b"%%EOF"
_PDF_END_WITHIN = 2048
_PDF_TYPES = frozenset({"application/pdf", "application/x-pdf"})
_HTML_STARTS = (b"<!doctype html", b"<html", b"<head", b"<body")


class NotADocumentError(VisitError):
    """The link leads to a web page."""


def source_of(link: DocumentLink) -> str | None:
    """What stands for the link's address, which may hold secrets; None for a form, whose fields change each time,
    and for what a script makes."""
    has_address = link.form is None and link.control is None
    return sha256(link.url.encode()).hexdigest()[:32] if has_address else None


async def download_document(
    client: PortalClient,
    link: DocumentLink,
    limits: Limits,
    storage: DocumentStore,
    *,
    referer: str,
    known: Document | None = None,
) -> Document:
    """The stored document; `known` itself where the portal says that it has not changed, and then nothing is read.

    Raises VisitError, nothing kept then; NotADocumentError for a web page.
    """

    async def store(response: aiohttp.ClientResponse) -> Document:
        if known and _is_unchanged(response, known):
            return known
        return await _store(response, link, limits, storage)

    if link.form is not None:
        return await client.post_for_file(link.form, store, referer=referer)
    return await client.get(link.url, store, referer=referer, headers=FILE_HEADERS | _conditions(known))


def _conditions(known: Document | None) -> dict[str, str]:
    """RFC 9110, 13.1: the portal need not send what it sent before."""
    if known is None:
        return {}
    conditions = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
    return {name: value for name, value in conditions.items() if value}


def _is_unchanged(response: aiohttp.ClientResponse, known: Document) -> bool:
    """Whether the answer is the known document: by its status, or by its headers where conditions are ignored."""
    if response.status == 304:
        return True
    if response.status != 200:
        return False
    etag, last_modified = _validators(response)
    if etag or known.etag:
        return etag == known.etag
    has_same_date = last_modified is not None and last_modified == known.last_modified
    return has_same_date and response.content_length == known.size_bytes


def _validators(response: aiohttp.ClientResponse) -> tuple[str | None, str | None]:
    values = (response.headers.get(name, "").strip() for name in ("ETag", "Last-Modified"))
    etag, last_modified = (value if 0 < len(value) <= _MAX_VALIDATOR and value.isascii() else None for value in values)
    return etag, last_modified


async def _store(
    response: aiohttp.ClientResponse, link: DocumentLink, limits: Limits, storage: DocumentStore
) -> Document:
    if response.status != 200:
        answered = describe_status(response.status)
        method = "GET" if link.form is None else "POST"
        raise VisitError(f"the portal answered {answered}", detail=f"{method} {show(link.url)}: {answered}")
    declared = response.content_length
    if declared is not None and declared > limits.max_file_bytes:
        raise VisitError(f"the file has {declared:,} bytes, more than the {limits.max_file_bytes:,} allowed")
    sent_type = response.content_type.lower() if "Content-Type" in response.headers else ""
    final_url = str(response.url)
    name = choose_file_name(response.headers.get("Content-Disposition"), final_url, sent_type, hint=link.name_hint)
    content = _Content(response, is_pdf=sent_type in _PDF_TYPES or extension_of(link.url) == "pdf")
    try:
        stored = await storage.save(
            content.checked_chunks(), extension=extension_of_name(name), max_bytes=limits.max_file_bytes
        )
    except FileTooLargeError as error:
        received = f"{declared:,} bytes" if declared else "unknown size"
        raise VisitError(
            f"the file is larger than the {limits.max_file_bytes:,} bytes allowed", detail=f"announced: {received}"
        ) from error
    except StorageError as error:
        raise VisitError(str(error), ResultStatus.FAILED, detail=str(error.__cause__ or error)) from error
    content_type = sent_type if sent_type and "octet-stream" not in sent_type else type_for(name)
    etag, last_modified = _validators(response)
    return Document(
        stored.file_url,
        name,
        content_type,
        stored.size_bytes,
        stored.sha256,
        source=source_of(link),
        etag=etag,
        last_modified=last_modified,
    )


class _Content:
    """The answer's bytes on their way to the storage, looked at as they pass."""

    def __init__(self, response: aiohttp.ClientResponse, *, is_pdf: bool) -> None:
        self._response = response
        self._is_pdf = is_pdf

    async def checked_chunks(self) -> AsyncIterator[bytes]:
        """The bytes. Raises NotADocumentError or VisitError from the first of them, PassingError at the end."""
        if self._response.content_type in HTML_TYPES and "Content-Type" in self._response.headers:
            raise NotADocumentError("the portal sent a web page instead of the document")
        head, tail, is_checked = b"", b"", False
        async for chunk in self._response.content.iter_chunked(CHUNK_BYTES):
            tail = (tail + chunk)[-_PDF_END_WITHIN:]
            if is_checked:
                yield chunk
                continue
            head += chunk
            if len(head) >= _PDF_MARK_WITHIN:
                self._check_start(head)
                is_checked = True
                yield head
        if not is_checked:
            self._check_start(head)
            yield head
        if self._is_pdf and not self._tells_its_end() and _PDF_END not in tail:
            raise PassingError("the document broke off before its end", detail="no Content-Length, no %%EOF")

    def _check_start(self, head: bytes) -> None:
        if not head:
            raise PassingError("the portal sent an empty document")
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:100].lower()
        if start.startswith(_HTML_STARTS):
            raise NotADocumentError("the portal sent a web page instead of the document")
        if self._is_pdf and _PDF_MARK not in head[:_PDF_MARK_WITHIN]:
            raise VisitError(f"the portal sent something else than a PDF ({self._response.content_type})")

    def _tells_its_end(self) -> bool:
        """Whether a connection that closes too early is noticed by HTTP itself."""
        headers = self._response.headers
        return "Content-Length" in headers or "chunked" in headers.get("Transfer-Encoding", "").lower()
