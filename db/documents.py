"""Reading stored bill documents back, in chunks, and never from outside the storage.

Addresses in the database are keys such as `ab/abcdef….pdf`, relative to the storage's root; whole
addresses below the root are understood too.
"""

import logging
import mimetypes
import posixpath
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.bill_versions import get_version
from db.bills import get_bill
from db.errors import NotFoundError, PunctualError
from db.models import Bill, Job
from db.results import get_result
from db.storage_address import describe_storage_error, open_file_system
from db.viewers import Viewer

CHUNK_BYTES = 256 * 1024
READ_AHEAD_BYTES = 1024 * 1024  # of a remote file at a time; s3fs would take 50 MB

logger = logging.getLogger(__name__)


class StorageAwayError(PunctualError):
    """The storage of the bills cannot be read at the moment; its administrator finds the reason in the log."""

    def __init__(self) -> None:
        super().__init__((self.__doc__ or "").rstrip("."))


class DocumentOutsideStorageError(NotFoundError):
    """The document's address does not lie in the storage."""


@dataclass(frozen=True)
class BillDocument:
    """One document of a bill, as it was stored."""

    file_url: str
    file_name: str
    content_type: str


@dataclass
class OpenDocument:
    """A document that is open for reading once; iterating closes it at the end."""

    size_bytes: int | None
    _file: IO[bytes] = field(repr=False)

    def __iter__(self) -> Iterator[bytes]:
        with self._file:
            while chunk := self._read():
                yield chunk

    def _read(self) -> bytes:
        with _storage_errors():
            return self._file.read(CHUNK_BYTES)


@contextmanager
def _storage_errors() -> Generator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError):
        raise NotFoundError("the document is no longer in the storage") from None
    except Exception as error:  # each kind of storage has its own
        logger.error("the storage could not be read: %s", describe_storage_error(error))
        raise StorageAwayError from error


def get_bill_document(session: Session, viewer: Viewer, bill_id: int, index: int) -> BillDocument:
    """Document number `index`, from 0, of a bill of the viewer's (an admin: of anyone's). Raises NotFoundError."""
    if not 0 < bill_id < 2**63:
        raise NotFoundError("there is no such document")
    query = select(Bill.documents).join(Job, Bill.session_id == Job.id).where(Bill.id == bill_id)
    if not viewer.is_admin:
        query = query.where(Job.user_id == viewer.user_id)
    documents = session.scalar(query) or []
    if not 0 <= index < len(documents):
        raise NotFoundError("there is no such document")
    return _describe(documents[index])


def get_version_document(session: Session, viewer: Viewer, bill_id: int, version_id: int, index: int) -> BillDocument:
    """Document number `index`, from 0, of an earlier version of a bill of the viewer's. Raises NotFoundError."""
    documents = get_version(session, get_bill(session, viewer, bill_id), version_id).documents
    if not 0 <= index < len(documents):
        raise NotFoundError("there is no such document")
    return _describe(documents[index])


def get_result_document(session: Session, viewer: Viewer, result_id: str) -> BillDocument:
    """The newest document that the result's account brought. Raises NotFoundError."""
    result = get_result(session, viewer, result_id)
    if result.file_url is None:
        raise NotFoundError("this account has no file in this run")
    candidates = session.scalars(
        select(Bill.documents).where(Bill.session_id == result.session_id, Bill.username == result.username)
    )
    documents = [d for bill_documents in candidates for d in bill_documents if d["file_url"] == result.file_url]
    if documents:
        return _describe(documents[0])
    content_type, _ = mimetypes.guess_type(result.file_url)  # the bill has another document by now
    return _describe({"file_url": result.file_url, "content_type": content_type})


def open_document(storage_url: str, file_url: str) -> OpenDocument:
    """Open a stored document.

    Raises NotFoundError when it is gone or its address is none of the storage's, StorageAwayError when nobody knows.
    """
    key = document_key(storage_url, file_url)
    file_system, root = open_file_system(storage_url)
    with _storage_errors():
        file: Any = file_system.open(posixpath.join(root, key), "rb", block_size=READ_AHEAD_BYTES)
    return OpenDocument(size_bytes=getattr(file, "size", None), _file=file)


def document_key(storage_url: str, file_url: str) -> str:
    """The address relative to the storage's root. Raises DocumentOutsideStorageError."""
    key = file_url
    root = storage_url.rstrip("/") + "/"
    if file_url.startswith(root):
        key = file_url[len(root) :]
    elif urlsplit(file_url).scheme or file_url.startswith(("/", "\\")):
        raise DocumentOutsideStorageError
    segments = unquote(key).replace("\\", "/").split("/")
    if not key or "\x00" in key or any(s in ("", ".", "..") for s in segments):
        raise DocumentOutsideStorageError
    return key


def _describe(document: dict[str, Any]) -> BillDocument:
    file_url = str(document["file_url"])
    return BillDocument(
        file_url=file_url,
        file_name=str(document.get("file_name") or posixpath.basename(file_url)),
        content_type=str(document.get("content_type") or "application/octet-stream"),
    )
