"""Sessions: opaque tokens that end by time, by revocation and with their user."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from db.engine import transaction
from db.models import Role, SessionKind, User, UserSession
from db.user_sessions import (
    create_user_session,
    find_viewer,
    hash_token,
    purge_sessions,
    revoke_session,
    revoke_user_sessions,
)
from db.users import create_user
from db.viewers import Viewer

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def user_id(engine: Engine) -> str:
    with transaction(engine) as session:
        return create_user(session, username="bob", password="secret", role=Role.OPERATOR, name="Bob B.").id


def start(engine: Engine, user_id: str, kind: SessionKind = SessionKind.BROWSER, at: datetime = NOW) -> str:
    with transaction(engine) as session:
        user = session.get_one(User, user_id)
        return create_user_session(session, user, kind, at, HOUR, "192.0.2.7", "tests\x00" + "x" * 1000)


def find(engine: Engine, token: str, kind: SessionKind = SessionKind.BROWSER, at: datetime = NOW) -> Viewer | None:
    with transaction(engine) as session:
        return find_viewer(session, token, kind, at)


def test_token_is_random_long_and_not_stored(engine: Engine, user_id: str) -> None:
    first, second = start(engine, user_id), start(engine, user_id)
    assert first != second
    assert len(first) == 43
    with transaction(engine) as session:
        rows = session.scalars(select(UserSession)).all()
        assert {row.token_hash for row in rows} == {hash_token(first), hash_token(second)}
        assert all(first not in str(vars(row)) for row in rows)
        assert all(len(row.user_agent or "") <= 400 for row in rows)


def test_find_viewer_tells_who_it_is(engine: Engine, user_id: str) -> None:
    viewer = find(engine, start(engine, user_id))
    assert viewer == Viewer(user_id, "bob", "Bob B.", Role.OPERATOR, None)


@pytest.mark.parametrize("token", ["", "unknown", "x" * 100_000, "half\ud800", "nul\x00"])
def test_find_viewer_of_an_unknown_token_is_none(engine: Engine, user_id: str, token: str) -> None:
    start(engine, user_id)
    assert find(engine, token) is None


def test_find_viewer_keeps_kinds_apart(engine: Engine, user_id: str) -> None:
    token = start(engine, user_id, SessionKind.API)
    assert find(engine, token) is None
    assert find(engine, token, SessionKind.API) is not None


def test_session_ends_at_its_time(engine: Engine, user_id: str) -> None:
    token = start(engine, user_id)
    assert find(engine, token, at=NOW + HOUR - timedelta(microseconds=1)) is not None
    assert find(engine, token, at=NOW + HOUR) is None


def test_session_ends_with_its_users_activity(engine: Engine, user_id: str) -> None:
    token = start(engine, user_id)
    with transaction(engine) as session:
        session.get_one(User, user_id).is_active = False
    assert find(engine, token) is None


def test_revoke_session_ends_that_one_only_and_once(engine: Engine, user_id: str) -> None:
    one, other = start(engine, user_id), start(engine, user_id)
    with transaction(engine) as session:
        assert revoke_session(session, one, NOW)
    with transaction(engine) as session:
        assert not revoke_session(session, one, NOW)
    assert find(engine, one) is None
    assert find(engine, other) is not None


def test_revoke_user_sessions_ends_browsers_and_tokens_of_that_user_only(engine: Engine, user_id: str) -> None:
    with transaction(engine) as session:
        carol = create_user(session, username="carol", password="secret", role=Role.VIEWER).id
    browser, token, kept = start(engine, user_id), start(engine, user_id, SessionKind.API), start(engine, user_id)
    hers = start(engine, carol)
    with transaction(engine) as session:
        assert revoke_user_sessions(session, user_id, NOW, keep_token=kept) == 2
    assert find(engine, browser) is None
    assert find(engine, token, SessionKind.API) is None
    assert find(engine, kept) is not None
    assert find(engine, hers) is not None


def test_purge_sessions_keeps_what_ended_lately(engine: Engine, user_id: str) -> None:
    start(engine, user_id, at=NOW - timedelta(days=40))
    lately, live = start(engine, user_id, at=NOW - timedelta(days=2)), start(engine, user_id)
    with transaction(engine) as session:
        assert purge_sessions(session, NOW) == 1
    with transaction(engine) as session:
        assert set(session.scalars(select(UserSession.token_hash))) == {hash_token(lately), hash_token(live)}
