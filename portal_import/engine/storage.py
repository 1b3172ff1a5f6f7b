"""Keeps downloaded files in a folder or bucket, named by their content, never half a file.

A file is written under a temporary name and moved to `<first two of sha256>/<sha256>.<ext>` once it is
whole. A bucket has no move: the whole file is copied within it, in one step, and the temporary one removed. Reading
for people is the business of `db.documents`.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

from db.documents import DocumentOutsideStorageError, document_key
from db.storage_address import S3_PROTOCOLS, StorageUnusableError, describe_storage_error, open_file_system

UNFINISHED_FOLDER = ".unfinished"
PRIVATE_FOLDER = 0o700  # of other users of the machine, nobody reads the bills
_BUFFER_BYTES = 1024 * 1024
_PART_BYTES = 5 * 1024 * 1024  # of an upload, held in memory until it is sent; S3 takes no smaller ones
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")

T = TypeVar("T")


class StorageError(Exception):
    """The storage could not be written."""


class FileTooLargeError(StorageError):
    """The file has more bytes than allowed."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the file is larger than {max_bytes:,} bytes")


@dataclass(frozen=True)
class StoredFile:
    """A whole file in the storage; `file_url` is relative to the storage's root, so that it may move."""

    file_url: str
    size_bytes: int
    sha256: str


class DocumentStore:
    """Writes files below a `STORAGE_URL` such as `file:///srv/bills` or `s3://bucket/bills`."""

    def __init__(self, storage_url: str) -> None:
        self._storage_url = storage_url
        self._fs, self._root = _open_storage(storage_url)
        if isinstance(self._fs, LocalFileSystem):
            with contextlib.suppress(OSError):  # what cannot be made now fails, with its reason, when a file is stored
                Path(self._root).mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)

    async def save(self, chunks: AsyncIterator[bytes], *, extension: str, max_bytes: int) -> StoredFile:
        """Store what `chunks` yields. Whatever it raises is passed on, and nothing is kept.

        Raises FileTooLargeError as soon as more than `max_bytes` have come, StorageError when the
        storage fails.
        """
        digest, size, buffer = hashlib.sha256(), 0, bytearray()
        temporary = _TemporaryFile(self._fs, f"{self._root}/{UNFINISHED_FOLDER}/{uuid4().hex}")
        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise FileTooLargeError(max_bytes)
                digest.update(chunk)
                buffer += chunk
                if len(buffer) >= _BUFFER_BYTES:
                    await _in_thread(temporary.write, bytes(buffer))
                    buffer.clear()
            name = digest.hexdigest()
            key = f"{name[:2]}/{name}.{extension if _EXTENSION.fullmatch(extension) else 'bin'}"
            await _in_thread(temporary.finish, bytes(buffer), f"{self._root}/{key}")
        except BaseException:
            await _in_thread(temporary.discard)
            raise
        return StoredFile(key, size, name)

    async def read(self, file_url: str, max_bytes: int) -> bytes:
        """The stored file, at most so much of it. Raises StorageError."""
        try:
            path = f"{self._root}/{document_key(self._storage_url, file_url)}"
        except DocumentOutsideStorageError as error:
            raise StorageError("the file is not in the storage") from error
        return await _in_thread(self._read, path, max_bytes)

    def _read(self, path: str, max_bytes: int) -> bytes:
        with _storage_errors("read"), self._fs.open(path, "rb") as file:
            return file.read(max_bytes)

    async def has(self, file_url: str) -> bool:
        """Whether the file is there, as far as the storage can say."""
        try:
            path = f"{self._root}/{document_key(self._storage_url, file_url)}"
            return bool(await _in_thread(self._fs.exists, path))
        except (DocumentOutsideStorageError, StorageError):
            return False


def remove_unfinished(storage_url: str, *, older_than_seconds: float) -> int:
    """Remove what killed processes left half written, and say how many files that was. Raises StorageError."""
    with _storage_errors("cleaned"):
        fs, root = _open_storage(storage_url)
        folder = f"{root}/{UNFINISHED_FOLDER}"
        removed = 0
        for path in fs.find(folder) if fs.exists(folder) else []:
            if time.time() - fs.modified(path).timestamp() > older_than_seconds:
                fs.rm_file(path)
                removed += 1
        return removed + _abort_uploads(fs, folder, older_than_seconds)


def remove_files(storage_url: str, file_urls: Iterable[str], *, older_than_seconds: float) -> list[str]:
    """Remove stored files; returns the addresses that need no further look, those that were not there among them.

    A file that was written lately stays: a run has just brought it again, and may not have recorded it yet.
    Raises StorageError.
    """
    done: list[str] = []
    with _storage_errors("cleaned"):
        fs, root = _open_storage(storage_url)
        for file_url in file_urls:
            try:
                path = f"{root}/{document_key(storage_url, file_url)}"
                if time.time() - fs.modified(path).timestamp() <= older_than_seconds:
                    continue
                fs.rm_file(path)
            except (DocumentOutsideStorageError, FileNotFoundError):
                pass  # nothing of ours, or gone already: either way there is nothing left to do
            done.append(file_url)
    return done


def _abort_uploads(fs: Any, folder: str, older_than_seconds: float) -> int:
    """End the uploads in parts that nobody goes on with: S3 keeps what was sent, and shows it to nobody."""
    if fs.protocol != S3_PROTOCOLS:
        return 0
    bucket, prefix, _ = fs.split_path(f"{folder}/")
    aborted = 0
    for upload in fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix).get("Uploads", []):
        if time.time() - upload["Initiated"].timestamp() > older_than_seconds:
            fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
            aborted += 1
    return aborted


class _TemporaryFile:
    """A file that becomes visible under its name only by `finish`. Opened at the first write."""

    def __init__(self, fs: Any, path: str) -> None:
        self._fs = fs
        self._path = path
        self._file: Any = None
        # In a bucket there are none, and making one would make the bucket.
        self._has_folders = not isinstance(fs, AsyncFileSystem)

    def write(self, data: bytes) -> None:
        if self._file is None:
            self._make_folder(self._path)
            self._file = self._fs.open(self._path, "wb", block_size=_PART_BYTES)
        self._file.write(data)

    def finish(self, data: bytes, target: str) -> None:
        self.write(data)
        if isinstance(self._fs, LocalFileSystem):
            # Without this, a power cut after the move could leave the name without the bytes.
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        self._make_folder(target)
        if self._has_folders:
            self._fs.mv(self._path, target)
        else:
            self._fs.cp_file(self._path, target)
            self._fs.rm_file(self._path)
        self._file = None

    def discard(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if isinstance(file, AbstractBufferedFile) and not file.closed:
                file.discard()  # what has been sent of it
                file.closed = True  # or it would be sent when it is collected
            file.close()
        finally:
            if self._fs.exists(self._path):
                self._fs.rm_file(self._path)

    def _make_folder(self, path: str) -> None:
        if self._has_folders:
            self._fs.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH120 (not only of local paths)


async def _in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Run a blocking call of the storage to its end, even when cancelled meanwhile."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        with _storage_errors("written"):
            return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


@contextmanager
def _storage_errors(what: str) -> Generator[None]:
    try:
        yield
    except StorageError:
        raise
    except Exception as error:  # each kind of storage has its own
        raise StorageError(f"the storage could not be {what}: {describe_storage_error(error)}") from error


def _open_storage(storage_url: str) -> tuple[Any, str]:
    try:
        return open_file_system(storage_url)
    except StorageUnusableError as error:
        raise StorageError(str(error)) from error
