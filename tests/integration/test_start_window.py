"""The start window: an occurrence that waited in the queue until it closed is missed, and no worker starts it."""

import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import Engine, event, func, select

from db.claiming import Claim, claim_runs, expire_runs
from db.claims import finish_run, recover_runs, requeue_run
from db.engine import transaction
from db.firing import fire_due_jobs
from db.models import CatchUp, Cause, Job, JobStatus, Overlap, Role, Run, RunStatus, RunTrigger
from db.runs import request_run
from tests.factories import HOURLY, NOW, make_job, make_run, make_viewer

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
LEASE = timedelta(seconds=30)
WINDOW = 600
WAIT_SECONDS = 20


def add_job(engine: Engine, username: str = "olive", **columns: object) -> str:
    """A job whose hourly occurrence at NOW is queued, with ten minutes to start it."""
    with transaction(engine) as session:
        viewer = make_viewer(session, username)
        values = {"misfire_grace_seconds": WINDOW, **columns}
        job_id = make_job(session, viewer, schedule=HOURLY, **values).id  # type: ignore[arg-type]
    fire(engine)
    return job_id


def fire(engine: Engine, later: timedelta = timedelta(0)) -> None:
    with transaction(engine) as session:
        fire_due_jobs(session, NOW + later)


def claim(engine: Engine, later: timedelta) -> Sequence[Claim]:
    with transaction(engine) as session:
        return claim_runs(session, NOW + later, worker="w", slots=10, lease=LEASE).claims


def expire(engine: Engine, later: timedelta) -> int:
    with transaction(engine) as session:
        return expire_runs(session, NOW + later)


def read(engine: Engine, job_id: str) -> tuple[Job, list[Run]]:
    with transaction(engine) as session:
        runs = session.scalars(select(Run).where(Run.session_id == job_id).order_by(Run.id)).all()
        return session.get_one(Job, job_id), list(runs)


def test_run_still_queued_after_its_window_is_missed(engine: Engine) -> None:
    job_id = add_job(engine)
    assert expire(engine, WINDOW * SECOND) == 0
    later = WINDOW * SECOND + SECOND
    assert expire(engine, later) == 1
    job, (run,) = read(engine, job_id)
    assert (run.status, run.cause, run.finished_at) == (RunStatus.MISSED, Cause.LATE, NOW + later)
    assert run.reason == "waited for a free slot until its start window had passed"
    assert (job.status, job.last_outcome) == (JobStatus.IDLE, None)
    assert expire(engine, later) == 0


@pytest.mark.parametrize("outcome", [RunStatus.COMPLETED, RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.STOPPED])
def test_status_of_the_job_goes_back_to_how_its_last_run_ended(engine: Engine, outcome: RunStatus) -> None:
    job_id = add_job(engine)
    (first,) = claim(engine, SECOND)
    with transaction(engine) as session:
        finish_run(session, first.run_id, first.lease_token, outcome, None, NOW + MINUTE)
    fire(engine, HOUR)
    assert read(engine, job_id)[0].status == JobStatus.QUEUED
    assert expire(engine, HOUR + WINDOW * SECOND + SECOND) == 1
    job, _ = read(engine, job_id)
    assert (job.status, job.last_outcome, job.last_run_id) == (outcome.value, outcome.value, first.run_id)


def test_job_is_queued_as_long_as_another_of_its_runs_is(engine: Engine) -> None:
    job_id = add_job(engine, overlap=Overlap.QUEUE)
    fire(engine, HOUR)
    assert expire(engine, HOUR) == 1
    job, runs = read(engine, job_id)
    assert [run.status for run in runs] == [RunStatus.MISSED, RunStatus.QUEUED]
    assert job.status == JobStatus.QUEUED
    assert [claimed.scheduled_for for claimed in claim(engine, HOUR)] == [NOW + HOUR]


def test_running_job_stays_running(engine: Engine) -> None:
    job_id = add_job(engine, overlap=Overlap.QUEUE)
    (running,) = claim(engine, SECOND)
    fire(engine, HOUR)
    later = HOUR + WINDOW * SECOND + SECOND
    assert expire(engine, later) == 1
    job, runs = read(engine, job_id)
    assert (job.status, [run.status for run in runs]) == ("running", ["running", "missed"])
    with transaction(engine) as session:
        assert finish_run(session, running.run_id, running.lease_token, RunStatus.COMPLETED, None, NOW + later)
    assert read(engine, job_id)[0].status == JobStatus.COMPLETED


def test_job_can_be_run_and_fires_again_after_a_missed_start(engine: Engine) -> None:
    job_id = add_job(engine)
    expire(engine, HOUR - SECOND)
    fire(engine, HOUR)
    assert [run.status for run in read(engine, job_id)[1]] == [RunStatus.MISSED, RunStatus.QUEUED]
    expire(engine, 2 * HOUR - SECOND)
    with transaction(engine) as session:
        admin = make_viewer(session, "root", Role.ADMIN)
        assert request_run(session, admin, job_id, trigger=RunTrigger.MANUAL, now=NOW + 2 * HOUR).start_by is None


def test_no_worker_starts_a_run_after_its_window(engine: Engine) -> None:
    add_job(engine)
    assert claim(engine, WINDOW * SECOND + SECOND) == []
    (claimed,) = claim(engine, WINDOW * SECOND)
    assert claimed.scheduled_for == NOW


def test_closed_window_does_not_keep_other_jobs_waiting(engine: Engine) -> None:
    add_job(engine)
    other = add_job(engine, "other", misfire_grace_seconds=None)
    assert [claimed.session_id for claimed in claim(engine, HOUR / 2)] == [other]


def test_run_that_had_started_once_is_never_missed(engine: Engine) -> None:
    job_id = add_job(engine)
    (first,) = claim(engine, SECOND)
    with transaction(engine) as session:
        assert requeue_run(session, first.run_id, first.lease_token, "drained", NOW + MINUTE, is_fault=False)
    assert expire(engine, 5 * HOUR) == 0
    assert [claimed.run_id for claimed in claim(engine, 5 * HOUR)] == [first.run_id]
    with transaction(engine) as session:
        assert recover_runs(session, NOW + 6 * HOUR) == 1
    assert expire(engine, 7 * HOUR) == 0
    _, (run,) = read(engine, job_id)
    assert (run.status, run.attempt) == (RunStatus.QUEUED, 2)


def test_run_by_hand_has_no_window(engine: Engine) -> None:
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session), misfire_grace_seconds=1)
        run = make_run(session, job)
    assert expire(engine, 5 * HOUR) == 0
    assert [claimed.run_id for claimed in claim(engine, 5 * HOUR)] == [run.id]


def test_late_occurrence_has_the_rest_of_its_window(engine: Engine) -> None:
    with transaction(engine) as session:
        job = make_job(
            session, make_viewer(session), schedule=HOURLY, misfire_grace_seconds=2 * 3600, catch_up=CatchUp.ALL
        )
    fire(engine, 3 * HOUR)
    _, runs = read(engine, job.id)
    assert [run.status for run in runs] == ["missed", "queued", "queued", "queued"]
    assert [run.start_by for run in runs[1:]] == [NOW + n * HOUR for n in (3, 4, 5)]
    assert expire(engine, 4 * HOUR + SECOND) == 2


def test_many_closed_windows_are_missed_part_by_part(engine: Engine) -> None:
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session), schedule=HOURLY)
        for minute in range(25):
            make_run(session, job, trigger=RunTrigger.SCHEDULE, at=NOW + minute * MINUTE, start_by=NOW)
        assert expire_runs(session, NOW + HOUR, limit=10) == 10
        assert session.get_one(Job, job.id).status == JobStatus.QUEUED
        assert [expire_runs(session, NOW + HOUR, limit=10) for _ in range(3)] == [10, 5, 0]
        assert session.get_one(Job, job.id).status == JobStatus.IDLE


def test_busy_hour_of_closed_windows_takes_few_statements(engine: Engine) -> None:
    """While a closed run waits to be given up, its job skips occurrences: the previous one is still queued."""
    with transaction(engine) as session:
        viewer = make_viewer(session)
        for number in range(300):
            job = make_job(session, viewer, accounts=0, last_outcome="failed" if number % 2 else None)
            for minute in range(1 + number % 2):
                make_run(session, job, trigger=RunTrigger.SCHEDULE, at=NOW + minute * MINUTE, start_by=NOW)
    statements: list[str] = []

    def note(_c: object, _k: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    assert expire(engine, HOUR) == 450
    event.remove(engine, "before_cursor_execute", note)
    assert len(statements) <= 4, statements
    with transaction(engine) as session:
        found = session.execute(select(Job.status, func.count()).group_by(Job.status)).all()
        assert dict(found) == {"idle": 150, "failed": 150}


def test_run_is_either_started_or_missed(engine: Engine) -> None:
    """A worker whose clock is behind claims while another, whose clock is ahead, gives up."""
    for number in range(10):
        job_id = add_job(engine, f"user{number}")
        barrier = threading.Barrier(2)
        done: list[tuple[str, int]] = []

        def start(barrier: threading.Barrier = barrier, done: list[tuple[str, int]] = done) -> None:
            barrier.wait(WAIT_SECONDS)
            done.append(("started", len(claim(engine, WINDOW * SECOND))))

        def give_up(barrier: threading.Barrier = barrier, done: list[tuple[str, int]] = done) -> None:
            barrier.wait(WAIT_SECONDS)
            done.append(("missed", expire(engine, WINDOW * SECOND + SECOND)))

        threads = [threading.Thread(target=work) for work in (start, give_up)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_SECONDS)
        assert sum(count for _, count in done) == 1, done
        job, (run,) = read(engine, job_id)
        assert (run.status, job.status) in {("running", "running"), ("missed", "idle")}


def test_jobs_that_somebody_holds_are_given_up_later(engine: Engine) -> None:
    job_id = add_job(engine)
    with transaction(engine) as holder:
        holder.execute(select(Job).where(Job.id == job_id).with_for_update(key_share=True))
        assert expire(engine, HOUR) == 0
    assert expire(engine, HOUR) == 1
