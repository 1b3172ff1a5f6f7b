"""Runs as people ask for them, stop them and read their history."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from db.engine import transaction
from db.errors import ConflictError, NotFoundError
from db.models import AuditEntry, Job, JobStatus, LogLevel, Run, RunLogLine, RunStatus, RunTrigger
from db.run_log import LogLine, list_log_lines, list_newest_log_lines, record_log_lines
from db.runs import get_run, list_runs, request_run, request_stop
from db.viewers import Viewer
from tests.factories import NOW, make_job, make_run, make_viewer
from tests.waiting import wait_until

WAIT_SECONDS = 30


@pytest.fixture
def viewer(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


@pytest.fixture
def job_id(engine: Engine, viewer: Viewer) -> str:
    with transaction(engine) as session:
        return make_job(session, viewer).id


def request(engine: Engine, viewer: Viewer, job_id: str) -> Run:
    with transaction(engine) as session:
        return request_run(session, viewer, job_id, trigger=RunTrigger.API, now=NOW)


def job_status(engine: Engine, job_id: str) -> str:
    with transaction(engine) as session:
        return session.get_one(Job, job_id).status


def test_requested_run_is_queued_at_once(engine: Engine, viewer: Viewer, job_id: str) -> None:
    run = request(engine, viewer, job_id)
    assert (run.trigger, run.status, run.requested_by, run.scheduled_for) == ("api", "queued", viewer.user_id, None)
    assert (run.queued_at, run.run_after) == (NOW, NOW)
    assert job_status(engine, job_id) == JobStatus.QUEUED
    with transaction(engine) as session:
        entry = session.scalars(select(AuditEntry)).one()
        assert (entry.action, entry.after) == ("run requested", {"run": run.id})


@pytest.mark.parametrize("live", [RunStatus.QUEUED, RunStatus.RUNNING])
def test_run_is_refused_while_one_is_live(engine: Engine, viewer: Viewer, job_id: str, live: RunStatus) -> None:
    with transaction(engine) as session:
        make_run(session, session.get_one(Job, job_id), status=live)
    with pytest.raises(ConflictError, match=f"already {live.value}"):
        request(engine, viewer, job_id)


def test_run_of_a_job_without_accounts_is_refused(engine: Engine, viewer: Viewer) -> None:
    with transaction(engine) as session:
        job = make_job(session, viewer, accounts=0)
    with pytest.raises(ConflictError, match="no accounts"):
        request(engine, viewer, job.id)


def test_of_many_requests_at_once_one_is_taken(engine: Engine, viewer: Viewer, job_id: str) -> None:
    barrier = threading.Barrier(5)
    answers: list[str] = []

    def ask() -> None:
        barrier.wait(20)
        try:
            answers.append(request(engine, viewer, job_id).status)
        except ConflictError:
            answers.append("refused")

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(answers) == ["queued"] + ["refused"] * 4


def test_queued_run_stops_at_once(engine: Engine, viewer: Viewer, job_id: str) -> None:
    run_id = request(engine, viewer, job_id).id
    with transaction(engine) as session:
        stopped = request_stop(session, viewer, job_id, now=NOW)
    assert (stopped.id, stopped.status, stopped.finished_at) == (run_id, RunStatus.STOPPED, NOW)
    assert stopped.reason == "stopped on request while it was queued"
    assert job_status(engine, job_id) == JobStatus.STOPPED
    with transaction(engine) as session:
        assert [x.message for x in list_log_lines(session, run_id)] == ["run stopped on request while it was queued"]


def test_running_run_is_only_asked_to_stop_and_what_waits_behind_it_ends(
    engine: Engine, viewer: Viewer, job_id: str
) -> None:
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        running = make_run(session, job, status=RunStatus.RUNNING).id
        queued = make_run(session, job).id
    with transaction(engine) as session:
        asked = request_stop(session, viewer, job_id, now=NOW)
        assert (asked.id, asked.status, asked.stop_requested_at) == (running, RunStatus.RUNNING, NOW)
    with transaction(engine) as session:
        request_stop(session, viewer, job_id, now=NOW.replace(year=2030))
        assert session.get_one(Run, running).stop_requested_at == NOW
        assert session.get_one(Run, queued).status == RunStatus.STOPPED
    assert job_status(engine, job_id) == JobStatus.RUNNING


def test_stop_without_a_live_run_is_refused(engine: Engine, viewer: Viewer, job_id: str) -> None:
    with transaction(engine) as session:
        make_run(session, session.get_one(Job, job_id), status=RunStatus.COMPLETED)
    with pytest.raises(ConflictError, match="no run"), transaction(engine) as session:
        request_stop(session, viewer, job_id, now=NOW)


def test_history_is_read_page_by_page(engine: Engine, viewer: Viewer, job_id: str) -> None:
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        ids = [make_run(session, job, status=RunStatus.COMPLETED).id for _ in range(7)]
        make_run(session, make_job(session, viewer), status=RunStatus.COMPLETED)
    pages: list[list[int]] = []
    before: int | None = None
    while True:
        with transaction(engine) as session:
            page, before = list_runs(session, viewer, job_id, before_id=before, limit=3)
        pages.append([r.id for r in page])
        if before is None:
            break
    assert pages == [ids[:3:-1], ids[3:0:-1], ids[:1]]


def test_run_that_is_not_there(engine: Engine, viewer: Viewer) -> None:
    with transaction(engine) as session, pytest.raises(NotFoundError):
        get_run(session, viewer, 2**62)


def test_log_is_read_in_order_and_cut_to_size(engine: Engine, job_id: str) -> None:
    with transaction(engine) as session:
        run = make_run(session, session.get_one(Job, job_id))
        lines = [LogLine(NOW, "info", f"line {n}") for n in range(5)]  # type: ignore[arg-type]
        record_log_lines(session, run.id, [*lines, LogLine(NOW, "error", "x" * 5000)])  # type: ignore[arg-type]
        record_log_lines(session, run.id, [])
        stored = list_log_lines(session, run.id, limit=3)
        assert [x.message for x in stored] == ["line 0", "line 1", "line 2"]
        rest = list_log_lines(session, run.id, after_id=stored[-1].id)
        assert [len(x.message) for x in rest] == [6, 6, 1000]
        newest = list_newest_log_lines(session, run.id, limit=2)
        assert [x.message[:6] for x in newest] == ["line 4", "xxxxxx"]


def test_reader_who_goes_on_after_the_last_line_misses_none_that_was_being_written(engine: Engine, job_id: str) -> None:
    with transaction(engine) as session:
        run_id = make_run(session, session.get_one(Job, job_id)).id

    def write(session: Session, message: str) -> None:
        record_log_lines(session, run_id, [LogLine(NOW, LogLevel.INFO, message)])

    def write_second() -> None:
        with transaction(engine) as session:
            write(session, "second")

    def has_ended_or_waits() -> bool:
        with transaction(engine) as session:
            return second.done() or bool(session.scalar(waiting))

    waiting = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database"
        " WHERE NOT granted AND d.datname = current_database()"
    )
    read: list[str] = []
    with ThreadPoolExecutor(1) as thread:
        with transaction(engine) as session:
            write(session, "first")
            second = thread.submit(write_second)
            wait_until(has_ended_or_waits, WAIT_SECONDS, "the second writer")
            with transaction(engine) as reader:
                lines = list_log_lines(reader, run_id)
                read += [line.message for line in lines]
                last_id = max((line.id for line in lines), default=0)
        second.result()
    with transaction(engine) as reader:
        read += [line.message for line in list_log_lines(reader, run_id, after_id=last_id)]
    assert read == ["first", "second"]


def test_log_takes_what_portals_send(engine: Engine, job_id: str) -> None:
    with transaction(engine) as session:
        run = make_run(session, session.get_one(Job, job_id))
        record_log_lines(session, run.id, [LogLine(NOW, "info", "a\0b \ud800 c 😀")])  # type: ignore[arg-type]
        assert session.scalars(select(RunLogLine.message)).all() == ["a\ufffdb \ufffd c 😀"]
