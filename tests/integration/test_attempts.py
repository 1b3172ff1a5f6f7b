"""Attempts: a row each time that a worker took a run, closed once, and never two that finished it."""

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.attempts import AttemptView, list_attempts
from db.claiming import Claim, claim_runs
from db.claims import finish_run, recover_runs, requeue_run
from db.engine import transaction
from db.errors import NotFoundError
from db.instances import register_instance
from db.models import Run, RunAttempt, RunStatus
from db.runs import request_stop
from db.viewers import Viewer
from tests.factories import NOW, make_job, make_run, make_viewer

LEASE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)


@pytest.fixture
def olive(engine: Engine) -> Viewer:
    with transaction(engine) as session:
        return make_viewer(session)


@pytest.fixture
def run_id(engine: Engine, olive: Viewer) -> int:
    """A queued run."""
    with transaction(engine) as session:
        return make_run(session, make_job(session, olive)).id


def take(engine: Engine, seconds: float = 0, worker: str = "w") -> Claim:
    with transaction(engine) as session:
        (claimed,) = claim_runs(session, NOW + seconds * SECOND, worker=worker, slots=9, lease=LEASE).claims
        return claimed


def attempts(engine: Engine, viewer: Viewer, run_id: int) -> list[tuple[int, str, object, object, str | None]]:
    with transaction(engine) as session:
        return [
            (a.attempt, a.worker, a.started_at, a.ended_at, a.outcome) for a in list_attempts(session, viewer, run_id)
        ]


def test_claim_opens_an_attempt_and_the_end_closes_it(engine: Engine, olive: Viewer, run_id: int) -> None:
    claimed = take(engine, seconds=1)
    assert attempts(engine, olive, run_id) == [(1, "w", NOW + SECOND, None, None)]
    with transaction(engine) as session:
        assert finish_run(session, run_id, claimed.lease_token, RunStatus.PARTIAL, None, NOW + 5 * SECOND)
    assert attempts(engine, olive, run_id) == [(1, "w", NOW + SECOND, NOW + 5 * SECOND, "partial")]


@pytest.mark.parametrize(("is_fault", "following"), [(True, 2), (False, 1)])
def test_run_that_was_given_back_shows_who_had_it_and_who_has_it(
    engine: Engine, olive: Viewer, run_id: int, is_fault: bool, following: int
) -> None:
    first = take(engine, worker="a")
    with transaction(engine) as session:
        requeue_run(session, run_id, first.lease_token, "crashed", NOW + 2 * SECOND, is_fault=is_fault)
        session.get_one(Run, run_id).run_after = NOW
    take(engine, seconds=9, worker="b")
    assert attempts(engine, olive, run_id) == [
        (1, "a", NOW, NOW + 2 * SECOND, "queued"),
        (following, "b", NOW + 9 * SECOND, None, None),
    ]


def test_recovery_closes_the_attempt_of_the_worker_that_fell_silent(engine: Engine, olive: Viewer, run_id: int) -> None:
    take(engine)
    with transaction(engine) as session:
        assert recover_runs(session, NOW + 31 * SECOND) == 1
    assert attempts(engine, olive, run_id) == [(1, "w", NOW, NOW + 31 * SECOND, "queued")]


def test_last_attempt_ends_as_the_run_does(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        run_id = make_run(session, make_job(session, olive, max_attempts=1)).id
    take(engine)
    with transaction(engine) as session:
        recover_runs(session, NOW + 31 * SECOND)
    assert [a[-1] for a in attempts(engine, olive, run_id)] == ["lost"]


def test_stopped_run_closes_its_attempt_as_stopped(engine: Engine, olive: Viewer, run_id: int) -> None:
    claimed = take(engine)
    with transaction(engine) as session:
        request_stop(session, olive, claimed.session_id, now=NOW)
        requeue_run(session, run_id, claimed.lease_token, "shut down", NOW + SECOND, is_fault=False)
    assert [a[-1] for a in attempts(engine, olive, run_id)] == ["stopped"]


@pytest.mark.parametrize("end", ["claim", "finish", "give back"])
def test_attempt_changes_only_with_its_run(engine: Engine, olive: Viewer, run_id: int, end: str) -> None:
    claimed = take(engine) if end != "claim" else None

    def work(session: Session) -> None:
        if claimed is None:
            claim_runs(session, NOW, worker="w", slots=1, lease=LEASE)
        elif end == "finish":
            finish_run(session, run_id, claimed.lease_token, RunStatus.COMPLETED, None, NOW)
        else:
            requeue_run(session, run_id, claimed.lease_token, "crashed", NOW, is_fault=True)

    before = attempts(engine, olive, run_id)
    roll_back(engine, work)
    assert attempts(engine, olive, run_id) == before


def test_database_refuses_that_two_workers_finish_one_run(engine: Engine, run_id: int) -> None:
    """As it would be if a worker's end were written without looking at its lease."""
    first = take(engine, worker="a")
    with transaction(engine) as session:
        finish_run(session, run_id, first.lease_token, RunStatus.COMPLETED, None, NOW)
    with pytest.raises(IntegrityError, match="uq_run_attempts_finished"), transaction(engine) as session:
        session.add(
            RunAttempt(run_id=run_id, attempt=1, worker="b", lease_token=uuid4(), ended_at=NOW, outcome="failed")
        )


def test_worker_that_lost_its_lease_changes_no_attempt(engine: Engine, olive: Viewer, run_id: int) -> None:
    late = take(engine, worker="a")
    with transaction(engine) as session:
        recover_runs(session, NOW + 31 * SECOND)
        session.get_one(Run, run_id).run_after = NOW
    take(engine, seconds=40, worker="b")
    before = attempts(engine, olive, run_id)
    with transaction(engine) as session:
        assert not finish_run(session, run_id, late.lease_token, RunStatus.COMPLETED, None, NOW + 50 * SECOND)
    assert attempts(engine, olive, run_id) == before


def test_attempts_name_the_machine_while_it_is_known(engine: Engine, olive: Viewer, run_id: int) -> None:
    with transaction(engine) as session:
        worker = register_instance(session, host="north", pid=1, version="1", slots=1, now=NOW)
    take(engine, worker=worker)
    with transaction(engine) as session:
        (attempt,) = list_attempts(session, olive, run_id)
    assert attempt == AttemptView(1, worker, "north", NOW, None, None)


def test_attempts_of_others_are_not_shown(engine: Engine, run_id: int) -> None:
    take(engine)
    with transaction(engine) as session:
        mallory = make_viewer(session, "mallory")
        with pytest.raises(NotFoundError):
            list_attempts(session, mallory, run_id)


def test_every_claim_of_a_batch_has_its_attempt(engine: Engine, olive: Viewer) -> None:
    with transaction(engine) as session:
        for _ in range(5):
            make_run(session, make_job(session, olive))
    with transaction(engine) as session:
        claims = claim_runs(session, NOW, worker="w", slots=3, lease=LEASE).claims
        tokens = set(session.scalars(select(RunAttempt.lease_token)))
    assert tokens == {c.lease_token for c in claims}
    assert len(tokens) == 3


def roll_back(engine: Engine, work: Callable[[Session], None]) -> None:
    with Session(engine) as session:
        work(session)
        session.rollback()
