"""Portals: used only with authorisation."""

import threading

import pytest
from sqlalchemy import Engine, select, text

from db.engine import transaction
from db.errors import PortalNotAuthorisedError
from db.models import AuditEntry, Portal
from db.portal_gate import reserve_requests
from db.portals import ensure_portal, get_portal
from tests.factories import NOW
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
            reserve_requests(other, portal.id, 1)
