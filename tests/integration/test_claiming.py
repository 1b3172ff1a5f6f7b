"""Claiming: which queued runs start, in which order, and what two schedulers do to each other."""

import random
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.claiming import Claim, ClaimPass, claim_runs, get_earliest_run_after
from db.claims import finish_run
from db.engine import transaction
from db.models import Job, JobStatus, Portal, Priority, Role, Run, RunStatus, RunTrigger
from db.turns import list_turns
from db.viewers import Viewer
from tests.claimed_runs import LEASE, SECOND, add_run, claim, get_run, statuses, take
from tests.factories import NOW, make_job, make_portal, make_run, make_viewer

WAIT_SECONDS = 20


def claim_pass(session: Session, *, slots: int) -> ClaimPass:
    return claim_runs(session, NOW, worker="w", slots=slots, lease=LEASE)


# Claiming


def test_claim_takes_a_queued_run(engine: Engine) -> None:
    run_id = add_run(engine, timeout_seconds=77)
    with transaction(engine) as session:
        (claimed,) = claim(session, seconds=5, worker="instance-1")
    run, job = get_run(engine, run_id)
    assert claimed == Claim(run_id, job.id, claimed.lease_token, 1, 77, None)
    assert (run.status, run.worker, run.lease_token) == (RunStatus.RUNNING, "instance-1", claimed.lease_token)
    assert (run.started_at, run.lease_until) == (NOW + 5 * SECOND, NOW + 5 * SECOND + LEASE)
    assert (job.status, job.last_run_id, job.last_run_at) == (JobStatus.RUNNING, run_id, NOW + 5 * SECOND)


def test_people_come_before_schedules_and_the_oldest_first(engine: Engine) -> None:
    scheduled_late = add_run(engine, RunTrigger.SCHEDULE, seconds=-10)
    scheduled_early = add_run(engine, RunTrigger.SCHEDULE, seconds=-100)
    asked_late = add_run(engine, RunTrigger.API, seconds=-1)
    asked_early = add_run(engine, RunTrigger.RETRY, seconds=-5)
    order: list[int] = []
    for _ in range(4):
        with transaction(engine) as session:
            order += [c.run_id for c in claim(session, slots=1)]
    assert order == [asked_early, asked_late, scheduled_early, scheduled_late]


@pytest.mark.parametrize(("slots", "expected"), [(-1, 0), (0, 0), (1, 1), (3, 3), (4, 4), (9, 5)])
def test_claim_takes_no_more_than_the_free_slots(engine: Engine, slots: int, expected: int) -> None:
    for _ in range(5):
        add_run(engine)
    with transaction(engine) as session:
        assert len(claim(session, slots=slots)) == expected


def test_run_waits_for_its_time(engine: Engine) -> None:
    add_run(engine, seconds=60)
    with transaction(engine) as session:
        assert claim(session, seconds=59) == []
        assert len(claim(session, seconds=60)) == 1


def test_job_runs_one_run_at_a_time_the_oldest_first(engine: Engine) -> None:
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session))
        runs = [make_run(session, job, trigger=RunTrigger.SCHEDULE, at=NOW - n * SECOND).id for n in (1, 2)]
    with transaction(engine) as session:
        (first,) = claim(session)
        assert first.run_id == runs[0]
        assert claim(session) == []
    with transaction(engine) as session:
        finish_run(session, first.run_id, first.lease_token, RunStatus.COMPLETED, None, NOW)
    assert statuses(engine, runs[0]) == (RunStatus.COMPLETED, JobStatus.QUEUED)
    assert take(engine, runs[1]).run_id == runs[1]


def test_run_that_waits_does_not_hold_up_the_next_of_its_job(engine: Engine) -> None:
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session))
        make_run(session, job, at=NOW + timedelta(hours=1))
        ready = make_run(session, job).id
    with transaction(engine) as session:
        assert [c.run_id for c in claim(session)] == [ready]


def test_database_refuses_a_second_running_run_of_a_job(engine: Engine) -> None:
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session))
        make_run(session, job, status=RunStatus.RUNNING)
    with pytest.raises(IntegrityError, match="uq_import_runs_running"), transaction(engine) as session:
        make_run(session, session.get_one(Job, job.id), status=RunStatus.RUNNING)


# The portal's share


def add_portal_runs(engine: Engine, count: int, trigger: RunTrigger, host: str, limit: int = 2) -> list[int]:
    with transaction(engine) as session:
        portal = make_portal(session, host, max_concurrent_accounts=limit)
        viewer = make_viewer(session, f"user{uuid4()}")
        return [
            make_run(session, make_job(session, viewer, portal_id=portal.id), trigger=trigger).id for _ in range(count)
        ]


def test_busy_portal_leaves_slots_to_others(engine: Engine) -> None:
    busy = add_portal_runs(engine, 5, RunTrigger.SCHEDULE, "busy.example")
    other = add_portal_runs(engine, 3, RunTrigger.SCHEDULE, "other.example", limit=1)
    without = add_run(engine, RunTrigger.SCHEDULE)
    with transaction(engine) as session:
        claims = claim(session, slots=6)
        assert [c.run_id for c in claims] == [busy[0], other[0], without, busy[1]]
    with transaction(engine) as session:
        assert claim(session, slots=6) == []
        finish_run(session, busy[0], claims[0].lease_token, RunStatus.COMPLETED, None, NOW)
        assert [c.run_id for c in claim(session, slots=6)] == [busy[2]]


def test_person_need_not_wait_for_a_busy_portal(engine: Engine) -> None:
    asked = add_portal_runs(engine, 3, RunTrigger.MANUAL, "busy.example", limit=1)
    with transaction(engine) as session:
        assert [c.run_id for c in claim(session, slots=6)] == asked


# Turns


def add_owner(session: Session, *, jobs: int, trigger: RunTrigger = RunTrigger.SCHEDULE, **job_columns: object) -> str:
    """A user with that many jobs, each with a queued run; returns the user."""
    viewer = make_viewer(session, f"user{uuid4()}")
    for number in range(jobs):
        job = make_job(session, viewer, accounts=0, **job_columns)
        make_run(session, job, trigger=trigger, at=NOW - (jobs - number) * SECOND)
    return viewer.user_id


def owner_of(session: Session, claimed: Claim) -> str | None:
    return session.get_one(Run, claimed.run_id).owner_id


def test_owner_of_a_long_queue_does_not_starve_another(engine: Engine) -> None:
    with transaction(engine) as session:
        busy = add_owner(session, jobs=500)
        assert {owner_of(session, claimed) for claimed in claim(session, slots=4)} == {busy}
        other = add_owner(session, jobs=1)
        (following,) = claim(session, slots=1)
        assert owner_of(session, following) == other


def test_owners_take_turns_whoever_queued_first(engine: Engine) -> None:
    with transaction(engine) as session:
        owners = [add_owner(session, jobs=jobs) for jobs in (30, 20, 2, 9)]
        taken = Counter(owner_of(session, claimed) for claimed in claim(session, slots=17))
        assert [taken[owner] for owner in owners] == [5, 5, 2, 5]
        taken.update(owner_of(session, claimed) for claimed in claim(session, slots=15))
        assert [taken[owner] for owner in owners] == [11, 10, 2, 9]


def test_person_goes_first_within_an_owner_and_waits_for_the_turn_of_others(engine: Engine) -> None:
    with transaction(engine) as session:
        busy = add_owner(session, jobs=3)
        claim(session, slots=2)
        job = make_job(session, Viewer(busy, "x", "x", Role.OPERATOR))
        asked = make_run(session, job, trigger=RunTrigger.MANUAL).id
        add_owner(session, jobs=1)
        order = [c.run_id for _ in range(3) for c in claim(session, slots=1)]
        assert order.index(asked) == 1


def test_background_runs_go_last_within_an_owner(engine: Engine) -> None:
    with transaction(engine) as session:
        viewer = make_viewer(session)
        priorities = (Priority.BACKGROUND, Priority.SCHEDULE, Priority.PERSON)
        runs = [make_run(session, make_job(session, viewer), priority=priority).id for priority in priorities]
        assert [c.run_id for c in claim(session)] == runs[::-1]


def test_job_lets_a_person_before_its_older_scheduled_run(engine: Engine) -> None:
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session))
        make_run(session, job, trigger=RunTrigger.SCHEDULE, at=NOW - 60 * SECOND)
        asked = make_run(session, job, trigger=RunTrigger.RETRY).id
        assert [c.run_id for c in claim(session)] == [asked]


def test_closed_start_window_does_not_hold_back_its_job(engine: Engine) -> None:
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session))
        make_run(session, job, trigger=RunTrigger.SCHEDULE, at=NOW - 60 * SECOND, start_by=NOW - SECOND)
        open_still = make_run(session, job, trigger=RunTrigger.SCHEDULE).id
        assert [c.run_id for c in claim(session)] == [open_still]


@pytest.mark.parametrize("seed", range(12))
def test_random_queues_are_claimed_one_turn_after_another(engine: Engine, seed: int) -> None:
    """However many slots there are at a time, the runs start in the order that the rules give, told one by one."""
    chance = random.Random(seed)
    with transaction(engine) as session:
        portals = [make_portal(session, f"p{n}.example", max_concurrent_accounts=chance.randint(1, 4)) for n in (1, 2)]
        for owner in range(chance.choice((1, 3, 10))):
            viewer = make_viewer(session, f"owner{owner}")
            for _ in range(chance.choice((1, 3, 30 if owner < 2 else 6))):
                portal = chance.choice((None, *portals))
                job = make_job(session, viewer, accounts=0, portal_id=portal and portal.id)
                for _ in range(chance.choice((1, 1, 4))):
                    add_random_run(session, job, chance)
        session.flush()
        while True:
            for limit in (1, 2, 5, 12):
                model = QueueModel(session.scalars(select(Run)).all(), portals)
                assert [turn.run_id for turn in list_turns(session, NOW, limit)] == model.start(limit)
            slots = chance.choice((2, 5, 20))
            expected = QueueModel(session.scalars(select(Run)).all(), portals).start(slots)
            claims = claim(session, slots=slots)
            assert [c.run_id for c in claims] == expected
            if not expected:
                break
            for claimed in chance.sample(claims, len(claims) // 2):
                finish_run(session, claimed.run_id, claimed.lease_token, RunStatus.COMPLETED, None, NOW)


def add_random_run(session: Session, job: Job, chance: random.Random) -> None:
    at = NOW - chance.randint(-5, 40) * SECOND + timedelta(microseconds=chance.randint(0, 999_999))
    trigger = chance.choice((RunTrigger.SCHEDULE, RunTrigger.SCHEDULE, RunTrigger.MANUAL))
    columns: dict[str, object] = {"start_by": NOW + chance.randint(-5, 10) * SECOND} if chance.random() < 0.2 else {}
    if trigger == RunTrigger.SCHEDULE and chance.random() < 0.2:
        columns["priority"] = Priority.BACKGROUND
    make_run(session, job, trigger=trigger, at=at, **columns)


class QueueModel:
    """The rules of the queue, as simply as they can be told."""

    def __init__(self, runs: Sequence[Run], portals: Sequence[Portal]) -> None:
        running = [run for run in runs if run.status == RunStatus.RUNNING]
        self.waiting = [run for run in runs if run.status == RunStatus.QUEUED and run.run_after <= NOW]
        self.waiting = [run for run in self.waiting if run.start_by is None or run.start_by >= NOW]
        self.running_jobs = {run.session_id for run in running}
        self.of_owner = Counter(run.owner_id for run in running)
        self.at_portal = Counter(run.portal_id for run in running)
        self.limits = {portal.id: portal.max_concurrent_accounts for portal in portals}

    def start(self, slots: int) -> list[int]:
        started: list[int] = []
        while len(started) < slots and (ready := [run for run in self.waiting if self.may_start(run)]):
            run = min(ready, key=lambda r: (self.of_owner[r.owner_id], r.priority, r.run_after, r.id))
            started.append(run.id)
            self.running_jobs.add(run.session_id)
            self.of_owner[run.owner_id] += 1
            self.at_portal[run.portal_id] += 1
        return started

    def may_start(self, run: Run) -> bool:
        mine = [other for other in self.waiting if other.session_id == run.session_id]
        is_full = run.portal_id is not None and self.at_portal[run.portal_id] >= self.limits[run.portal_id]
        return (
            run.session_id not in self.running_jobs
            and min(mine, key=lambda r: (r.priority, r.id)) is run
            and (run.priority == Priority.PERSON or not is_full)
        )


# Waiting for a time


def test_earliest_time_that_a_queued_run_waits_for(engine: Engine) -> None:
    with transaction(engine) as session:
        viewer = make_viewer(session)
        make_run(session, make_job(session, viewer))
        assert get_earliest_run_after(session, NOW) is None
        for seconds in (90, 60, -5):
            make_run(session, make_job(session, viewer), run_after=NOW + seconds * SECOND)
        assert get_earliest_run_after(session, NOW) == NOW + 60 * SECOND
        assert get_earliest_run_after(session, NOW + 60 * SECOND) == NOW + 90 * SECOND
        assert get_earliest_run_after(session, NOW + 90 * SECOND) is None


# Racing


def race(engine: Engine, threads: int, slots: int) -> list[Sequence[Claim]]:
    barrier = threading.Barrier(threads)
    taken: list[Sequence[Claim]] = []

    def work(worker: str) -> None:
        barrier.wait(WAIT_SECONDS)
        with transaction(engine) as session:
            claims = claim(session, slots=slots, worker=worker)
        taken.append(claims)

    running = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(WAIT_SECONDS)
    assert len(taken) == threads
    return taken


def test_racing_workers_never_take_the_same_run(engine: Engine) -> None:
    runs = {add_run(engine) for _ in range(12)}
    taken = [c.run_id for claims in race(engine, 4, 12) for c in claims]
    assert len(taken) == len(set(taken))
    with transaction(engine) as session:
        taken += [c.run_id for c in claim(session, slots=50)]  # what was locked at that moment
    assert set(taken) == runs


@pytest.mark.parametrize("held", [2, 40])
def test_two_schedulers_at_once_both_fill_their_slots(engine: Engine, held: int) -> None:
    """The second passes over what the first holds, however much that is, and takes what follows."""
    with transaction(engine) as session:
        add_owner(session, jobs=held + 3)
    with transaction(engine) as first, transaction(engine) as second:
        second.execute(text("SET LOCAL lock_timeout = '200ms'"))
        mine = claim_pass(first, slots=held)
        theirs = claim_pass(second, slots=3)
        assert not {c.run_id for c in mine.claims} & {c.run_id for c in theirs.claims}
        assert (len(mine.claims), len(theirs.claims)) == (held, 3)
        assert not theirs.is_contended


def test_pass_tells_when_others_held_what_it_wanted(engine: Engine) -> None:
    with transaction(engine) as session:
        add_owner(session, jobs=4)
    with transaction(engine) as first, transaction(engine) as second:
        claim_pass(first, slots=2)
        theirs = claim_pass(second, slots=3)
        assert (len(theirs.claims), theirs.is_contended) == (2, True)
    with transaction(engine) as session:
        assert claim_pass(session, slots=3) == ClaimPass([], is_contended=False)


def test_racing_workers_never_take_two_runs_of_one_job(engine: Engine) -> None:
    for _ in range(15):
        with transaction(engine) as session:
            job = make_job(session, make_viewer(session, f"user{uuid4()}"))
            for n in range(3):
                make_run(session, job, trigger=RunTrigger.SCHEDULE, at=NOW - n * SECOND)
        taken = [c for claims in race(engine, 4, 3) for c in claims]
        assert len(taken) == 1


def test_run_that_another_holds_is_passed_over_without_waiting(engine: Engine) -> None:
    for _ in range(2):
        add_run(engine)
    with transaction(engine) as first:
        (mine,) = claim(first, slots=1)
        with transaction(engine) as second:
            second.execute(text("SET LOCAL lock_timeout = '200ms'"))
            (theirs,) = claim(second, slots=2)
        assert mine.run_id != theirs.run_id


def test_job_that_somebody_edits_is_passed_over_without_waiting(engine: Engine) -> None:
    run_id = add_run(engine)
    with transaction(engine) as editor:
        editor.execute(text("SELECT 1 FROM import_sessions FOR NO KEY UPDATE"))
        with transaction(engine) as session:
            session.execute(text("SET LOCAL lock_timeout = '200ms'"))
            assert claim_pass(session, slots=1) == ClaimPass([], is_contended=True)
    assert take(engine, run_id).run_id == run_id
