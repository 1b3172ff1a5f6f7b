"""The queue as people see it: places in line are those that the claim keeps to, and obstacles are named in words."""

import random
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from db.claiming import claim_runs
from db.engine import transaction
from db.instances import record_stopped, register_instance
from db.jobs import update_job
from db.models import Job, Priority, Role, Run, RunStatus, RunTrigger
from db.queue import LINE_READ, describe_waiting, describe_waiting_jobs, waiting_words
from tests.claimed_runs import LEASE, SECOND, claim
from tests.factories import NOW, make_job, make_portal, make_run, make_viewer


@pytest.fixture
def session(engine: Engine) -> Session:
    with transaction(engine) as session:
        yield session


def add_scheduler(session: Session, slots: int = 4) -> str:
    return register_instance(session, host="h", pid=1, version="1", slots=slots, now=NOW)


def add_runs(session: Session, username: str, count: int, **columns: object) -> list[Run]:
    """So many jobs of a user, each with a queued run of its schedule, the oldest first."""
    viewer = make_viewer(session, username)
    jobs = [make_job(session, viewer, accounts=0, **columns) for _ in range(count)]
    return [
        make_run(session, job, trigger=RunTrigger.SCHEDULE, at=NOW - (count - n) * SECOND) for n, job in enumerate(jobs)
    ]


def words(session: Session, run: Run, at: datetime = NOW) -> str:
    return waiting_words(describe_waiting(session, [run], at)[run.id], lambda when: f"{when:%H:%M}")


def position(session: Session, run: Run) -> int | None:
    return describe_waiting(session, [run], NOW)[run.id].position


def test_run_waits_for_a_free_slot_in_its_place(session: Session) -> None:
    add_scheduler(session, slots=4)
    busy = add_runs(session, "ann", 12)
    claim(session, slots=4)
    late, *_ = add_runs(session, "ben", 1)
    assert words(session, late) == "next in line; waits for a free slot (4 of 4 in use)"
    assert words(session, busy[4]) == "2nd in line; waits for a free slot (4 of 4 in use)"
    assert words(session, busy[5]) == "3rd in line; waits for a free slot (4 of 4 in use)"
    assert words(session, busy[11]) == "9th in line; waits for a free slot (4 of 4 in use)"
    assert describe_waiting(session, busy[:4], NOW) == {}


def test_run_with_a_free_slot_starts_in_a_moment(session: Session) -> None:
    add_scheduler(session, slots=1)
    add_scheduler(session, slots=2)
    runs = add_runs(session, "ann", 4)
    claim(session, slots=2)
    assert words(session, runs[2]) == "next in line; starts in a moment"


@pytest.mark.parametrize(("number", "place"), [(11, "11th"), (12, "12th"), (13, "13th"), (21, "21st"), (112, "112th")])
def test_places_are_counted_as_people_count(session: Session, number: int, place: str) -> None:
    add_scheduler(session, slots=1)
    runs = add_runs(session, "ann", number)
    assert words(session, runs[-1]).startswith(f"{place} in line; ")


def test_far_places_are_not_counted_out(session: Session) -> None:
    add_scheduler(session, slots=1)
    runs = add_runs(session, "ann", LINE_READ + 2)
    assert position(session, runs[LINE_READ - 1]) == LINE_READ
    assert position(session, runs[LINE_READ]) is None
    assert words(session, runs[LINE_READ]).startswith("more than 200 before it; ")


def test_run_waits_for_the_running_run_of_its_job(session: Session) -> None:
    add_scheduler(session)
    (running,) = add_runs(session, "ann", 1)
    claim(session)
    job = session.get_one(Job, running.session_id)
    following = make_run(session, job, trigger=RunTrigger.SCHEDULE, at=NOW)
    assert words(session, following) == "waits for the job's running run"
    assert position(session, following) is None


def test_run_waits_for_another_queued_run_of_its_job(session: Session) -> None:
    add_scheduler(session)
    (first,) = add_runs(session, "ann", 1)
    second = make_run(session, session.get_one(Job, first.session_id), trigger=RunTrigger.SCHEDULE, at=NOW)
    assert words(session, second) == "waits for another run of the job"
    first.start_by = NOW - SECOND
    session.flush()
    assert words(session, first) == "its start window has passed"
    assert words(session, second).startswith("next in line")


def test_run_waits_for_a_busy_portal(session: Session) -> None:
    add_scheduler(session)
    portal = make_portal(session, "portal.example", max_concurrent_accounts=2)
    runs = add_runs(session, "ann", 5, portal_id=portal.id)
    assert words(session, runs[0]) == "next in line; starts in a moment"
    assert words(session, runs[2]) == "3rd in line; waits for portal.example (0 of 2 runs there)"
    claim(session)
    assert words(session, runs[2]) == "next in line; waits for portal.example (2 of 2 runs there)"
    assert words(session, runs[4]) == "3rd in line; waits for portal.example (2 of 2 runs there)"
    other = add_runs(session, "cyd", 1)[0]
    assert words(session, other) == "next in line; starts in a moment"
    assert words(session, runs[4]) == "3rd in line; waits for portal.example (2 of 2 runs there)"
    asked = make_run(session, make_job(session, make_viewer(session, "ben"), portal_id=portal.id))
    assert words(session, asked) == "next in line; starts in a moment"


def test_run_waits_for_its_next_attempt(session: Session) -> None:
    add_scheduler(session)
    (run,) = add_runs(session, "ann", 1)
    run.run_after = NOW + timedelta(minutes=1)
    session.flush()
    assert words(session, run) == "will be tried again at 12:01"
    assert words(session, run, run.run_after) == "next in line; starts in a moment"


def test_run_without_a_scheduler_says_so(session: Session) -> None:
    add_scheduler(session, slots=0)
    instance = add_scheduler(session, slots=4)
    (run,) = add_runs(session, "ann", 1)
    assert words(session, run) == "next in line; starts in a moment"
    record_stopped(session, instance, NOW)
    assert words(session, run) == "no scheduler with slots is running"


def test_queued_job_tells_of_the_run_that_it_starts_next(session: Session) -> None:
    add_scheduler(session, slots=1)
    runs = add_runs(session, "ann", 2)
    jobs = [session.get_one(Job, run.session_id) for run in runs]
    make_run(session, jobs[1], trigger=RunTrigger.SCHEDULE, at=NOW)
    assert {job_id: w.position for job_id, w in describe_waiting_jobs(session, jobs, NOW).items()} == {
        jobs[0].id: 1,
        jobs[1].id: 2,
    }
    claim(session, slots=1)
    assert set(describe_waiting_jobs(session, jobs, NOW)) == {jobs[1].id}


@pytest.mark.parametrize("seed", range(6))
def test_runs_start_in_the_order_of_their_places(session: Session, seed: int) -> None:
    chance = random.Random(seed)
    add_scheduler(session, slots=1)
    for owner in range(chance.randint(1, 5)):
        viewer = make_viewer(session, f"owner{owner}")
        for _ in range(chance.choice((1, 4, 15))):
            trigger = chance.choice((RunTrigger.SCHEDULE, RunTrigger.MANUAL))
            at = NOW - timedelta(seconds=chance.uniform(0, 60))
            make_run(session, make_job(session, viewer, accounts=0), trigger=trigger, at=at)
    claim(session, slots=chance.randint(0, 3))
    queued = session.scalars(select(Run).where(Run.status == RunStatus.QUEUED)).all()
    places = {run.id: position(session, run) for run in queued}
    started = [c.run_id for _ in queued for c in claim(session, slots=1)]
    assert started == sorted(places, key=lambda run_id: places[run_id] or 0)
    assert sorted(places.values(), key=lambda place: place or 0) == list(range(1, len(queued) + 1))


def test_queued_runs_follow_their_job_to_another_portal(session: Session) -> None:
    portal = make_portal(session, "full.example", max_concurrent_accounts=1)
    viewer = make_viewer(session)
    running, waiting, retry = (make_job(session, viewer, portal_id=portal.id) for _ in range(3))
    make_run(session, running, status=RunStatus.RUNNING)
    moved = make_run(session, waiting, trigger=RunTrigger.SCHEDULE)
    stays = make_run(session, retry, priority=Priority.BACKGROUND, trigger=RunTrigger.SCHEDULE)
    assert claim(session) == []
    for job in (waiting, running):
        update_job(session, viewer, job.id, now=NOW, portal_host="free.example", authorised=True)
    assert [c.run_id for c in claim(session)] == [moved.id]
    session.expire_all()
    assert (moved.portal_id, stays.portal_id) == (waiting.portal_id, portal.id)
    assert session.scalars(select(Run.portal_id).where(Run.session_id == running.id)).one() == portal.id


def test_editing_a_job_without_moving_it_leaves_its_runs_alone(engine: Engine) -> None:
    with transaction(engine) as session:
        viewer = make_viewer(session, role=Role.ADMIN)
        job = make_job(session, viewer, portal_id=make_portal(session).id)
        run_id = make_run(session, job).id
    with transaction(engine) as first, transaction(engine) as second:
        first.execute(select(Run).where(Run.id == run_id).with_for_update(key_share=True))
        update_job(second, viewer, job.id, now=NOW, portal_host="portal.example", name="Gas")
        assert claim_runs(second, NOW, worker="w", slots=1, lease=LEASE).is_contended
