import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from db.documents import open_document
from portal_import.engine.storage import (
    UNFINISHED_FOLDER,
    DocumentStore,
    FileTooLargeError,
    StorageError,
    StoredFile,
    remove_unfinished,
)

MB = 1024 * 1024


async def feed(*parts: bytes | BaseException) -> AsyncIterator[bytes]:
    for part in parts:
        if isinstance(part, BaseException):
            raise part
        yield part


def save(url: str, *parts: bytes | BaseException, extension: str = "pdf", max_bytes: int = 10 * MB) -> StoredFile:
    return asyncio.run(DocumentStore(url).save(feed(*parts), extension=extension, max_bytes=max_bytes))


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(params=["file", "memory"])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return tmp_path.as_uri() if request.param == "file" else f"memory://bills-{tmp_path.name}"


@pytest.mark.parametrize("parts", [(b"abc", b"", b"def"), (b"x" * MB, b"y" * 2 * MB, b"z"), (b"",)])
def test_file_is_stored_by_its_content_and_read_back(storage_url: str, parts: tuple[bytes, ...]):
    content = b"".join(parts)
    stored = save(storage_url, *parts)
    digest = hashlib.sha256(content).hexdigest()
    assert stored == StoredFile(f"{digest[:2]}/{digest}.pdf", len(content), digest)
    assert b"".join(open_document(storage_url, stored.file_url)) == content
    fs, root = fsspec.url_to_fs(storage_url)
    assert [path for path in fs.find(root) if UNFINISHED_FOLDER in path] == []


def test_same_content_twice_is_one_file(tmp_path: Path):
    assert save(tmp_path.as_uri(), b"abc") == save(tmp_path.as_uri(), b"a", b"bc")
    assert len(files_in(tmp_path)) == 1


def test_extension_is_never_a_path(tmp_path: Path):
    assert save(tmp_path.as_uri(), b"abc", extension="../../x").file_url.endswith(".bin")


@pytest.mark.parametrize("size", [10, 3 * MB])
def test_failure_midway_leaves_nothing(storage_url: str, size: int):
    with pytest.raises(RuntimeError, match="broke off"):
        save(storage_url, b"x" * size, RuntimeError("broke off"))
    fs, root = fsspec.url_to_fs(storage_url)
    assert fs.find(root) == []


@pytest.mark.parametrize("size", [10, 3 * MB])
def test_file_over_the_cap_leaves_nothing(tmp_path: Path, size: int):
    taken: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            taken.append(1000)
            yield b"x" * 1000

    store = DocumentStore(tmp_path.as_uri())
    with pytest.raises(FileTooLargeError, match=f"larger than {size:,} bytes"):
        asyncio.run(store.save(endless(), extension="pdf", max_bytes=size))
    assert sum(taken) <= size + 1000
    assert files_in(tmp_path) == []


def test_file_of_exactly_the_cap_is_stored(tmp_path: Path):
    assert save(tmp_path.as_uri(), b"x" * 10, max_bytes=10).size_bytes == 10


def test_cancelled_save_leaves_nothing(tmp_path: Path):
    async def scenario() -> None:
        started = asyncio.Event()

        async def hang() -> AsyncIterator[bytes]:
            yield b"x" * 2 * MB
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(DocumentStore(tmp_path.as_uri()).save(hang(), extension="pdf", max_bytes=9 * MB))
        await started.wait()
        assert len(files_in(tmp_path)) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert files_in(tmp_path) == []


def test_save_cancelled_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    started, may_go_on = threading.Event(), threading.Event()
    really_open = LocalFileSystem.open

    def open_slowly(*arguments: object, **options: object) -> object:
        started.set()
        may_go_on.wait(20)
        return really_open(*arguments, **options)  # type: ignore[arg-type]

    async def scenario() -> None:
        store = DocumentStore(tmp_path.as_uri())
        task = asyncio.create_task(store.save(feed(b"x" * 2 * MB), extension="pdf", max_bytes=9 * MB))
        assert await asyncio.to_thread(started.wait, 20)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, may_go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task

    monkeypatch.setattr(LocalFileSystem, "open", open_slowly)
    asyncio.run(scenario())
    assert files_in(tmp_path) == []


def test_storage_that_cannot_be_written_says_so(tmp_path: Path):
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(StorageError, match=r"could not be written: (not a directory|file exists)"):
        save((tmp_path / "taken").as_uri(), b"abc")


def test_storage_of_an_unknown_kind_says_so():
    with pytest.raises(StorageError, match='STORAGE_URL: found "nosuch://'):
        DocumentStore("nosuch://bucket/bills")


def test_unfinished_files_of_killed_processes_are_removed(tmp_path: Path):
    stored = save(tmp_path.as_uri(), b"abc")
    folder = tmp_path / UNFINISHED_FOLDER
    for name in ("old", "new"):
        (folder / name).write_bytes(b"half")
    os.utime(folder / "old", (1_000_000_000, 1_000_000_000))
    assert remove_unfinished(tmp_path.as_uri(), older_than_seconds=3600) == 1
    assert files_in(tmp_path) == [f"{UNFINISHED_FOLDER}/new", stored.file_url]
    assert remove_unfinished((tmp_path / "none").as_uri(), older_than_seconds=0) == 0


def test_local_storage_is_closed_to_other_users_of_the_machine(tmp_path: Path):
    folder = tmp_path / "home" / "bills"
    stored = save(f"file://{folder}", b"%PDF")
    assert (folder / stored.file_url).is_file()
    assert folder.stat().st_mode & 0o077 == 0
