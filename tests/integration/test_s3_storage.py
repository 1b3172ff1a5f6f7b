"""Bills in S3, on a real server: whole or not there, sent in parts, and without a word of the credentials."""

import asyncio
import hashlib
import logging
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, select, text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

import db.engine
from api.app import build_api
from db.documents import StorageAwayError, open_document
from db.engine import transaction
from db.jobs import delete_job
from db.models import Bill, OrphanedFile, Role
from db.viewers import Viewer
from portal_import.engine.storage import (
    UNFINISHED_FOLDER,
    DocumentStore,
    FileTooLargeError,
    StorageError,
    StoredFile,
    remove_files,
    remove_unfinished,
)
from scheduler_service.service import SchedulerService
from settings import PROJECT_ROOT, Settings
from tests.api.conftest import SECRET_KEY
from tests.api.portal_story import add_person
from tests.factories import make_job
from tests.s3_server import SECRET, TOKEN, Bucket, S3Server, serve_s3
from tests.waiting import wait_until
from ui.bills_table import read_document
from web.files import get_bill_file

MB = 1024 * 1024
SOON = 30
ALL = -3600.0  # older than in an hour: every file, whatever the clocks say
NONE = 100 * 365 * 86_400.0  # moto says of every upload that it began in 2010


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with serve_s3() as server:
        yield server


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket, and the environment in which fsspec finds it."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    forget_connections()
    yield server.make_bucket()
    forget_connections()


def forget_connections() -> None:
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()


async def feed(size: int, end: BaseException | None = None) -> AsyncIterator[bytes]:
    """That many bytes in small pieces, and perhaps a failure after them."""
    piece = os.urandom(64 * 1024)
    for start in range(0, size, len(piece)):
        yield piece[: size - start]
    if end is not None:
        raise end


def save(url: str, size: int, end: BaseException | None = None, max_bytes: int = 100 * MB) -> StoredFile:
    return asyncio.run(DocumentStore(url).save(feed(size, end), extension="pdf", max_bytes=max_bytes))


@pytest.mark.parametrize("size", [0, 10, 12 * MB])
def test_file_is_stored_by_its_content_and_nothing_else_is(bucket: Bucket, size: int) -> None:
    stored = save(bucket.storage_url, size)
    (key,) = bucket.list_keys()
    content = bucket.read(key)
    digest = hashlib.sha256(content).hexdigest()
    assert key == f"our/bills/{stored.file_url}" == f"our/bills/{digest[:2]}/{digest}.pdf"
    assert (stored.size_bytes, stored.sha256, len(content)) == (size, digest, size)
    assert bucket.list_uploads() == []
    document = open_document(bucket.storage_url, stored.file_url)
    assert (document.size_bytes, b"".join(document)) == (size, content)


def test_the_same_file_again_is_the_same_object(bucket: Bucket) -> None:
    content = [b"%PDF the same"]

    async def same() -> AsyncIterator[bytes]:
        for chunk in content:
            yield chunk

    for _ in range(2):
        asyncio.run(DocumentStore(bucket.storage_url).save(same(), extension="pdf", max_bytes=MB))
    assert len(bucket.list_keys()) == 1


def test_a_large_file_is_never_held_whole(bucket: Bucket) -> None:
    save(bucket.storage_url, 1)  # what is loaded at first use
    tracemalloc.start()
    try:
        stored = save(bucket.storage_url, 32 * MB)
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        size = sum(len(chunk) for chunk in open_document(bucket.storage_url, stored.file_url))
        read = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 32 * MB
    assert (written < 24 * MB, read < 8 * MB) == (True, True), (written, read)


@pytest.mark.parametrize("size", [10, 12 * MB])
def test_failure_midway_leaves_nothing(bucket: Bucket, size: int) -> None:
    with pytest.raises(RuntimeError, match="broke off"):
        save(bucket.storage_url, size, RuntimeError("broke off"))
    with pytest.raises(FileTooLargeError):
        save(bucket.storage_url, size, max_bytes=size - 1)
    assert (bucket.list_keys(), bucket.list_uploads()) == ([], [])


SAVE_AND_HANG = """
import asyncio, sys
from portal_import.engine.storage import DocumentStore

async def feed():
    yield b"x" * 12 * 2**20
    await asyncio.Event().wait()

asyncio.run(DocumentStore(sys.argv[1]).save(feed(), extension="pdf", max_bytes=2**30))
"""


def test_a_killed_process_leaves_no_half_file(server: S3Server, bucket: Bucket) -> None:
    stored = save(bucket.storage_url, 10)
    strangers = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="somebody/elses")["Key"]
    process = subprocess.Popen([sys.executable, "-c", SAVE_AND_HANG, bucket.storage_url], cwd=PROJECT_ROOT)
    try:
        wait_until(lambda: len(bucket.list_uploads()) == 2, SOON, "the upload to begin")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(SOON)
    assert bucket.list_keys() == [f"our/bills/{stored.file_url}"]

    assert remove_unfinished(bucket.storage_url, older_than_seconds=NONE) == 0
    assert len(bucket.list_uploads()) == 2
    assert remove_unfinished(bucket.storage_url, older_than_seconds=ALL) == 1
    assert bucket.list_uploads() == [strangers]
    assert bucket.list_keys() == [f"our/bills/{stored.file_url}"]


def test_a_file_that_was_not_moved_any_more_is_removed(bucket: Bucket) -> None:
    stored = save(bucket.storage_url, 10)
    half = f"our/bills/{UNFINISHED_FOLDER}/abc"
    bucket.put(f"{half}d", b"another")
    assert remove_unfinished(bucket.storage_url, older_than_seconds=NONE) == 0  # and may remember what it saw
    bucket.put(half, b"whole, but not moved")
    assert remove_unfinished(bucket.storage_url, older_than_seconds=NONE) == 0
    assert half in bucket.list_keys()
    assert remove_unfinished(bucket.storage_url, older_than_seconds=ALL) == 2
    assert remove_unfinished(bucket.storage_url, older_than_seconds=ALL) == 0
    assert bucket.list_keys() == [f"our/bills/{stored.file_url}"]


def test_files_are_removed_by_address_and_new_ones_stay(bucket: Bucket) -> None:
    stored = save(bucket.storage_url, 10)
    bucket.put("secret.txt", b"somebody else's")
    urls = [stored.file_url, "aa/gone.pdf", "../../secret.txt"]
    assert remove_files(bucket.storage_url, urls, older_than_seconds=NONE) == urls[1:]
    assert remove_files(bucket.storage_url, urls, older_than_seconds=ALL) == urls
    assert bucket.list_keys() == ["secret.txt"]


def test_a_bucket_that_does_not_exist_is_named_as_the_reason_and_not_made(bucket: Bucket) -> None:
    with pytest.raises(StorageError, match="could not be written: the specified bucket does not exist"):
        save("s3://no-such-bucket-of-ours/bills", 10)
    assert "no-such-bucket-of-ours" not in [b["Name"] for b in bucket.client.list_buckets()["Buckets"]]


def test_a_storage_that_is_away_is_the_reason_in_words(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    forget_connections()
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    with pytest.raises(StorageError, match="could not be written: could not connect to the endpoint"):
        save(bucket.storage_url, 10)
    with pytest.raises(StorageError, match="could not be cleaned: could not connect to the endpoint"):
        remove_unfinished(bucket.storage_url, older_than_seconds=ALL)
    with pytest.raises(StorageAwayError):
        open_document(bucket.storage_url, "aa/a.pdf")


def test_no_log_holds_the_credentials(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        stored = save(bucket.storage_url, 6 * MB)
        assert len(b"".join(open_document(bucket.storage_url, stored.file_url))) == 6 * MB
        remove_unfinished(bucket.storage_url, older_than_seconds=ALL)
    assert "x-amz" not in caplog.text.lower()
    assert not [secret for secret in (SECRET, TOKEN) if secret in caplog.text]


def test_credentials_may_come_from_fsspecs_own_variables(
    server: S3Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = save(bucket.storage_url, 10)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | {
        "FSSPEC_S3_KEY": "AKIAX",
        "FSSPEC_S3_SECRET": SECRET,
        "FSSPEC_S3_ENDPOINT_URL": server.url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    code = "import sys; from db.documents import open_document; print(len(b''.join(open_document(*sys.argv[1:]))))"
    told = subprocess.run(
        [sys.executable, "-c", code, bucket.storage_url, stored.file_url],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout == "10\n", told.stderr


def add_bill(engine: Engine, viewer: Viewer, bucket: Bucket) -> tuple[int, str, bytes]:
    """A bill of the viewer's whose document is in the bucket: its id, its job's id and the document."""
    stored = save(bucket.storage_url, 3 * MB)
    with transaction(engine) as session:
        job = make_job(session, viewer)
        document = {"file_url": stored.file_url, "file_name": "bill.pdf", "content_type": "application/pdf"}
        bill = Bill(session_id=job.id, username="a", bill_key="1", documents=[document], file_url=stored.file_url)
        session.add(bill)
        session.flush()
        return bill.id, job.id, bucket.read(f"our/bills/{stored.file_url}")


def test_bills_are_opened_by_pages_and_api(
    engine: Engine, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path, storage_url=bucket.storage_url, secret_key=SecretStr(SECRET_KEY))
    olive = add_person(engine, build_api(engine, settings), "olive", Role.OPERATOR)
    bill_id, _, content = add_bill(engine, olive.viewer, bucket)

    answer = olive.client.get(f"/bills/{bill_id}/file")
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(3 * MB))
    assert answer.content == content

    monkeypatch.setattr(db.engine, "get_engine", lambda: engine)
    for module in ("web.files", "ui.bills_table"):
        monkeypatch.setattr(f"{module}.get_settings", lambda: settings)

    def get_as_olive(request: Request) -> Response:
        request.state.viewer = olive.viewer
        return get_bill_file(request)

    pages = TestClient(Starlette(routes=[Route("/files/bills/{bill_id:int}/{index:int}", get_as_olive)]))
    assert pages.get(f"/files/bills/{bill_id}/0").content == content
    with transaction(engine) as session:
        file_url = session.get_one(Bill, bill_id).documents[0]["file_url"]
    assert read_document(file_url) == content

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    forget_connections()
    away = olive.client.get(f"/bills/{bill_id}/file")
    assert (away.status_code, away.json()["error"][:28]) == (503, "The storage of the bills can")
    assert pages.get(f"/files/bills/{bill_id}/0").status_code == 503


def test_files_of_a_deleted_job_go_from_the_bucket_too(
    engine: Engine, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path, storage_url=bucket.storage_url, secret_key=SecretStr(SECRET_KEY), slots=0)
    olive = add_person(engine, build_api(engine, settings), "olive", Role.OPERATOR)
    _, job_id, _ = add_bill(engine, olive.viewer, bucket)
    with transaction(engine) as session:
        delete_job(session, olive.viewer, job_id)
    with transaction(engine) as session:
        session.execute(text("UPDATE orphaned_files SET orphaned_at = orphaned_at - interval '2 days'"))
    service = SchedulerService(engine, settings)
    service.clean_storage()
    assert len(bucket.list_keys()) == 1  # written a moment ago
    monkeypatch.setattr("scheduler_service.service.ORPHANS_KEPT_SECONDS", ALL)
    service.clean_storage()
    assert bucket.list_keys() == []
    with transaction(engine) as session:
        assert session.scalars(select(OrphanedFile)).all() == []
