"""The gate of a portal in the database: spacing, rests, places, noted sign-ins and the breaker, across connections."""

import asyncio
import threading
from datetime import timedelta
from itertools import pairwise
from time import monotonic
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from db.breaker import COOL_DOWN, record_sign_ins
from db.engine import transaction
from db.errors import LeaseLostError
from db.models import Account, Portal, Run, RunStatus
from db.portal_gate import (
    MAX_REST,
    begin_sign_ins,
    free_portal_slots,
    postpone_requests,
    read_portal_state,
    reserve_requests,
    try_portal_slots,
)
from portal_import.ledger import RunLedger
from portal_import.portal_places import KeptPlace, PortalPlaces
from tests.factories import NOW, make_job, make_portal, make_run, make_viewer
from tests.waiting import wait_until

WAIT_SECONDS = 20


# Spacing


def add_portal(engine: Engine, **columns: object) -> int:
    with transaction(engine) as session:
        return make_portal(session, **columns).id  # type: ignore[arg-type]


def reserve(engine: Engine, portal_id: int, count: int = 1) -> list[float]:
    with transaction(engine) as session:
        booked = reserve_requests(session, portal_id, count)
    assert booked is not None
    return [*booked]


def test_requests_are_booked_one_spacing_apart(engine: Engine) -> None:
    portal_id = add_portal(engine, min_seconds_between_requests=100.0)
    waits = [wait for count in (1, 1, 3, 1) for wait in reserve(engine, portal_id, count)]
    assert waits[0] == 0.0
    # Later ones wait a little less than their multiple: time passed since the first was booked.
    assert [round(w / 100) for w in waits] == [0, 1, 2, 3, 4, 5]
    assert all(w <= n * 100 for n, w in enumerate(waits))


def test_portal_that_was_left_alone_is_not_waited_for(engine: Engine) -> None:
    portal_id = add_portal(engine, min_seconds_between_requests=5.0, next_request_at=NOW)
    assert reserve(engine, portal_id) == [0.0]
    (wait,) = reserve(engine, portal_id)
    assert 4.0 < wait <= 5.0


def test_connections_never_book_the_same_time(engine: Engine) -> None:
    portal_id = add_portal(engine, min_seconds_between_requests=50.0)
    barrier = threading.Barrier(6)
    times: list[float] = []

    def work() -> None:
        barrier.wait(WAIT_SECONDS)
        for count in (1, 3, 1):
            times.extend(wait + monotonic() for wait in reserve(engine, portal_id, count))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert len(times) == 30
    times.sort()
    assert all(later - earlier > 45 for earlier, later in pairwise(times))


# Rests that the portal asks for


def postpone(engine: Engine, portal_id: int, seconds: float) -> None:
    with transaction(engine) as session:
        postpone_requests(session, portal_id, seconds)


def test_nothing_is_booked_while_the_portal_rests(engine: Engine) -> None:
    portal_id = add_portal(engine, min_seconds_between_requests=5.0)
    postpone(engine, portal_id, 100)
    with transaction(engine) as session:
        assert reserve_requests(session, portal_id, 1) is None
        assert session.get_one(Portal, portal_id).next_request_at is None
        state = read_portal_state(session, portal_id)
        assert state.retry_after_at is not None
        assert 90 < state.rest_seconds <= 100
    with transaction(engine) as session:
        session.get_one(Portal, portal_id).retry_after_at = NOW
    assert reserve(engine, portal_id) == [0.0]
    with transaction(engine) as session:
        assert read_portal_state(session, portal_id).retry_after_at is None


def test_rest_only_grows_and_is_bounded(engine: Engine) -> None:
    portal_id = add_portal(engine)
    for seconds, least in ((100.0, 90.0), (10.0, 90.0), (1e12, MAX_REST.total_seconds() - 10)):
        postpone(engine, portal_id, seconds)
        with transaction(engine) as session:
            assert least < read_portal_state(session, portal_id).rest_seconds <= MAX_REST.total_seconds()


# Places


def take_slot(session: Session, portal_id: int, slot: int = 0) -> bool:
    return try_portal_slots(session, portal_id, [slot], wanted=1) == [slot]


def test_place_is_held_by_one_connection(engine: Engine) -> None:
    with Session(engine) as mine, Session(engine) as theirs:
        assert take_slot(mine, 1)
        assert not take_slot(theirs, 1)
        assert take_slot(theirs, 1, slot=1)
        assert take_slot(theirs, 2)
        mine.commit()
        assert not take_slot(theirs, 1)
        free_portal_slots(mine, 1, [0])
        assert take_slot(theirs, 1)


def test_place_is_free_when_the_connection_of_its_holder_ends(engine: Engine) -> None:
    with Session(engine) as mine, Session(engine) as theirs:
        assert take_slot(mine, 1)
        pid = mine.execute(select(func.pg_backend_pid())).scalar_one()
        assert not take_slot(theirs, 1)
        theirs.execute(select(func.pg_terminate_backend(pid)))
        wait_until(lambda: take_slot(theirs, 1), WAIT_SECONDS, "the place")
        mine.invalidate()


def make_ledger(engine: Engine) -> RunLedger:
    return RunLedger(engine, 1, uuid4())


def test_runs_share_the_places_of_a_portal(engine: Engine) -> None:
    first, second = make_ledger(engine), make_ledger(engine)
    [mine], [theirs] = first.try_slots(1, 3, 1), second.try_slots(1, 3, 1)
    [last] = second.try_slots(1, 3, 5)  # as many as are left, not as many as are wanted
    assert sorted(slot.number for slot in (mine, theirs, last)) == [0, 1, 2]
    assert first.try_slots(1, 3, 1) == second.try_slots(1, 3, 1) == []
    second.free_slots(1, [theirs])
    [again] = first.try_slots(1, 3, 2)
    assert again.number == theirs.number
    first.close()
    assert len(second.try_slots(1, 3, 5)) == 2
    second.close()


def test_run_that_lost_its_places_with_its_connection_does_not_free_those_it_took_since(engine: Engine) -> None:
    ledger, other = make_ledger(engine), make_ledger(engine)
    [before] = ledger.try_slots(1, 1, 1)
    with transaction(engine) as session:
        session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )
    [after] = wait_until(lambda: ledger.try_slots(1, 2, 1), WAIT_SECONDS, "a place on a new connection")
    assert after.number == before.number
    ledger.free_slots(1, [before])
    assert other.try_slots(1, 1, 1) == []
    ledger.free_slots(1, [after])
    assert len(other.try_slots(1, 1, 1)) == 1
    ledger.close()
    other.close()


def test_place_is_kept_between_accounts_while_no_other_run_is_at_the_portal(engine: Engine) -> None:
    with transaction(engine) as session:
        viewer = make_viewer(session)
        portal = make_portal(session)
        mine = make_run(session, make_job(session, viewer), status=RunStatus.RUNNING, portal_id=portal.id)
        theirs = make_run(session, make_job(session, viewer), status=RunStatus.QUEUED, portal_id=portal.id)
    ledger, other = RunLedger(engine, mine.id, mine.lease_token or uuid4()), make_ledger(engine)

    async def is_free_after_an_account() -> bool:
        places = PortalPlaces(ledger, portal.id, 1, is_ending=lambda: False)
        place = KeptPlace(places)
        await places.look_around()
        assert await place.take()
        await place.offer()
        taken = other.try_slots(portal.id, 1, 1)
        other.free_slots(portal.id, taken)
        await place.give_back()
        return bool(taken)

    assert not asyncio.run(is_free_after_an_account())
    with transaction(engine) as session:
        run = session.merge(theirs)
        run.status, run.started_at, run.worker = RunStatus.RUNNING, NOW, "w"
        run.lease_until, run.lease_token = NOW + timedelta(hours=1), uuid4()
    assert asyncio.run(is_free_after_an_account())
    ledger.close()
    other.close()


# Sign-ins noted before they are sent


def begin(session: Session, run: Run, account_ids: list[int], portal_id: int = 0) -> set[int] | None:
    assert run.lease_token is not None
    return begin_sign_ins(session, portal_id, run.id, run.lease_token, account_ids)[1]


def test_account_is_signed_in_to_once_a_run(engine: Engine) -> None:
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session), accounts=3)
        first = make_run(session, job, status=RunStatus.RUNNING)
        one, two, three = session.scalars(select(Account.id).order_by(Account.row_number))
    with transaction(engine) as session:
        assert begin(session, first, [one, two]) == {one, two}
    with transaction(engine) as session:
        assert begin(session, first, [two, three]) == {three}
    with transaction(engine) as session:
        ended = session.merge(first)
        ended.status, ended.finished_at, ended.lease_until, ended.lease_token = RunStatus.COMPLETED, NOW, None, None
        session.flush()
        second = make_run(session, job, status=RunStatus.RUNNING)
        assert begin(session, second, [one, two, three]) == {one, two, three}


def test_worker_that_lost_its_run_signs_in_to_nothing(engine: Engine) -> None:
    with transaction(engine) as session:
        job = make_job(session, make_viewer(session))
        run = make_run(session, job, status=RunStatus.RUNNING)
        account_id = session.scalars(select(Account.id)).one()
        with pytest.raises(LeaseLostError):
            begin_sign_ins(session, 0, run.id, uuid4(), [account_id])
        assert session.scalars(select(Account.sign_in_run_id)).one() is None


@pytest.mark.parametrize("obstacle", ["breaker_open_until", "retry_after_at"])
def test_nobody_is_signed_in_while_the_portal_is_left_alone(engine: Engine, obstacle: str) -> None:
    portal_id = add_portal(engine)
    with transaction(engine) as session:
        run = make_run(session, make_job(session, make_viewer(session)), status=RunStatus.RUNNING)
        account_id = session.scalars(select(Account.id)).one()
        setattr(session.get_one(Portal, portal_id), obstacle, func.now() + timedelta(hours=1))
        session.flush()
        assert run.lease_token is not None
        state, noted = begin_sign_ins(session, portal_id, run.id, run.lease_token, [account_id])
        assert noted is None
        assert getattr(state, obstacle) is not None
        assert session.scalars(select(Account.sign_in_run_id)).one() is None
        setattr(session.get_one(Portal, portal_id), obstacle, func.now() - timedelta(hours=1))
        session.flush()
        assert begin(session, run, [account_id], portal_id) == {account_id}


# The breaker


def record(engine: Engine, portal_id: int, answers: str, *, at: timedelta = timedelta(0)) -> list[str]:
    """Record each answer in a transaction of its own, as different runs do; the reasons for which it opened."""
    opened: list[str] = []
    for answer in answers:
        with transaction(engine) as session:
            reason = record_sign_ins(session, portal_id, [answer == "x"], now=NOW + at)
        opened += [reason] if reason else []
    return opened


def test_breaker_counts_what_all_runs_were_answered(engine: Engine) -> None:
    portal_id, other_id = add_portal(engine), add_portal(engine, host="other.example")
    assert record(engine, portal_id, "xxxx") == []
    assert record(engine, other_id, "xx") == []
    assert record(engine, portal_id, "x") == ["the portal refused 5 sign-ins in a row"]
    with transaction(engine) as session:
        portal, other = session.get_one(Portal, portal_id), session.get_one(Portal, other_id)
        assert portal.breaker_open_until == NOW + COOL_DOWN
        assert portal.breaker_reason == "the portal refused 5 sign-ins in a row"
        assert (other.breaker_open_until, other.recent_refusals) == (None, [True, True])


def test_open_breaker_is_not_moved_by_sign_ins_that_were_under_way(engine: Engine) -> None:
    portal_id = add_portal(engine)
    assert len(record(engine, portal_id, "xxxxx")) == 1
    assert record(engine, portal_id, "x.xxxxxxx", at=timedelta(minutes=1)) == []
    with transaction(engine) as session:
        portal = session.get_one(Portal, portal_id)
        assert (portal.breaker_open_until, portal.recent_refusals) == (NOW + COOL_DOWN, [])


def test_reopened_portal_is_judged_afresh(engine: Engine) -> None:
    portal_id = add_portal(engine)
    record(engine, portal_id, "xxxxx")
    assert record(engine, portal_id, "xxxx", at=COOL_DOWN) == []
    assert record(engine, portal_id, "x", at=COOL_DOWN) == ["the portal refused 5 sign-ins in a row"]
    with transaction(engine) as session:
        assert session.get_one(Portal, portal_id).breaker_open_until == NOW + 2 * COOL_DOWN


def test_sign_ins_that_are_recorded_at_once_are_all_counted(engine: Engine) -> None:
    portal_id = add_portal(engine)
    barrier = threading.Barrier(5)
    opened: list[str] = []

    def work() -> None:
        barrier.wait(WAIT_SECONDS)
        opened.extend(record(engine, portal_id, "x"))

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert opened == ["the portal refused 5 sign-ins in a row"]


def test_portal_that_refuses_nobody_is_not_written_to(engine: Engine) -> None:
    portal_id = add_portal(engine)
    with transaction(engine) as session:
        before = session.scalar(select(text("xmin::text")).select_from(Portal).where(Portal.id == portal_id))
    record(engine, portal_id, "." * 3)
    with transaction(engine) as session:
        after = session.scalar(select(text("xmin::text")).select_from(Portal).where(Portal.id == portal_id))
    assert before == after


def test_state_of_a_portal_tells_only_what_still_holds(engine: Engine) -> None:
    portal_id = add_portal(engine, breaker_open_until=NOW, breaker_reason="refused", retry_after_at=NOW)
    with transaction(engine) as session:
        state = read_portal_state(session, portal_id)
    assert (state.breaker_open_until, state.retry_after_at, state.rest_seconds) == (None, None, 0.0)
