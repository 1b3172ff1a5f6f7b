"""The scheduler removes what killed runs left half written and what deleted jobs left behind, and nothing else."""

import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select, text
from sqlalchemy.orm import Session

from db.engine import transaction
from db.jobs import delete_job
from db.models import Bill, BillVersion, Job, OrphanedFile, Result, ResultStatus, RunStatus
from db.orphaned_files import list_orphaned_files
from portal_import.engine.storage import UNFINISHED_FOLDER
from scheduler_service.service import ORPHANS_KEPT_SECONDS, UNFINISHED_KEPT_SECONDS, SchedulerService
from settings import Settings
from tests.factories import make_job, make_run, make_viewer

LONG_AGO = time.time() - ORPHANS_KEPT_SECONDS - 60


def test_old_half_files_go_and_everything_else_stays(engine: Engine, tmp_path: Path) -> None:
    unfinished = tmp_path / "bills" / UNFINISHED_FOLDER
    unfinished.mkdir(parents=True)
    old, new, whole = unfinished / "old", unfinished / "new", tmp_path / "bills" / "bill.pdf"
    for path in (old, new, whole):
        path.write_bytes(b"x")
    long_ago = time.time() - UNFINISHED_KEPT_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    os.utime(whole, (long_ago, long_ago))

    SchedulerService(engine, Settings(home=tmp_path, slots=0)).clean_storage()

    assert [path.exists() for path in (old, new, whole)] == [False, True, True]


def test_storage_that_cannot_be_read_is_logged_and_survived(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = SchedulerService(engine, Settings(home=tmp_path, slots=0, storage_url="nonsense://bucket"))
    with caplog.at_level(logging.ERROR):
        service.clean_storage()
    assert "could not be cleaned" in caplog.text


def store(home: Path, name: str) -> str:
    """An old file in the storage; returns its address."""
    path = home / "bills" / name[:2] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(name.encode())
    os.utime(path, (LONG_AGO, LONG_AGO))
    return f"{name[:2]}/{name}"


def stored(home: Path) -> set[str]:
    return {path.name for path in (home / "bills").rglob("*") if path.is_file()}


def bill(job: Job, *file_urls: str, key: str = "1") -> Bill:
    return Bill(session_id=job.id, username="a", bill_key=key, documents=[{"file_url": url} for url in file_urls])


def age_orphans(engine: Engine) -> None:
    with transaction(engine) as session:
        session.execute(text("UPDATE orphaned_files SET orphaned_at = orphaned_at - interval '2 days'"))


def delete_as_owner(engine: Engine, home: Path, *, shares: bool = False) -> None:
    """A job with three files, one of them only in a result, is deleted; another job may share two of them."""
    first, second, superseded = store(home, "aa1.pdf"), store(home, "bb2.csv"), store(home, "cc3.pdf")
    with transaction(engine) as session:
        olive = make_viewer(session)
        job, other = make_job(session, olive), make_job(session, olive)
        run = make_run(session, job, status=RunStatus.COMPLETED)
        session.add(bill(job, first, second))
        session.add(
            Result(run_id=run.id, session_id=job.id, username="a", status=ResultStatus.SUCCESS, file_url=superseded)
        )
        if shares:  # once as it is, once as an older system spelled it
            session.add(bill(other, first))
            session.add(bill(other, f"file://{home}/bills/{second}", key="2"))
    with transaction(engine) as session:
        delete_job(session, olive, job.id)


def test_files_of_a_deleted_job_go_a_day_later(engine: Engine, tmp_path: Path) -> None:
    kept = store(tmp_path, "dd4.pdf")
    delete_as_owner(engine, tmp_path)
    service = SchedulerService(engine, Settings(home=tmp_path, slots=0))
    service.clean_storage()
    assert len(stored(tmp_path)) == 4
    age_orphans(engine)
    service.clean_storage()
    assert stored(tmp_path) == {Path(kept).name}
    with transaction(engine) as session:
        assert session.scalars(select(OrphanedFile)).all() == []


def add_changed_bill(session: Session, job: Job, now: str, before: str) -> None:
    """A bill that has one file now, and had another one before it changed."""
    changed = bill(job, now)
    session.add(changed)
    session.flush()
    session.add(BillVersion(bill_id=changed.id, documents=[{"file_url": before}]))


def test_files_of_earlier_versions_go_with_their_job_and_stay_while_another_needs_them(
    engine: Engine, tmp_path: Path
) -> None:
    now, before, shared = (store(tmp_path, name) for name in ("aa1.pdf", "bb2.pdf", "cc3.pdf"))
    with transaction(engine) as session:
        olive = make_viewer(session)
        job, second, other = (make_job(session, olive) for _ in range(3))
        add_changed_bill(session, job, now, before)
        add_changed_bill(session, second, now, shared)
        add_changed_bill(session, other, store(tmp_path, "dd4.pdf"), shared)
    with transaction(engine) as session:
        delete_job(session, olive, job.id)
        delete_job(session, olive, second.id)
    age_orphans(engine)
    SchedulerService(engine, Settings(home=tmp_path, slots=0)).clean_storage()
    assert stored(tmp_path) == {"cc3.pdf", "dd4.pdf"}


def test_files_that_another_job_has_too_stay(engine: Engine, tmp_path: Path) -> None:
    delete_as_owner(engine, tmp_path, shares=True)
    age_orphans(engine)
    SchedulerService(engine, Settings(home=tmp_path, slots=0)).clean_storage()
    assert stored(tmp_path) == {"aa1.pdf", "bb2.csv"}
    with transaction(engine) as session:
        assert session.scalars(select(OrphanedFile)).all() == []


def test_a_file_that_was_just_brought_again_stays_until_its_bill_is_recorded(engine: Engine, tmp_path: Path) -> None:
    delete_as_owner(engine, tmp_path)
    age_orphans(engine)
    os.utime(tmp_path / "bills" / "aa" / "aa1.pdf")
    SchedulerService(engine, Settings(home=tmp_path, slots=0)).clean_storage()
    assert stored(tmp_path) == {"aa1.pdf"}
    with transaction(engine) as session:
        assert session.scalars(select(OrphanedFile.file_url)).all() == ["aa/aa1.pdf"]


def test_addresses_outside_the_storage_are_left_alone(engine: Engine, tmp_path: Path) -> None:
    outside = tmp_path / "precious.pdf"
    outside.write_bytes(b"x")
    os.utime(outside, (LONG_AGO, LONG_AGO))
    with transaction(engine) as session:
        olive = make_viewer(session)
        job = make_job(session, olive)
        session.add(bill(job, "../precious.pdf", f"file://{outside}", str(outside), "gone/away.pdf"))
    with transaction(engine) as session:
        delete_job(session, olive, job.id)
    age_orphans(engine)
    SchedulerService(engine, Settings(home=tmp_path, slots=0)).clean_storage()
    assert outside.exists()
    with transaction(engine) as session:
        assert session.scalars(select(OrphanedFile)).all() == []


def test_without_orphans_no_bill_is_read(engine: Engine, tmp_path: Path) -> None:
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    with transaction(engine) as session:
        assert list_orphaned_files(session, before=datetime.now(UTC)) == []
    assert [statement for statement in statements if "bills" in statement] == []
    delete_as_owner(engine, tmp_path)
    with transaction(engine) as session:
        assert len(list_orphaned_files(session, before=datetime.now(UTC))) == 3
    assert [statement for statement in statements if "FROM bills" in statement]
