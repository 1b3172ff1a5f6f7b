"""Clusters: a claim passes to one worker only, and two services never count the same free slot."""

import threading
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from db.attempts import list_attempts
from db.claiming import Claim, claim_runs
from db.claims import finish_run, renew_leases, requeue_run
from db.clusters import count_running_on, take_over_run
from db.engine import transaction
from db.instances import count_slots, is_registered, record_slots, register_instance
from db.models import Run, RunStatus, SchedulerInstance
from db.runs import request_stop
from db.viewers import Viewer
from db.worker_names import get_machine, name_cluster_worker
from tests.factories import NOW, make_job, make_run, make_viewer
from tests.waiting import wait_until

LEASE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)
SENDER = name_cluster_worker("node1 (waiting)", "c1")
WORKER = name_cluster_worker("node2 (tcp://10.0.0.2:1)", "c1")


@pytest.fixture
def olive(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


@pytest.fixture
def claim(engine: Engine, olive: Viewer) -> Claim:
    """A run that was claimed for the cluster c1 and waits for a worker."""
    with transaction(engine) as session:
        make_run(session, make_job(session, olive, timeout_seconds=77))
        (claim,) = claim_runs(session, NOW, worker=SENDER, slots=1, lease=LEASE).claims
        return claim


def take_over(engine: Engine, run_id: int, token: UUID, worker: str = WORKER) -> Claim | None:
    with transaction(engine) as session:
        return take_over_run(session, run_id, token, worker=worker, now=NOW + SECOND, lease=LEASE)


def test_worker_takes_a_claim_over_under_a_token_of_its_own(engine: Engine, claim: Claim, olive: Viewer) -> None:
    taken = take_over(engine, claim.run_id, claim.lease_token)
    assert taken is not None
    assert (taken.run_id, taken.session_id, taken.timeout_seconds, taken.attempt) == (
        claim.run_id,
        claim.session_id,
        77,
        1,
    )
    with transaction(engine) as session:
        run = session.get_one(Run, claim.run_id)
        assert (run.status, run.worker, run.lease_until) == (RunStatus.RUNNING, WORKER, NOW + SECOND + LEASE)
        assert run.lease_token == taken.lease_token != claim.lease_token
        (attempt,) = list_attempts(session, olive, claim.run_id)
        assert (attempt.worker, attempt.host, attempt.started_at) == (WORKER, "node2 (tcp://10.0.0.2:1)", NOW)
        assert finish_run(session, claim.run_id, taken.lease_token, RunStatus.COMPLETED, None, NOW + 2 * SECOND)
        (attempt,) = list_attempts(session, olive, claim.run_id)
        assert attempt.outcome == RunStatus.COMPLETED


def test_claim_is_taken_over_once(engine: Engine, claim: Claim) -> None:
    """Dask gives a task of a worker that it lost to another one."""
    taken = take_over(engine, claim.run_id, claim.lease_token)
    assert take_over(engine, claim.run_id, claim.lease_token, "another") is None
    with transaction(engine) as session:
        run = session.get_one(Run, claim.run_id)
        assert (run.worker, run.lease_token) == (WORKER, taken and taken.lease_token)


def test_claim_that_was_taken_over_is_no_longer_the_senders(engine: Engine, claim: Claim) -> None:
    take_over(engine, claim.run_id, claim.lease_token)
    with transaction(engine) as session:
        assert renew_leases(session, [claim], NOW + 9 * SECOND, LEASE) == []
        assert not requeue_run(session, claim.run_id, claim.lease_token, "shut down", NOW, is_fault=False)
        assert session.get_one(Run, claim.run_id).status == RunStatus.RUNNING


def test_claim_that_went_back_is_not_taken_over(engine: Engine, claim: Claim) -> None:
    with transaction(engine) as session:
        assert requeue_run(session, claim.run_id, claim.lease_token, "shut down", NOW, is_fault=False)
    assert take_over(engine, claim.run_id, claim.lease_token) is None
    with transaction(engine) as session:
        assert session.get_one(Run, claim.run_id).status == RunStatus.QUEUED


def test_stop_that_was_asked_for_meanwhile_reaches_the_worker(engine: Engine, claim: Claim, olive: Viewer) -> None:
    with transaction(engine) as session:
        request_stop(session, olive, claim.session_id, now=NOW)
    taken = take_over(engine, claim.run_id, claim.lease_token)
    assert taken is not None
    with transaction(engine) as session:
        (lease,) = renew_leases(session, [taken], NOW + SECOND, LEASE)
    assert lease.is_stop_requested


@pytest.mark.parametrize(
    ("worker", "status", "counted"),
    [
        (SENDER, RunStatus.RUNNING, 1),
        (WORKER, RunStatus.RUNNING, 1),
        (WORKER, RunStatus.COMPLETED, 0),
        (name_cluster_worker("node2", "c11"), RunStatus.RUNNING, 0),
        (name_cluster_worker("node2", "C1"), RunStatus.RUNNING, 0),
        ("2f0c3f9e-8f3c-4b4e-9a53-0c6ad6f0b1de", RunStatus.RUNNING, 0),
    ],
)
def test_running_runs_of_a_cluster_are_counted_whoever_has_them(
    engine: Engine, olive: Viewer, worker: str, status: RunStatus, counted: int
) -> None:
    with transaction(engine) as session:
        make_run(session, make_job(session, olive), status=status, worker=worker)
        assert count_running_on(session, "c1") == counted


def test_nobody_else_counts_until_the_claims_are_committed(engine: Engine, olive: Viewer) -> None:
    counts: list[int] = []

    def count() -> None:
        with transaction(engine) as session:
            counts.append(count_running_on(session, "c1"))

    second = threading.Thread(target=count)
    with transaction(engine) as session:
        assert count_running_on(session, "c1") == 0
        make_run(session, make_job(session, olive))
        claim_runs(session, NOW, worker=SENDER, slots=1, lease=LEASE)
        second.start()
        wait_until(lambda: is_waiting_for_a_lock(engine), 10, "the second to wait")
    second.join(10)
    assert counts == [1]


def is_waiting_for_a_lock(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(
            connection.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE wait_event = 'advisory' AND datname = current_database()"
                )
            )
        )


def register(session: Session, slots: int = 0) -> str:
    return register_instance(session, host="here", pid=7, version="1", slots=slots, now=NOW)


def test_slots_of_an_instance_change_with_its_cluster(engine: Engine) -> None:
    with transaction(engine) as session:
        instance = register(session)
        other = register(session, slots=4)
        record_slots(session, instance, 6, cluster="c1")
    with transaction(engine) as session:
        slots = {i.id: i.slots for i in session.scalars(select(SchedulerInstance))}
        assert slots == {instance: 6, other: 4}
        assert is_registered(session, instance)
        assert not is_registered(session, str(uuid4()))


def test_slots_of_a_cluster_count_once_whoever_uses_it(engine: Engine) -> None:
    with transaction(engine) as session:
        register(session, slots=4)
        register(session, slots=2)
        for cluster, slots in (("c1", 6), ("c1", 6), ("c1", 5), ("c2", 3), (None, 0)):
            record_slots(session, register(session), slots, cluster=cluster)
        assert count_slots(session, NOW) == 4 + 2 + 6 + 3


def test_machine_of_a_worker_is_known_only_on_a_cluster() -> None:
    assert get_machine(WORKER) == "node2 (tcp://10.0.0.2:1)"
    assert get_machine(str(uuid4())) is None
