"""The scheduler removes what killed runs left half written, and nothing else."""

import logging
import os
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from portal_import.engine.storage import UNFINISHED_FOLDER
from scheduler_service.service import UNFINISHED_KEPT_SECONDS, SchedulerService
from settings import Settings


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
