"""A snapshot: reads that follow each other see one state, and nothing is written through it."""

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError

from db.engine import snapshot, transaction
from db.models import User
from tests.factories import make_viewer


def count_users(engine: Engine) -> int:
    with transaction(engine) as session:
        return session.execute(select(func.count()).select_from(User)).scalar_one()


def test_reads_of_a_snapshot_see_one_state(engine: Engine) -> None:
    users = select(func.count()).select_from(User)
    with snapshot(engine) as session:
        assert session.execute(users).scalar_one() == 0
        with transaction(engine) as other:
            make_viewer(other)
        assert session.execute(users).scalar_one() == 0
    assert count_users(engine) == 1


def test_snapshot_refuses_to_write_and_leaves_connections_as_they_were(engine: Engine) -> None:
    with pytest.raises(DBAPIError, match="read-only transaction"), snapshot(engine) as session:
        make_viewer(session)
    for name in ("ada", "ben"):
        with transaction(engine) as session:
            make_viewer(session, name)
    with transaction(engine) as session:
        assert session.connection().get_isolation_level() == "READ COMMITTED"
    assert count_users(engine) == 2
