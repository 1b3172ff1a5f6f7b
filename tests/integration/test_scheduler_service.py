"""The service: it fires, executes and stops runs; it drains, crashes and comes back."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import psycopg2
import pytest
from sqlalchemy import Engine, select, text

from db.claims import recover_runs
from db.engine import transaction
from db.jobs import lock_job
from db.models import Job, JobStatus, Run, RunLogLine, RunStatus, RunTrigger
from db.runs import request_run, request_stop
from db.viewers import Viewer
from db.wake import Wake, send_wake
from portal_import.child import RunOrder
from scheduler_service import service as service_module
from scheduler_service import supervision
from tests.child_processes import CRASH_CODE, complete, crash, hang, hang_before_its_group, hang_stubbornly
from tests.factories import EVERY_MINUTE, PASSWORD, make_job, make_run, make_viewer
from tests.scheduler_process import (
    DATABASE_PASSWORD,
    SECRET_KEY,
    SchedulerProcess,
    list_children,
    scheduler_in_process,
    start_scheduler,
)
from tests.waiting import wait_until

SOON = 15.0  # well before the next poll for due schedules, which is 30 s away

StartScheduler = Callable[..., SchedulerProcess]


@pytest.fixture
def start(engine: Engine, tmp_path: Path) -> Iterator[StartScheduler]:
    started: list[SchedulerProcess] = []

    def start_one(**options: object) -> SchedulerProcess:
        started.append(start_scheduler(engine, tmp_path, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start_one
    for scheduler in started:
        children = scheduler.list_children()
        scheduler.kill()
        psutil.wait_procs(children, timeout=10)


@pytest.fixture
def viewer(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


Stub = Callable[[RunOrder, Connection], None]


def my_children() -> list[psutil.Process]:
    return list_children(os.getpid())


def stop(engine: Engine, viewer: Viewer, job_id: str) -> None:
    with transaction(engine) as session:
        request_stop(session, viewer, job_id, now=now())


def last_fire_at(engine: Engine) -> datetime:
    with engine.connect() as connection:
        return connection.execute(text("SELECT max(last_fire_at) FROM scheduler_instances")).scalar_one()


def now() -> datetime:
    return datetime.now(UTC)


def add_due_job(engine: Engine, viewer: Viewer, due_in: float = 0.0, **columns: object) -> str:
    with transaction(engine) as session:
        next_run = now() + timedelta(seconds=due_in)
        job = make_job(session, viewer, schedule=EVERY_MINUTE, next_run=next_run, **columns)
        send_wake(session, Wake.FIRE)
        return job.id


def run_now(engine: Engine, viewer: Viewer, **columns: object) -> str:
    """A job without a schedule and a run of it, asked for by a person."""
    with transaction(engine) as session:
        job = make_job(session, viewer, **columns)
        request_run(session, viewer, job.id, trigger=RunTrigger.MANUAL, now=now())
        return job.id


def list_runs(engine: Engine, job_id: str) -> Sequence[Run]:
    with transaction(engine) as session:
        return session.scalars(select(Run).where(Run.session_id == job_id).order_by(Run.id)).all()


def get_job(engine: Engine, job_id: str) -> Job:
    with transaction(engine) as session:
        return session.get_one(Job, job_id)


def get_log(engine: Engine) -> str:
    with transaction(engine) as session:
        return "\n".join(session.scalars(select(RunLogLine.message).order_by(RunLogLine.id)))


def wait_for_run(engine: Engine, job_id: str, status: RunStatus, seconds: float = SOON, attempt: int = 1) -> Run:
    def find() -> Run | None:
        wanted = [r for r in list_runs(engine, job_id) if r.status == status and r.attempt == attempt]
        return wanted[0] if wanted else None

    found = wait_until(find, seconds, f"a run that is {status}, attempt {attempt}")
    assert found is not None
    return found


def wait_for_child(scheduler: SchedulerProcess) -> psutil.Process:
    return wait_until(scheduler.list_children, SOON, "a child process")[0]


# Firing and executing


def test_due_job_fires_and_runs_at_once(engine: Engine, tmp_path: Path, viewer: Viewer) -> None:
    with scheduler_in_process(engine, tmp_path, complete):
        job_id = add_due_job(engine, viewer)
        run = wait_for_run(engine, job_id, RunStatus.COMPLETED)
    assert run.trigger == RunTrigger.SCHEDULE
    assert get_job(engine, job_id).status == JobStatus.COMPLETED


def test_schedule_fires_at_its_time_and_not_at_the_next_poll(engine: Engine, tmp_path: Path, viewer: Viewer) -> None:
    with scheduler_in_process(engine, tmp_path, complete):
        job_id = add_due_job(engine, viewer, due_in=2)
        assert list_runs(engine, job_id) == []
        run = wait_for_run(engine, job_id, RunStatus.COMPLETED)
    assert run.queued_at >= (run.scheduled_for or now())


def test_job_that_is_locked_when_due_fires_once_it_is_free(engine: Engine, tmp_path: Path, viewer: Viewer) -> None:
    with scheduler_in_process(engine, tmp_path, complete):
        job_id = add_due_job(engine, viewer, due_in=1)
        with transaction(engine) as session:
            due_at = lock_job(session, viewer, job_id).next_run
            wait_until(lambda: last_fire_at(engine) > due_at, SOON, "a pass while it is locked")
            assert list_runs(engine, job_id) == []
        wait_for_run(engine, job_id, RunStatus.COMPLETED)


def test_no_slots_means_fire_but_execute_nothing(engine: Engine, tmp_path: Path, viewer: Viewer) -> None:
    with scheduler_in_process(engine, tmp_path, complete, slots=0) as service:
        job_id = add_due_job(engine, viewer)
        wait_for_run(engine, job_id, RunStatus.QUEUED)
        service.claim()
        assert [r.status for r in list_runs(engine, job_id)] == [RunStatus.QUEUED]


def test_no_more_runs_at_once_than_slots(engine: Engine, tmp_path: Path, viewer: Viewer) -> None:
    with scheduler_in_process(engine, tmp_path, hang, slots=2):
        jobs = [run_now(engine, viewer) for _ in range(4)]
        wait_until(lambda: len(my_children()) == 2, SOON, "two children")
        stop(engine, viewer, jobs[0])
        wait_for_run(engine, jobs[0], RunStatus.STOPPED)
        wait_for_run(engine, jobs[2], RunStatus.RUNNING)
        wait_until(lambda: len(my_children()) == 2, SOON, "two children again")
        assert list_runs(engine, jobs[3])[0].status == RunStatus.QUEUED


@pytest.fixture
def no_claim_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """What starts, starts because of a wake-up or an aim."""
    monkeypatch.setattr(service_module, "CLAIM_POLL_SECONDS", 3600)


@pytest.mark.usefixtures("no_claim_poll")
def test_run_that_waits_for_its_time_starts_then_and_not_at_a_poll(
    engine: Engine, tmp_path: Path, viewer: Viewer
) -> None:
    with scheduler_in_process(engine, tmp_path, complete):
        with transaction(engine) as session:
            job = make_job(session, viewer)
            run = request_run(session, viewer, job.id, trigger=RunTrigger.MANUAL, now=now())
            run.run_after = now() + timedelta(seconds=1.5)
        done = wait_for_run(engine, job.id, RunStatus.COMPLETED)
    assert done.started_at is not None
    assert done.started_at >= done.run_after


@pytest.mark.usefixtures("no_claim_poll")
def test_run_that_somebody_held_starts_once_it_is_free(engine: Engine, tmp_path: Path, viewer: Viewer) -> None:
    with scheduler_in_process(engine, tmp_path, complete) as running:
        with transaction(engine) as session:
            job = make_job(session, viewer)
        with transaction(engine) as session:
            lock_job(session, viewer, job.id)
            with transaction(engine) as other:
                make_run(other, job, at=now())
            running.claim()  # finds it held, and comes back without being woken again
        wait_for_run(engine, job.id, RunStatus.COMPLETED)


def test_run_whose_wake_up_was_lost_is_found_by_a_poll(engine: Engine, tmp_path: Path, viewer: Viewer) -> None:
    """No other run ends meanwhile, which would have the queue looked at for the slot that it frees."""
    with scheduler_in_process(engine, tmp_path, hang, slots=2):
        wait_for_run(engine, run_now(engine, viewer), RunStatus.RUNNING)
        with transaction(engine) as session:
            job = make_job(session, viewer)
            make_run(session, job, at=now())
        wait_for_run(engine, job.id, RunStatus.RUNNING)


def test_closed_start_window_is_no_overlap_for_the_next_occurrence(
    engine: Engine, tmp_path: Path, viewer: Viewer
) -> None:
    job_id = add_due_job(engine, viewer)
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        late = now() - timedelta(minutes=5)
        make_run(session, job, trigger=RunTrigger.SCHEDULE, at=late, start_by=late + timedelta(minutes=1))
    with scheduler_in_process(engine, tmp_path, complete, slots=0):
        runs = list_runs(engine, job_id)
    assert [run.status for run in runs] == [RunStatus.MISSED, RunStatus.QUEUED]


# Ending a run


@pytest.mark.parametrize("stub", [hang, hang_stubbornly, hang_before_its_group])
def test_stop_ends_the_run_and_all_its_processes(engine: Engine, tmp_path: Path, viewer: Viewer, stub: Stub) -> None:
    with scheduler_in_process(engine, tmp_path, stub):
        job_id = run_now(engine, viewer)
        wait_for_run(engine, job_id, RunStatus.RUNNING)
        expected = 2 if stub is hang_stubbornly else 1
        processes = wait_until(lambda: c if len(c := my_children()) == expected else None, SOON, "all of it")
        stop(engine, viewer, job_id)
        run = wait_for_run(engine, job_id, RunStatus.STOPPED)
        assert run.reason == "stopped on request"
        assert get_job(engine, job_id).status == JobStatus.STOPPED
        assert psutil.wait_procs(processes, timeout=5)[1] == []


def test_run_that_takes_too_long_is_ended(engine: Engine, tmp_path: Path, viewer: Viewer) -> None:
    with scheduler_in_process(engine, tmp_path, hang):
        job_id = run_now(engine, viewer, timeout_seconds=1, max_attempts=1)
        run = wait_for_run(engine, job_id, RunStatus.TIMED_OUT)
        assert run.reason == "not done within 1 seconds"
        assert get_job(engine, job_id).status == JobStatus.TIMED_OUT
        wait_until(lambda: not my_children(), SOON, "the child's end")


def test_killed_child_is_tried_again(engine: Engine, tmp_path: Path, viewer: Viewer) -> None:
    with scheduler_in_process(engine, tmp_path, hang):
        job_id = run_now(engine, viewer)
        wait_for_run(engine, job_id, RunStatus.RUNNING)
        wait_until(my_children, SOON, "a child")[0].kill()
        wait_for_run(engine, job_id, RunStatus.RUNNING, attempt=2)
    assert "the import process was killed (SIGKILL); queued again (attempt 2)" in get_log(engine)


def test_run_that_keeps_crashing_is_given_up(engine: Engine, tmp_path: Path, viewer: Viewer) -> None:
    with scheduler_in_process(engine, tmp_path, crash):
        job_id = run_now(engine, viewer, max_attempts=3)
        run = wait_for_run(engine, job_id, RunStatus.FAILED, attempt=3)
    reason = f"the import process ended without a result (exit code {CRASH_CODE}); given up after 3 attempts"
    assert run.reason == reason
    assert get_job(engine, job_id).status == JobStatus.FAILED


@pytest.mark.parametrize("error", [BlockingIOError(11, "Resource temporarily unavailable"), EOFError()], ids=repr)
def test_run_whose_process_cannot_be_started_goes_back_at_once(
    engine: Engine, tmp_path: Path, viewer: Viewer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Without waiting for its lease to run out; the second error is the fork server's own failure to fork."""

    def refuse(_process: object) -> None:
        raise error

    with scheduler_in_process(engine, tmp_path, complete):
        with monkeypatch.context() as patched:
            patched.setattr(supervision.CHILDREN.Process, "start", refuse)
            job_id = run_now(engine, viewer, max_attempts=2, retry_delay_seconds=3600)
            wait_for_run(engine, job_id, RunStatus.QUEUED, attempt=2)
        other_id = run_now(engine, viewer)
        wait_for_run(engine, other_id, RunStatus.COMPLETED)
    assert f"the import process could not be started ({str(error) or 'EOFError'}); queued again" in get_log(engine)


def test_exit_codes_of_children_that_end_together_are_not_mixed_up(
    engine: Engine, tmp_path: Path, viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting a process polls all others; a code that two threads read at once is lost to one of them."""
    read_signed = forkserver.read_signed  # type: ignore[attr-defined]

    def read_slowly(descriptor: int) -> int:
        threading.Event().wait(0.02)
        return read_signed(descriptor)

    monkeypatch.setattr(forkserver, "read_signed", read_slowly)
    with scheduler_in_process(engine, tmp_path, crash, slots=8):
        jobs = [run_now(engine, viewer, max_attempts=1) for _ in range(24)]
        runs = [wait_for_run(engine, job_id, RunStatus.FAILED, 60) for job_id in jobs]
    assert {r.reason for r in runs} == {
        f"the import process ended without a result (exit code {CRASH_CODE}); given up after 1 attempts"
    }


def test_lost_fork_server_is_started_again(engine: Engine, tmp_path: Path, viewer: Viewer) -> None:
    with scheduler_in_process(engine, tmp_path, hang):
        job_id = run_now(engine, viewer)
        wait_for_run(engine, job_id, RunStatus.RUNNING)
        child = wait_until(my_children, SOON, "a child")[0]
        child.parent().kill()
        wait_for_run(engine, job_id, RunStatus.RUNNING, attempt=2)
        assert psutil.wait_procs([child], timeout=5)[1] == []
        wait_until(my_children, SOON, "a new child")


def test_runs_leave_no_descriptors_and_threads_behind(engine: Engine, tmp_path: Path, viewer: Viewer) -> None:
    with scheduler_in_process(engine, tmp_path, complete):
        me = psutil.Process()

        def run_some() -> tuple[int, int]:
            for job_id in [run_now(engine, viewer) for _ in range(10)]:
                wait_for_run(engine, job_id, RunStatus.COMPLETED, 30)
            wait_until(lambda: not my_children(), SOON, "the children's end")
            return me.num_fds(), me.num_threads()

        run_some()
        before = run_some()
        after = run_some()
        wait_until(lambda: me.num_fds() <= before[0] + 3, SOON, f"descriptors to be closed: {before}, {after}")
        assert after[1] <= before[1] + 3


def test_run_that_comes_back_while_its_old_child_ends_is_not_confused_with_it(
    engine: Engine, tmp_path: Path, viewer: Viewer
) -> None:
    """The same scheduler lost the run, recovered it and claims it again."""
    with scheduler_in_process(engine, tmp_path, hang_stubbornly, slots=3) as service:
        job_id = run_now(engine, viewer)
        wait_for_run(engine, job_id, RunStatus.RUNNING)
        old = wait_until(lambda: c if len(c := my_children()) == 2 else None, SOON, "the first child")
        with transaction(engine) as session:
            session.execute(text("UPDATE import_runs SET lease_until = now() - interval '1 hour'"))
            assert recover_runs(session, now()) == 1
        service.claim()
        service.renew()
        wait_for_run(engine, job_id, RunStatus.RUNNING, attempt=2)
        assert psutil.wait_procs(old, timeout=10)[1] == []
        service.renew()
        lease_until = list_runs(engine, job_id)[0].lease_until
        wait_until(lambda: list_runs(engine, job_id)[0].lease_until != lease_until, SOON, "a renewal")
        assert [(r.status, r.attempt) for r in list_runs(engine, job_id)] == [(RunStatus.RUNNING, 2)]
        wait_until(lambda: len(my_children()) == 2, SOON, "only the new child")


# Ending the service


def test_drain_returns_what_is_not_done_in_time(engine: Engine, start: StartScheduler, viewer: Viewer) -> None:
    scheduler = start(stub="hang", drain_seconds=0)
    job_id = run_now(engine, viewer)
    child = wait_for_child(scheduler)
    scheduler.send(signal.SIGTERM)
    assert scheduler.wait() == 0
    (run,) = list_runs(engine, job_id)
    assert (run.status, run.attempt, run.worker, run.lease_token) == (RunStatus.QUEUED, 1, None, None)
    assert get_job(engine, job_id).status == JobStatus.QUEUED
    assert psutil.wait_procs([child], timeout=5)[1] == []
    with transaction(engine) as session:
        assert session.scalar(text("SELECT stopped_at FROM scheduler_instances")) is not None


def test_drain_waits_for_what_is_nearly_done(engine: Engine, start: StartScheduler, viewer: Viewer) -> None:
    scheduler = start(stub="complete_in_a_second", slots=1)
    jobs = [run_now(engine, viewer) for _ in range(2)]
    wait_for_run(engine, jobs[0], RunStatus.RUNNING)
    wait_for_child(scheduler)
    scheduler.send(signal.SIGTERM)
    assert scheduler.wait() == 0
    assert list_runs(engine, jobs[0])[0].status == RunStatus.COMPLETED
    assert list_runs(engine, jobs[1])[0].status == RunStatus.QUEUED  # nothing is claimed while draining


def test_nothing_is_claimed_while_draining(
    engine: Engine, tmp_path: Path, viewer: Viewer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with scheduler_in_process(engine, tmp_path, hang, drain_seconds=SOON) as service:
        held = run_now(engine, viewer)
        wait_for_run(engine, held, RunStatus.RUNNING)
        thread = threading.Thread(target=service.stop)
        thread.start()
        wait_until(lambda: "draining" in caplog.text, SOON, "the drain")
        waiting = run_now(engine, viewer)
        service.claim()
        assert list_runs(engine, waiting)[0].status == RunStatus.QUEUED
        stop(engine, viewer, held)  # leases are kept and stops obeyed meanwhile
        wait_for_run(engine, held, RunStatus.STOPPED)
        thread.join(SOON)


def test_drain_survives_a_signal_to_the_whole_group(engine: Engine, start: StartScheduler, viewer: Viewer) -> None:
    """As honcho sends it: the fork server gets it too, and must not take the children along."""
    scheduler = start(stub="complete_in_a_second")
    job_id = run_now(engine, viewer)
    wait_for_run(engine, job_id, RunStatus.RUNNING)
    wait_for_child(scheduler)
    scheduler.send_to_group(signal.SIGTERM)
    assert scheduler.wait() == 0
    (run,) = list_runs(engine, job_id)
    assert (run.status, run.attempt) == (RunStatus.COMPLETED, 1)


def test_sigterm_to_the_child_costs_no_attempt(engine: Engine, start: StartScheduler, viewer: Viewer) -> None:
    """As systemd sends it, to every process of the unit."""
    scheduler = start(stub="hang")
    job_id = run_now(engine, viewer)
    child = wait_for_child(scheduler)
    scheduler.send(signal.SIGTERM)
    wait_until(lambda: "draining" in scheduler.read_log(), SOON, "the drain")
    wait_until(lambda: os.getpgid(child.pid) == child.pid, SOON, "the child's start")
    child.terminate()
    assert scheduler.wait() == 0
    (run,) = list_runs(engine, job_id)
    assert (run.status, run.attempt) == (RunStatus.QUEUED, 1)


def test_killed_service_takes_its_children_along_and_another_takes_over(
    engine: Engine, start: StartScheduler, viewer: Viewer
) -> None:
    first = start(stub="hang", lease_seconds=2)
    job_id = run_now(engine, viewer)
    wait_for_run(engine, job_id, RunStatus.RUNNING)
    wait_for_child(first)
    children = first.list_children()
    first.send(signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=10)[1] == []
    start(stub="complete", lease_seconds=2)
    run = wait_for_run(engine, job_id, RunStatus.COMPLETED, 30, attempt=2)
    assert "stopped answering; queued again (attempt 2)" in get_log(engine)
    assert run.worker is not None


def test_frozen_service_loses_its_run_and_ends_its_child(engine: Engine, start: StartScheduler, viewer: Viewer) -> None:
    frozen = start(stub="hang", lease_seconds=2)
    job_id = run_now(engine, viewer)
    wait_for_run(engine, job_id, RunStatus.RUNNING)
    child = wait_for_child(frozen)
    frozen.send(signal.SIGSTOP)
    start(stub="complete", lease_seconds=2)
    wait_for_run(engine, job_id, RunStatus.COMPLETED, 30, attempt=2)
    frozen.send(signal.SIGCONT)
    assert psutil.wait_procs([child], timeout=15)[1] == []
    assert [r.status for r in list_runs(engine, job_id)] == [RunStatus.COMPLETED]


# A failing database


def cut_off(engine: Engine, *, allow: bool) -> None:
    """Close the test's database to everybody, or open it again."""
    name = engine.url.database
    connection = psycopg2.connect(engine.url.set(drivername="postgresql", database="postgres").render_as_string(False))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS {allow}')
        if not allow:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
    connection.close()
    engine.dispose()


def test_service_outlives_a_database_that_goes_away(engine: Engine, start: StartScheduler, viewer: Viewer) -> None:
    scheduler = start(stub="hang", lease_seconds=60)
    held = run_now(engine, viewer)
    wait_for_child(scheduler)
    cut_off(engine, allow=False)
    wait_until(lambda: scheduler.read_log().count("will be tried again") >= 3, SOON, "the steps to fail")
    wait_until(lambda: "wake-ups interrupted" in scheduler.read_log(), SOON, "the listener to notice")
    assert len(scheduler.list_children()) == 1
    cut_off(engine, allow=True)
    job_id = add_due_job(engine, viewer)
    wait_for_run(engine, job_id, RunStatus.RUNNING, 30)
    assert [(r.status, r.attempt) for r in list_runs(engine, held)] == [(RunStatus.RUNNING, 1)]
    assert "Traceback" not in scheduler.read_log()


def test_child_is_ended_when_its_lease_cannot_be_renewed(engine: Engine, tmp_path: Path, viewer: Viewer) -> None:
    """By then another machine may have its run."""
    with scheduler_in_process(engine, tmp_path, hang, lease_seconds=2):
        job_id = run_now(engine, viewer)
        wait_for_run(engine, job_id, RunStatus.RUNNING)
        child = wait_until(my_children, SOON, "a child")[0]
        cut_off(engine, allow=False)
        assert psutil.wait_procs([child], timeout=SOON)[1] == []
        cut_off(engine, allow=True)
        wait_for_run(engine, job_id, RunStatus.RUNNING, 30, attempt=2)


# Secrets


def test_no_secret_on_a_command_line_or_in_the_log(engine: Engine, start: StartScheduler, viewer: Viewer) -> None:
    scheduler = start(stub="hang")
    run_now(engine, viewer)
    wait_for_child(scheduler)
    service = psutil.Process(scheduler.pid)
    shown = [" ".join(p.cmdline()) for p in (service, *service.children(recursive=True))]
    assert len(shown) >= 3
    for secret in (SECRET_KEY, DATABASE_PASSWORD, PASSWORD):
        assert not [line for line in shown if secret in line]
        assert secret not in scheduler.read_log()
