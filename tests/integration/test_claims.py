"""Claims: who works on which run, and that nobody else can write its outcome."""

import random
import threading
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.claiming import Claim, claim_runs
from db.claims import finish_run, recover_runs, renew_leases, requeue_run
from db.engine import transaction
from db.errors import ConflictError, LeaseLostError
from db.firing import fire_due_jobs
from db.jobs import delete_job, pause_job, resume_job
from db.models import (
    Account,
    Job,
    JobStatus,
    Overlap,
    Result,
    ResultStatus,
    Role,
    Run,
    RunLogLine,
    RunStatus,
    RunTrigger,
)
from db.results import ResultRecord, record_results
from db.runs import request_run, request_stop
from tests.claimed_runs import LEASE, SECOND, add_run, claim, get_run, statuses, take
from tests.factories import EVERY_MINUTE, NOW, make_job, make_viewer
from tests.waiting import wait_until

WAIT_SECONDS = 20


def read_log(engine: Engine) -> list[str]:
    with transaction(engine) as session:
        return list(session.scalars(select(RunLogLine.message).order_by(RunLogLine.id)))


# Leases


def test_renewal_extends_what_is_held_and_omits_what_was_lost(engine: Engine) -> None:
    held, lost = take(engine, add_run(engine)), take(engine, add_run(engine))
    with transaction(engine) as session:
        finish_run(session, lost.run_id, lost.lease_token, RunStatus.FAILED, "x", NOW)
    with transaction(engine) as session:
        (renewed,) = renew_leases(session, [held, lost], NOW + 10 * SECOND, LEASE)
    assert (renewed.run_id, renewed.lease_token, renewed.is_stop_requested) == (held.run_id, held.lease_token, False)
    assert get_run(engine, held.run_id)[0].lease_until == NOW + 10 * SECOND + LEASE


def test_renewal_tells_of_a_stop(engine: Engine) -> None:
    held = take(engine, add_run(engine))
    with transaction(engine) as session:
        session.execute(text("UPDATE import_runs SET stop_requested_at = now()"))
        assert renew_leases(session, [held], NOW, LEASE)[0].is_stop_requested


def test_renewal_of_nothing(engine: Engine) -> None:
    with transaction(engine) as session:
        assert renew_leases(session, [], NOW, LEASE) == []


@pytest.mark.parametrize("outcome", [RunStatus.COMPLETED, RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.TIMED_OUT])
def test_finish_ends_the_run_and_settles_its_job(engine: Engine, outcome: RunStatus) -> None:
    held = take(engine, add_run(engine))
    with transaction(engine) as session:
        assert finish_run(session, held.run_id, held.lease_token, outcome, "why", NOW + SECOND)
    run, job = get_run(engine, held.run_id)
    assert (run.status, run.reason, run.finished_at) == (outcome, "why", NOW + SECOND)
    assert (run.lease_token, run.lease_until, run.worker) == (None, None, "w")
    assert (job.status, job.last_outcome) == (outcome.value, outcome.value)


def test_finish_with_a_lost_claim_writes_nothing(engine: Engine) -> None:
    run_id = add_run(engine)
    old = take(engine, run_id)
    with transaction(engine) as session:
        assert recover_runs(session, NOW + LEASE + SECOND) == 1
    new = take(engine, run_id, seconds=60)
    with transaction(engine) as session:
        assert not finish_run(session, run_id, old.lease_token, RunStatus.COMPLETED, None, NOW)
        assert not requeue_run(session, run_id, old.lease_token, "x", NOW, is_fault=True)
    assert statuses(engine, run_id) == (RunStatus.RUNNING, JobStatus.RUNNING)
    assert get_run(engine, run_id)[0].lease_token == new.lease_token
    with transaction(engine) as session:
        assert finish_run(session, run_id, new.lease_token, RunStatus.COMPLETED, None, NOW)
        assert not finish_run(session, run_id, new.lease_token, RunStatus.FAILED, None, NOW)
    assert statuses(engine, run_id) == (RunStatus.COMPLETED, JobStatus.COMPLETED)


def test_outcome_that_waited_for_a_recovery_is_dropped(engine: Engine) -> None:
    """The worker's finish starts while another takes the run back, and gets the lock after that."""
    held = take(engine, add_run(engine))
    answer: list[bool] = []

    def finish() -> None:
        with transaction(engine) as session:
            answer.append(finish_run(session, held.run_id, held.lease_token, RunStatus.COMPLETED, None, NOW))

    thread = threading.Thread(target=finish)
    with transaction(engine) as session:
        assert recover_runs(session, NOW + LEASE + SECOND) == 1
        session.flush()
        thread.start()
        wait_for_a_waiting_lock(engine)
    thread.join(WAIT_SECONDS)
    assert answer == [False]
    assert statuses(engine, held.run_id) == (RunStatus.QUEUED, JobStatus.QUEUED)


def wait_for_a_waiting_lock(engine: Engine) -> None:
    def is_waiting() -> bool:
        with engine.connect() as connection:
            query = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return bool(connection.scalar(text(query)))

    wait_until(is_waiting, WAIT_SECONDS, "somebody to wait for a lock")


# Giving back


def test_drain_gives_the_run_back_without_counting_an_attempt(engine: Engine) -> None:
    held = take(engine, add_run(engine))
    with transaction(engine) as session:
        assert requeue_run(session, held.run_id, held.lease_token, "shut down", NOW + SECOND, is_fault=False)
    run, job = get_run(engine, held.run_id)
    assert (run.status, run.attempt, run.worker, run.lease_token) == (RunStatus.QUEUED, 1, None, None)
    assert (run.started_at, run.run_after) == (NOW, NOW + SECOND)
    assert job.status == JobStatus.QUEUED
    with transaction(engine) as session:
        (again,) = claim(session, seconds=60)
        assert again.lease_token != held.lease_token
    assert get_run(engine, held.run_id)[0].started_at == NOW


def test_faults_count_until_the_run_is_given_up(engine: Engine) -> None:
    run_id = add_run(engine, max_attempts=2)
    for attempt in (1, 2):
        held = take(engine, run_id)
        assert held.attempt == attempt
        with transaction(engine) as session:
            requeue_run(session, run_id, held.lease_token, "it crashed", NOW, is_fault=True)
    run, job = get_run(engine, run_id)
    assert (run.status, run.reason) == (RunStatus.FAILED, "it crashed; given up after 2 attempts")
    assert job.status == JobStatus.FAILED
    assert read_log(engine) == [
        "it crashed; queued again (attempt 2)",
        "run failed: it crashed; given up after 2 attempts",
    ]


def test_recovery_takes_back_only_what_ran_out(engine: Engine) -> None:
    late, in_time = take(engine, add_run(engine)), take(engine, add_run(engine))
    with transaction(engine) as session:
        renew_leases(session, [in_time], NOW + 20 * SECOND, LEASE)
    with transaction(engine) as session:
        assert recover_runs(session, NOW + LEASE) == 0
        assert recover_runs(session, NOW + LEASE + SECOND) == 1
    run, _ = get_run(engine, late.run_id)
    assert (run.status, run.attempt) == (RunStatus.QUEUED, 2)
    assert statuses(engine, in_time.run_id) == (RunStatus.RUNNING, JobStatus.RUNNING)


def test_run_whose_workers_keep_vanishing_ends_lost(engine: Engine) -> None:
    run_id = add_run(engine, max_attempts=1)
    take(engine, run_id)
    with transaction(engine) as session:
        recover_runs(session, NOW + timedelta(hours=1))
    run, job = get_run(engine, run_id)
    assert (run.status, job.status, job.last_outcome) == (RunStatus.LOST, JobStatus.LOST, RunStatus.LOST)
    assert run.reason == "the worker w stopped answering; given up after 1 attempts"


def test_two_schedulers_recover_each_run_once(engine: Engine) -> None:
    for _ in range(6):
        take(engine, add_run(engine))
    later = NOW + timedelta(hours=1)
    with transaction(engine) as first, transaction(engine) as second:
        assert recover_runs(first, later, limit=4) == 4
        first.flush()
        assert recover_runs(second, later) == 2
    with transaction(engine) as session:
        assert session.scalars(select(Run.attempt)).all() == [2] * 6


def test_results_of_all_attempts_count_once(engine: Engine) -> None:
    run_id = add_run(engine, accounts=2)
    held = take(engine, run_id)
    with transaction(engine) as session:
        accounts = session.scalars(select(Account).order_by(Account.id)).all()
    for n, account in enumerate(accounts):
        record = ResultRecord(account.id, account.username, n, ResultStatus.SUCCESS, NOW)
        with transaction(engine) as session:
            record_results(session, run_id, held.lease_token, [record], NOW)
        with transaction(engine) as session:
            requeue_run(session, run_id, held.lease_token, "x", NOW, is_fault=False)
        held = take(engine, run_id)
    with transaction(engine) as session:
        finish_run(session, run_id, held.lease_token, RunStatus.COMPLETED, None, NOW)
    run, job = get_run(engine, run_id)
    assert (run.accounts_done, job.results_count) == (2, 2)


# Stopping


def stop(engine: Engine, run_id: int) -> Run:
    with transaction(engine) as session:
        job = session.get_one(Job, session.get_one(Run, run_id).session_id)
        viewer = make_viewer(session, f"admin{uuid4()}", role=Role.ADMIN)
        return request_stop(session, viewer, job.id, now=NOW)


def test_stop_of_a_running_run_holds_whatever_becomes_of_its_worker(engine: Engine) -> None:
    drained, crashed, lost, obeyed = (take(engine, add_run(engine, max_attempts=1)) for _ in range(4))
    for held in (drained, crashed, lost, obeyed):
        assert stop(engine, held.run_id).status == RunStatus.RUNNING
    with transaction(engine) as session:
        requeue_run(session, drained.run_id, drained.lease_token, "x", NOW, is_fault=False)
        requeue_run(session, crashed.run_id, crashed.lease_token, "x", NOW, is_fault=True)
        finish_run(session, obeyed.run_id, obeyed.lease_token, RunStatus.STOPPED, "stopped on request", NOW)
    with transaction(engine) as session:
        recover_runs(session, NOW + timedelta(hours=1))
    for held in (drained, crashed, lost, obeyed):
        assert statuses(engine, held.run_id) == (RunStatus.STOPPED, JobStatus.STOPPED)
        assert get_run(engine, held.run_id)[0].reason == "stopped on request"


def test_stopped_queued_run_is_never_claimed(engine: Engine) -> None:
    run_id = add_run(engine)
    assert stop(engine, run_id).status == RunStatus.STOPPED
    with transaction(engine) as session:
        assert claim(session) == []
    assert statuses(engine, run_id) == (RunStatus.STOPPED, JobStatus.STOPPED)


def test_stop_of_a_run_that_waits_for_its_next_attempt_keeps_its_results(engine: Engine) -> None:
    run_id = add_run(engine)
    held = take(engine, run_id)
    with transaction(engine) as session:
        account = session.scalars(select(Account)).one()
        record_results(
            session,
            run_id,
            held.lease_token,
            [ResultRecord(account.id, account.username, 2, ResultStatus.SUCCESS, NOW)],
            NOW,
        )
    with transaction(engine) as session:
        requeue_run(session, run_id, held.lease_token, "x", NOW, is_fault=True)
    stop(engine, run_id)
    run, job = get_run(engine, run_id)
    assert (run.status, run.accounts_done, job.results_count) == (RunStatus.STOPPED, 1, 1)


# A job's status follows its runs, whatever happens


class Walk:
    """Does one random thing after another to a few jobs."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.random = random.Random(seed)
        self.engine = engine
        self.now = NOW
        self.claims: list[Claim] = []
        with transaction(engine) as session:
            self.viewer = make_viewer(session)
            self.jobs = [
                make_job(
                    session, self.viewer, schedule=EVERY_MINUTE, max_attempts=2, retry_delay_seconds=20, overlap=overlap
                ).id
                for overlap in (Overlap.SKIP, Overlap.QUEUE, Overlap.QUEUE)
            ]

    def step(self) -> str:
        verbs = [
            self.tick,
            self.tick,
            self.fire,
            self.claim,
            self.claim,
            self.resume,
            self.finish,
            self.requeue,
            self.recover,
        ]
        verbs += [self.renew, self.request, self.stop, self.pause, self.resume, self.set_back, self.record]
        verb = self.random.choice(verbs)
        try:
            with transaction(self.engine) as session:
                verb(session)
        except (ConflictError, LeaseLostError):
            return f"{verb.__name__} refused"
        except IntegrityError:
            assert verb == self.record  # two threads here play the same worker
        return verb.__name__

    def tick(self, session: Session) -> None:
        self.now += self.random.choice([1, 20, 70]) * SECOND

    def fire(self, session: Session) -> None:
        fire_due_jobs(session, self.now)

    def claim(self, session: Session) -> None:
        self.claims += claim_runs(session, self.now, worker="w", slots=self.random.randint(1, 3), lease=LEASE).claims

    def renew(self, session: Session) -> None:
        renew_leases(session, self.claims[-3:], self.now, LEASE)

    def finish(self, session: Session) -> None:
        if self.claims:
            held = self.random.choice(self.claims[-4:])
            outcome = self.random.choice([RunStatus.COMPLETED, RunStatus.PARTIAL, RunStatus.FAILED])
            finish_run(session, held.run_id, held.lease_token, outcome, None, self.now)

    def requeue(self, session: Session) -> None:
        if self.claims:
            held = self.random.choice(self.claims[-4:])
            is_fault = self.random.random() < 0.5
            requeue_run(session, held.run_id, held.lease_token, "x", self.now, is_fault=is_fault)

    def record(self, session: Session) -> None:
        held = session.scalars(select(Run).where(Run.status == RunStatus.RUNNING).limit(1)).one_or_none()
        if held is not None and held.lease_token is not None:
            account = session.scalars(select(Account).where(Account.session_id == held.session_id)).one()
            exists = session.scalar(select(func.count()).where(Result.run_id == held.id))
            if not exists:
                status = self.random.choice([ResultStatus.SUCCESS, ResultStatus.PORTAL_ERROR])
                record = ResultRecord(account.id, account.username, 2, status, self.now)
                record_results(session, held.id, held.lease_token, [record], self.now)

    def recover(self, session: Session) -> None:
        recover_runs(session, self.now)

    def request(self, session: Session) -> None:
        request_run(session, self.viewer, self.random.choice(self.jobs), trigger=RunTrigger.MANUAL, now=self.now)

    def stop(self, session: Session) -> None:
        request_stop(session, self.viewer, self.random.choice(self.jobs), now=self.now)

    def pause(self, session: Session) -> None:
        pause_job(session, self.viewer, self.random.choice(self.jobs), now=self.now)

    def resume(self, session: Session) -> None:
        resume_job(session, self.viewer, self.random.choice(self.jobs), now=self.now)

    def set_back(self, session: Session) -> None:
        session.get_one(Job, self.random.choice(self.jobs)).next_run = NOW


def is_waiting_retry(run: Run) -> bool:
    return run.trigger == RunTrigger.RETRY and run.requested_by is None and run.started_at is None


def broken_invariants(jobs: Sequence[Job], runs: Sequence[Run]) -> list[str]:
    broken: list[str] = []
    for job in jobs:
        mine = [r for r in runs if r.session_id == job.id]
        running = [r for r in mine if r.status == RunStatus.RUNNING]
        queued = [r for r in mine if r.status == RunStatus.QUEUED and not is_waiting_retry(r)]
        if len(running) > 1:
            broken.append("two runs at once")
        if (job.status == JobStatus.RUNNING) != bool(running):
            broken.append(f"status {job.status} with {len(running)} running")
        if not running and (job.status == JobStatus.QUEUED) != bool(queued):
            broken.append(f"status {job.status} with {len(queued)} queued")
        ended = [r for r in mine if r.finished_at and r.status not in (RunStatus.MISSED, RunStatus.SKIPPED)]
        if job.results_count != sum(r.accounts_done for r in ended):
            broken.append(f"{job.results_count} results counted")
        if not running and not queued and job.status != (job.last_outcome or JobStatus.IDLE):
            broken.append(f"status {job.status} after {job.last_outcome}")
    return broken


@pytest.mark.parametrize("seed", range(6))
def test_status_of_a_job_follows_its_runs_through_any_history(engine: Engine, seed: int) -> None:
    walk = Walk(engine, seed)
    history: list[str] = []
    for _ in range(250):
        history.append(walk.step())
        with transaction(engine) as session:
            jobs, runs = session.scalars(select(Job)).all(), session.scalars(select(Run)).all()
        assert broken_invariants(jobs, runs) == [], history[-10:]
    done = {step for step in history if not step.endswith("refused")}
    assert len(done) >= 13
    with transaction(engine) as session:
        assert len(set(session.scalars(select(Run.status)))) >= 6


def test_verbs_of_several_connections_never_wait_in_a_circle(engine: Engine) -> None:
    """Everything at once on the same two jobs: no deadlock, and the invariants hold afterwards."""
    walks = [Walk.__new__(Walk) for _ in range(5)]
    first = Walk(engine, 1)
    for seed, walk in enumerate(walks):
        walk.__dict__.update(first.__dict__, random=random.Random(seed), jobs=first.jobs[:2])
    failures: list[BaseException] = []
    barrier = threading.Barrier(len(walks))

    def work(walk: Walk) -> None:
        barrier.wait(WAIT_SECONDS)
        try:
            for _ in range(120):
                walk.step()
        except BaseException as error:  # noqa: BLE001 - to be shown by the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(walk,)) for walk in walks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    with transaction(engine) as session:
        jobs, runs = session.scalars(select(Job)).all(), session.scalars(select(Run)).all()
    assert broken_invariants(jobs, runs) == []


def test_deleted_job_takes_its_claim_with_it(engine: Engine) -> None:
    run_id = add_run(engine)
    _, job = get_run(engine, run_id)
    with transaction(engine) as session:
        admin = make_viewer(session, "root", role=Role.ADMIN)
        delete_job(session, admin, job.id)
    with transaction(engine) as session:
        assert claim(session) == []
        assert not finish_run(session, run_id, uuid4(), RunStatus.COMPLETED, None, NOW)
