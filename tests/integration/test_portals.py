"""Portals: used only with authorisation, and gently, across connections and machines."""

import threading
from datetime import timedelta
from itertools import pairwise
from time import monotonic
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from db.engine import transaction
from db.errors import PortalNotAuthorisedError
from db.models import AuditEntry, Portal
from db.portals import ensure_portal, free_portal_slot, get_portal, open_breaker, reserve_request, try_portal_slot
from portal_import.ledger import RunLedger
from tests.factories import NOW, make_portal
from tests.waiting import wait_until

WAIT_SECONDS = 20


def ensure(engine: Engine, host: str = "portal.example", user: str = "ann", *, authorised: bool = False) -> Portal:
    with transaction(engine) as session:
        return ensure_portal(session, host, user_id=user, authorised=authorised, now=NOW)


def test_portal_needs_somebody_who_is_authorised_once(engine: Engine) -> None:
    with pytest.raises(PortalNotAuthorisedError, match=r"portal\.example"):
        ensure(engine)
    with transaction(engine) as session:
        assert get_portal(session, "portal.example") is None
    portal = ensure(engine, authorised=True)
    assert (portal.authorised_by, portal.authorised_at) == ("ann", NOW)
    assert ensure(engine, user="bob").id == ensure(engine, user="bob", authorised=True).id == portal.id
    with transaction(engine) as session:
        assert session.get_one(Portal, portal.id).authorised_by == "ann"
        (entry,) = session.scalars(select(AuditEntry)).all()
        assert (entry.user_id, entry.action, entry.subject) == ("ann", "portal authorised", "portal portal.example")
    with pytest.raises(PortalNotAuthorisedError):
        ensure(engine, host="other.example")


def test_portal_of_an_older_system_needs_authorisation_too(engine: Engine) -> None:
    with transaction(engine) as session:
        session.add(Portal(host="portal.example"))
    with pytest.raises(PortalNotAuthorisedError):
        ensure(engine)
    assert ensure(engine, authorised=True).authorised_by == "ann"


@pytest.mark.parametrize("is_known", [False, True])
def test_of_two_who_vouch_for_a_portal_at_once_the_first_counts(engine: Engine, is_known: bool) -> None:
    if is_known:
        with transaction(engine) as session:
            session.add(Portal(host="portal.example"))
    second = threading.Thread(target=ensure, args=(engine,), kwargs={"user": "bob", "authorised": True})
    with transaction(engine) as session:
        ensure_portal(session, "portal.example", user_id="ann", authorised=True, now=NOW)
        second.start()
        wait_until(lambda: is_somebody_waiting(engine), WAIT_SECONDS, "the second to wait for the first")
    second.join(WAIT_SECONDS)
    with transaction(engine) as session:
        assert session.scalars(select(Portal.authorised_by)).all() == ["ann"]
        assert session.scalars(select(AuditEntry.user_id)).all() == ["ann"]


def is_somebody_waiting(engine: Engine) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with engine.connect() as connection:
        return bool(connection.scalar(text(query)))


def test_job_that_is_being_made_does_not_hold_up_running_imports(engine: Engine) -> None:
    """It holds its transaction while thousands of passwords are encrypted."""
    portal = ensure(engine, authorised=True)
    with transaction(engine) as session:
        ensure_portal(session, "portal.example", user_id="bob", authorised=True, now=NOW)
        with transaction(engine) as other:
            other.execute(text("SET LOCAL lock_timeout = '200ms'"))
            reserve_request(other, portal.id)


def test_breaker_stays_open_for_its_cool_down(engine: Engine) -> None:
    portal = ensure(engine, authorised=True)
    with transaction(engine) as session:
        open_breaker(session, portal.id, reason="refused", now=NOW, cool_down=timedelta(minutes=30))
    with transaction(engine) as session:
        stored = session.get_one(Portal, portal.id)
        assert (stored.breaker_open_until, stored.breaker_reason) == (NOW + timedelta(minutes=30), "refused")


# Spacing


def add_portal(engine: Engine, **columns: object) -> int:
    with transaction(engine) as session:
        return make_portal(session, **columns).id  # type: ignore[arg-type]


def reserve(engine: Engine, portal_id: int) -> float:
    with transaction(engine) as session:
        return reserve_request(session, portal_id)


def test_requests_are_booked_one_spacing_apart(engine: Engine) -> None:
    portal_id = add_portal(engine, min_seconds_between_requests=100.0)
    waits = [reserve(engine, portal_id) for _ in range(4)]
    assert waits[0] == 0.0
    # Later ones wait a little less than their multiple: time passed since the first was booked.
    assert [round(w / 100) for w in waits] == [0, 1, 2, 3]
    assert all(w <= n * 100 for n, w in enumerate(waits))


def test_portal_that_was_left_alone_is_not_waited_for(engine: Engine) -> None:
    portal_id = add_portal(engine, min_seconds_between_requests=5.0, next_request_at=NOW)
    assert reserve(engine, portal_id) == 0.0
    assert 4.0 < reserve(engine, portal_id) <= 5.0


def test_connections_never_book_the_same_time(engine: Engine) -> None:
    portal_id = add_portal(engine, min_seconds_between_requests=50.0)
    barrier = threading.Barrier(6)
    times: list[float] = []

    def work() -> None:
        barrier.wait(WAIT_SECONDS)
        for _ in range(5):
            times.append(reserve(engine, portal_id) + monotonic())

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert len(times) == 30
    times.sort()
    assert all(later - earlier > 45 for earlier, later in pairwise(times))


# Places


def take_slot(session: Session, portal_id: int, slot: int = 0) -> bool:
    return try_portal_slot(session, portal_id, slot)


def test_place_is_held_by_one_connection(engine: Engine) -> None:
    with Session(engine) as mine, Session(engine) as theirs:
        assert take_slot(mine, 1)
        assert not take_slot(theirs, 1)
        assert take_slot(theirs, 1, slot=1)
        assert take_slot(theirs, 2)
        mine.commit()
        assert not take_slot(theirs, 1)
        free_portal_slot(mine, 1, 0)
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
    return RunLedger(engine, 1, uuid4(), started_at=NOW)


def test_runs_share_the_places_of_a_portal(engine: Engine) -> None:
    first, second = make_ledger(engine), make_ledger(engine)
    taken = [first.try_slot(1, 2), second.try_slot(1, 2)]
    assert sorted(s.number for s in taken if s) == [0, 1]
    assert first.try_slot(1, 2) is None
    assert second.try_slot(1, 2) is None
    assert taken[1] is not None
    second.free_slot(1, taken[1])
    again = first.try_slot(1, 2)
    assert again is not None
    assert again.number == taken[1].number
    first.close()
    assert second.try_slot(1, 2) is not None
    assert second.try_slot(1, 2) is not None
    second.close()


def test_run_that_lost_its_places_with_its_connection_does_not_free_those_it_took_since(engine: Engine) -> None:
    ledger, other = make_ledger(engine), make_ledger(engine)
    before = ledger.try_slot(1, 1)
    with transaction(engine) as session:
        session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )
    assert before is not None
    after = wait_until(lambda: ledger.try_slot(1, 2), WAIT_SECONDS, "a place on a new connection")
    assert after.number == before.number
    ledger.free_slot(1, before)
    assert other.try_slot(1, 1) is None
    ledger.free_slot(1, after)
    assert other.try_slot(1, 1) is not None
    ledger.close()
    other.close()
