"""Runs on a Dask cluster of real processes: they spread, are stopped, time out and outlive what may die."""

import logging
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, func, select

from db.engine import create_database_engine, normalise_url, transaction
from db.instances import count_slots
from db.models import LIVE_RUN_STATUSES, Result, Run, RunAttempt, RunLogLine, RunStatus, RunTrigger, SchedulerInstance
from db.runs import request_run, request_stop
from db.viewers import Viewer
from db.wake import Wake, send_wake
from db.worker_names import get_machine
from portal_import.portal_gate import SIGNED_IN_BEFORE
from scheduler_service.service import SchedulerService
from tests.chaos.portal import running_portal
from tests.child_processes import hang
from tests.dask_processes import THREADS, DaskCluster, DaskProcess
from tests.factories import EVERY_MINUTE, make_job, make_portal, make_viewer
from tests.postgres import TestServer
from tests.scheduler_process import SECRET_KEY, SchedulerProcess, scheduler_in_process, start_scheduler
from tests.waiting import wait_until

WORKERS = 3
SLOTS = WORKERS * THREADS
SOON = 30.0
LEASE_SECONDS = 6  # a busy machine may stand still for a while
ACCOUNTS = 30
AT_A_TIME = 2


@dataclass
class Place:
    """One database, and the cluster whose workers know it. Its tests share both."""

    engine: Engine
    cluster: DaskCluster
    viewer: Viewer
    test_began_at: datetime

    def run_now(self, name: str, **columns: object) -> str:
        """A job that is executed as its name says, and a run of it."""
        with transaction(self.engine) as session:
            job = make_job(session, self.viewer, name=name, **columns)
            request_run(session, self.viewer, job.id, trigger=RunTrigger.MANUAL, now=now())
            return job.id

    def stop(self, job_id: str) -> None:
        with transaction(self.engine) as session:
            request_stop(session, self.viewer, job_id, now=now())

    def get_run(self, job_id: str) -> Run:
        """The job's first run."""
        with transaction(self.engine) as session:
            return session.scalars(select(Run).where(Run.session_id == job_id).order_by(Run.id).limit(1)).one()

    def wait_for(self, job_id: str, status: RunStatus, seconds: float = SOON) -> Run:
        return wait_until(lambda: r if (r := self.get_run(job_id)).status == status else None, seconds, status)

    def wait_for_worker(self, job_id: str, *, other_than: str | None = None) -> str:
        """The Dask worker that has the run: its name in the run."""

        def find() -> str | None:
            worker = self.get_run(job_id).worker or ""
            return worker if "(tcp://" in worker and worker != other_than else None

        return wait_until(find, SOON, "a Dask worker to take the run")

    def find_process(self, worker: str) -> DaskProcess:
        """The process of a worker, by its name in a run."""
        address = worker.partition("(")[2].partition(")")[0]
        port = int(address.rpartition(":")[2])
        listening = {c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port}
        return next(w for w in self.cluster.workers if w.process.pid in listening)

    def read_log(self, job_id: str) -> str:
        with transaction(self.engine) as session:
            lines = select(RunLogLine.message).join(Run, Run.id == RunLogLine.run_id).where(Run.session_id == job_id)
            return "\n".join(session.scalars(lines.order_by(RunLogLine.id)))

    def list_slots(self) -> Sequence[int]:
        """What the services of this test say."""
        mine = SchedulerInstance.started_at >= self.test_began_at, SchedulerInstance.stopped_at.is_(None)
        with transaction(self.engine) as session:
            return session.scalars(select(SchedulerInstance.slots).where(*mine)).all()

    def end_all(self) -> None:
        """Leave nothing for the next test."""
        with transaction(self.engine) as session:
            live = session.scalars(select(Run).where(Run.status.in_(LIVE_RUN_STATUSES))).all()
            for job_id in {run.session_id for run in live}:
                request_stop(session, self.viewer, job_id, now=now())
        wait_until(lambda: not self.count(RunStatus.RUNNING), SOON, "all runs to end")

    def count(self, status: RunStatus) -> int:
        with transaction(self.engine) as session:
            return session.scalar(select(func.count()).where(Run.status == status)) or 0

    @property
    def settings(self) -> dict[str, object]:
        return {
            "dask_scheduler": self.cluster.address,
            "secret_key": SECRET_KEY,
            "storage_url": self.cluster.environment["STORAGE_URL"],
            "lease_seconds": LEASE_SECONDS,
        }


@pytest.fixture(scope="module")
def shared(postgres: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A cluster costs seconds to start."""
    folder = tmp_path_factory.mktemp("dask")
    url = postgres.create(postgres.template)
    engine = create_database_engine(normalise_url(url), application="tests", pool_size=10)
    cluster = DaskCluster(
        folder,
        {
            "DATABASE_URL": url,
            "PUNCTUAL_SECRET_KEY": SECRET_KEY,
            "PUNCTUAL_HOME": str(folder),
            "PUNCTUAL_LEASE_SECONDS": str(LEASE_SECONDS),
            "PUNCTUAL_DRAIN_SECONDS": "0",
            "STORAGE_URL": f"file://{folder}/bills",
        },
    )
    cluster.start_scheduler()
    with transaction(engine) as session:
        viewer = make_viewer(session)
    try:
        yield Place(engine, cluster, viewer, now())
    finally:
        cluster.end()
        engine.dispose()
        postgres.finish(url)


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    """Three workers with two threads each, nothing queued and nothing running."""
    shared.cluster.ensure_workers(WORKERS)
    shared.test_began_at = now()
    yield shared
    shared.end_all()


@pytest.fixture
def service(place: Place, tmp_path: Path) -> Iterator[SchedulerService]:
    """A scheduler_service within this process that uses the whole cluster."""
    with scheduler_in_process(place.engine, tmp_path, hang, **place.settings) as service:
        wait_for_slots(place, SLOTS)
        yield service
        place.end_all()


@pytest.fixture
def scheduler(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SchedulerProcess]:
    """A scheduler_service in a process of its own that uses the whole cluster."""
    monkeypatch.setenv("DASK_SCHEDULER", place.cluster.address)
    monkeypatch.setenv("STORAGE_URL", place.cluster.environment["STORAGE_URL"])
    scheduler = start_scheduler(place.engine, tmp_path, lease_seconds=LEASE_SECONDS)
    wait_for_slots(place, SLOTS)
    yield scheduler
    scheduler.kill()


def wait_for_slots(place: Place, slots: int) -> None:
    wait_until(lambda: list(place.list_slots()) == [slots], SOON, f"{slots} slots")


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def now() -> datetime:
    return datetime.now(UTC)


# Executing


def test_runs_spread_over_the_workers_and_no_more_than_fit(place: Place, service: SchedulerService) -> None:
    jobs = [place.run_now("hang") for _ in range(SLOTS + 1)]
    workers = Counter(place.wait_for_worker(job_id) for job_id in jobs[:SLOTS])
    assert list(workers.values()) == [THREADS] * WORKERS
    service.claim()
    assert place.get_run(jobs[-1]).status == RunStatus.QUEUED
    place.stop(jobs[0])
    assert place.wait_for(jobs[0], RunStatus.STOPPED).reason == "stopped on request"
    place.wait_for_worker(jobs[-1])


def test_run_that_takes_too_long_is_ended_on_its_worker(place: Place, service: SchedulerService) -> None:
    job_id = place.run_now("hang", timeout_seconds=1)
    run = place.wait_for(job_id, RunStatus.TIMED_OUT)
    assert run.reason == "not done within 1 seconds"


def test_attempt_names_the_machine_that_worked(place: Place, service: SchedulerService) -> None:
    job_id = place.run_now("complete")
    run = place.wait_for(job_id, RunStatus.COMPLETED)
    with transaction(place.engine) as session:
        attempt = session.scalars(select(RunAttempt).where(RunAttempt.run_id == run.id)).one()
    assert (attempt.worker, attempt.outcome) == (run.worker, RunStatus.COMPLETED)
    assert (get_machine(attempt.worker) or "").startswith(os.uname().nodename)


def test_two_services_on_one_cluster_do_not_claim_more_than_it_has(
    place: Place, service: SchedulerService, tmp_path: Path
) -> None:
    (tmp_path / "second").mkdir()
    with scheduler_in_process(place.engine, tmp_path / "second", hang, **place.settings) as second:
        wait_until(lambda: list(place.list_slots()) == [SLOTS, SLOTS], SOON, "the slots of both")
        with transaction(place.engine) as session:
            assert count_slots(session, datetime.now(UTC)) == SLOTS
        jobs = [place.run_now("hang") for _ in range(SLOTS + 4)]
        for job_id in jobs[:SLOTS]:
            place.wait_for_worker(job_id)
        service.claim()
        second.claim()
        assert (place.count(RunStatus.RUNNING), place.count(RunStatus.QUEUED)) == (SLOTS, 4)
        place.end_all()


# Growing and shrinking


def test_slots_follow_the_cluster(place: Place, service: SchedulerService) -> None:
    jobs = [place.run_now("hang") for _ in range(SLOTS + THREADS)]
    for job_id in jobs[:SLOTS]:
        place.wait_for_worker(job_id)
    place.cluster.ensure_workers(WORKERS + 1)
    workers = Counter(place.wait_for_worker(job_id) for job_id in jobs)
    assert list(workers.values()) == [THREADS] * (WORKERS + 1)
    place.end_all()
    place.cluster.ensure_workers(WORKERS)
    wait_for_slots(place, SLOTS)


def test_worker_that_ends_returns_its_runs(place: Place, service: SchedulerService) -> None:
    """SIGTERM, as a service manager sends it."""
    job_id = place.run_now("hang")
    worker = place.wait_for_worker(job_id)
    process = place.find_process(worker)
    process.send(signal.SIGTERM)
    place.wait_for_worker(job_id, other_than=worker)
    assert place.get_run(job_id).attempt == 1
    assert "its worker was shut down; queued again" in place.read_log(job_id)
    wait_for_slots(place, SLOTS - THREADS)
    assert process.process.wait(SOON) == 0


# What may die


def test_killed_worker_costs_no_result_and_no_second_sign_in(
    place: Place, service: SchedulerService, tmp_path: Path
) -> None:
    with running_portal(tmp_path / "portal") as portal:
        job_id = add_import(place, portal.url, portal.host, accounts=ACCOUNTS)
        wait_until(lambda: place.get_run(job_id).accounts_done >= 2, SOON, "progress")
        portal.hold()
        wait_until(
            lambda: portal.count_billing_pages() == place.get_run(job_id).accounts_done + AT_A_TIME,
            SOON,
            "accounts in the middle of their import",
        )
        worker = place.wait_for_worker(job_id)
        done = list_done(place, job_id)
        place.find_process(worker).send(signal.SIGKILL)
        portal.release()
        run = place.wait_for(job_id, RunStatus.PARTIAL, 60)
        sign_ins = Counter(request.username for request in portal.list_sign_ins())
    assert run.attempt == 2
    assert run.worker != worker
    assert Counter(list_done(place, job_id)) == Counter(f"account{n}@example.com" for n in range(2, ACCOUNTS + 2))
    assert set(sign_ins.values()) == {1}
    with transaction(place.engine) as session:
        cut_short = session.scalars(select(Result.username).where(Result.error == SIGNED_IN_BEFORE)).all()
    assert len(cut_short) == AT_A_TIME
    assert set(cut_short) & set(done) == set()
    assert f"the worker {worker} stopped answering; queued again (attempt 2)" in place.read_log(job_id)


def test_killed_service_leaves_its_runs_to_the_workers(place: Place, scheduler: SchedulerProcess) -> None:
    job_id = place.run_now("hang")
    worker = place.wait_for_worker(job_id)
    scheduler.kill()
    lease_until = place.get_run(job_id).lease_until
    wait_until(lambda: place.get_run(job_id).lease_until != lease_until, SOON, "a renewal by the worker")
    place.stop(job_id)
    run = place.wait_for(job_id, RunStatus.STOPPED)
    assert (run.attempt, run.worker) == (1, worker)


def test_next_service_finds_the_threads_that_a_killed_one_left_free(
    place: Place, scheduler: SchedulerProcess, tmp_path: Path
) -> None:
    """Dask must still know which are busy, or a run would wait behind another although a thread is free."""
    jobs = [place.run_now("hang") for _ in range(SLOTS - 1)]
    workers = [place.wait_for_worker(job_id) for job_id in jobs]
    scheduler.kill()
    with scheduler_in_process(place.engine, tmp_path, hang, **place.settings):
        last = place.run_now("hang")
        workers.append(place.wait_for_worker(last))
        assert [place.get_run(job_id).attempt for job_id in jobs] == [1] * len(jobs)
        place.end_all()
    assert list(Counter(workers).values()) == [THREADS] * WORKERS


def test_drained_service_leaves_its_runs_to_the_workers(place: Place, scheduler: SchedulerProcess) -> None:
    jobs = [place.run_now("hang") for _ in range(SLOTS + 1)]
    for job_id in jobs[:SLOTS]:
        place.wait_for_worker(job_id)
    scheduler.send(signal.SIGTERM)
    assert scheduler.wait() == 0
    assert [place.get_run(job_id).status for job_id in jobs] == [RunStatus.RUNNING] * SLOTS + [RunStatus.QUEUED]
    assert [place.get_run(job_id).attempt for job_id in jobs] == [1] * (SLOTS + 1)
    assert "Traceback" not in scheduler.read_log()


def test_run_that_no_worker_took_goes_back_when_the_service_ends(place: Place, tmp_path: Path) -> None:
    with scheduler_in_process(place.engine, tmp_path, hang, **place.settings) as service:
        wait_for_slots(place, SLOTS)
        for worker in place.cluster.workers:
            worker.send(signal.SIGSTOP)
        job_id = place.run_now("hang")
        run = place.wait_for(job_id, RunStatus.RUNNING)
        assert "(waiting for a Dask worker)" in (run.worker or "")
        lease_until = run.lease_until
        wait_until(lambda: place.get_run(job_id).lease_until != lease_until, SOON, "a renewal by the service")
        service.stop()
        run = place.get_run(job_id)
        for worker in place.cluster.workers:
            worker.send(signal.SIGCONT)
    assert (run.status, run.attempt, run.worker) == (RunStatus.QUEUED, 1, None)


# Who may not take part


def test_run_does_not_wait_for_unfit_workers_once_the_fit_ones_are_gone(
    place: Place, service: SchedulerService, caplog: pytest.LogCaptureFixture
) -> None:
    unfit = place.cluster.start_worker(environment={**place.cluster.environment, "PUNCTUAL_SECRET_KEY": "x" * 40})
    wait_until(lambda: "it has another PUNCTUAL_SECRET_KEY" in caplog.text, SOON, "the worker to be found unfit")
    fit = [worker for worker in place.cluster.workers if worker is not unfit]
    for worker in fit:
        worker.send(signal.SIGSTOP)
    job_id = place.run_now("hang")
    place.wait_for(job_id, RunStatus.RUNNING)
    for worker in fit:
        worker.end()
    place.wait_for(job_id, RunStatus.QUEUED)
    unfit.end()


def test_unfit_worker_gets_no_runs_and_the_log_says_why(
    place: Place, service: SchedulerService, caplog: pytest.LogCaptureFixture
) -> None:
    given = place.cluster.environment
    lacking = {name: value for name, value in given.items() if name != "PUNCTUAL_SECRET_KEY"}
    cases = {
        "its environment lacks PUNCTUAL_SECRET_KEY": ("--no-nanny", lacking),
        "it has another PUNCTUAL_SECRET_KEY": ("--no-nanny", {**given, "PUNCTUAL_SECRET_KEY": "x" * 40}),
        "its process may not start others": ("--nanny", given),
    }
    for nanny, environment in cases.values():
        place.cluster.start_worker(nanny, environment=environment)
    for reason in cases:
        wait_until(lambda reason=reason: reason in caplog.text, SOON, reason)
    assert list(place.list_slots()) == [SLOTS]
    assert SECRET_KEY not in caplog.text


def test_worker_under_a_nanny_that_allows_children_takes_part(place: Place, service: SchedulerService) -> None:
    environment = dict(place.cluster.environment) | {"DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    place.cluster.start_worker("--nanny", "--preload", "tests.dask_stubs", environment=environment)
    wait_for_slots(place, SLOTS + THREADS)
    jobs = [place.run_now("hang") for _ in range(SLOTS + THREADS)]
    workers = Counter(place.wait_for_worker(job_id) for job_id in jobs)
    assert list(workers.values()) == [THREADS] * (WORKERS + 1)


def test_service_fires_while_the_cluster_is_away_and_goes_on_when_it_is_back(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    away = DaskCluster(tmp_path, place.cluster.environment, port=find_free_port())
    settings = place.settings | {"dask_scheduler": f"tcp://127.0.0.1:{away.port}"}
    with scheduler_in_process(place.engine, tmp_path, hang, **settings):
        with transaction(place.engine) as session:
            job_id = make_job(session, place.viewer, name="hang", schedule=EVERY_MINUTE, next_run=now()).id
            send_wake(session, Wake.FIRE)
        wait_until(lambda: place.count(RunStatus.QUEUED), SOON, "the schedule to fire")
        wait_until(lambda: "schedules go on firing, their runs wait for it" in caplog.text, SOON, "the log to say so")
        away.start_scheduler()
        away.ensure_workers(1)
        try:
            worker = place.wait_for_worker(job_id)
            assert away.scheduler is not None
            away.scheduler.end()
            wait_until(lambda: caplog.text.count("is away") == 2, SOON, "the log to say so again")
            wait_until(lambda: not away.workers[0].is_alive(), SOON, "the worker to end, as Dask's do")
            away.start_scheduler()
            away.ensure_workers(1)
            place.wait_for_worker(job_id, other_than=worker)
            assert (caplog.text.count("is away"), caplog.text.count("is back")) == (2, 2)
            place.end_all()
        finally:
            away.end()


def add_import(place: Place, url: str, host: str, *, accounts: int) -> str:
    """A job that imports for real, and a run of it, which resumes once and is not retried."""
    with transaction(place.engine) as session:
        portal = make_portal(session, host, max_concurrent_accounts=AT_A_TIME, min_seconds_between_requests=0.0)
    return place.run_now(
        "Water bills",
        accounts=accounts,
        portal_id=portal.id,
        login_url=f"{url}/login",
        billing_url=f"{url}/billing",
        max_attempts=2,
    )


def list_done(place: Place, job_id: str) -> list[str]:
    with transaction(place.engine) as session:
        usernames = select(Result.username).join(Run, Run.id == Result.run_id)
        return list(session.scalars(usernames.where(Run.session_id == job_id)))
