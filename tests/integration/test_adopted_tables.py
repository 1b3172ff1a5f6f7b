"""Adopted tables have our shape, and what other tables and programs tied to them goes on working."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.engine import create_database_engine, normalise_url
from db.migrate import is_current, upgrade
from db.models import Job, JobStatus
from tests.catalogue import constraints_and_indexes, differences_from_models, everything
from tests.old_system import SHAPES, Shape, execute, fill, insert


@pytest.fixture
def old(empty_database_url: str) -> Iterator[Engine]:
    """An engine on a database without tables, where an earlier system's are to be made."""
    engine = create_database_engine(normalise_url(empty_database_url), application="tests")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adopted_tables_are_those_of_the_models(old: Engine, engine: Engine, shape: Shape) -> None:
    fill(old, shape)
    upgrade(old)
    assert differences_from_models(old) == []
    assert constraints_and_indexes(old) == constraints_and_indexes(engine)


def test_upgrading_again_changes_nothing(old: Engine) -> None:
    fill(old)
    upgrade(old)
    before = everything(old)
    assert upgrade(old) == []
    assert everything(old) == before


@pytest.mark.parametrize("ids", ["varchar", "uuid"])
def test_foreign_keys_of_other_tables_go_on_working(old: Engine, ids: str) -> None:
    fill(old, Shape(ids=ids))
    execute(
        old,
        f"CREATE TABLE reviews (id serial PRIMARY KEY, result {ids} REFERENCES import_results DEFERRABLE, author {ids},"
        ' team text, CONSTRAINT "by :member 100%%" FOREIGN KEY (author, team) REFERENCES team_members (user_id, team))',
        "INSERT INTO reviews (result, author, team) SELECT r.id, m.user_id, m.team"
        " FROM team_members m, import_results r ORDER BY m.user_id, r.id LIMIT 1",
    )
    upgrade(old)
    with old.connect() as connection:
        definitions = connection.scalars(
            text(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'"
                " AND conrelid::regclass::text IN ('reviews', 'team_members') ORDER BY 1"
            )
        ).all()
    assert definitions == [
        "FOREIGN KEY (author, team) REFERENCES team_members(user_id, team)",
        "FOREIGN KEY (result) REFERENCES import_results(id) DEFERRABLE",
        "FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE",
    ]
    with pytest.raises(IntegrityError), old.begin() as connection:
        insert(connection, "team_members", user_id="8c1f6f0e-2f6b-4a53-9a57-0d6a4bb1f009", team="ghosts")
    execute(old, "DELETE FROM reviews", "DELETE FROM users WHERE email = 'Ann.Lee@example.com'")
    with old.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM team_members")) == 1


def test_numbers_as_ids_become_text_and_new_rows_still_get_ids(old: Engine) -> None:
    execute(
        old,
        "CREATE TABLE users (id serial PRIMARY KEY, email text, password_hash text, created_at timestamp)",
        "CREATE TABLE import_sessions (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id int REFERENCES users,"
        " csv_url text, login_url text, billing_url text, status text, created_at timestamp)",
        "CREATE TABLE logins (user_id int NOT NULL REFERENCES users)",
        "INSERT INTO users (email, password_hash) VALUES ('a@b.example', 'h')",
        "INSERT INTO import_sessions (user_id, login_url, billing_url) VALUES (1, 'https://p.example', 'https://p.example')",
        "INSERT INTO logins VALUES (1)",
    )
    upgrade(old)
    assert differences_from_models(old) == []
    with Session(old) as session:
        job = session.scalars(select(Job)).one()
        assert (job.id, job.user_id, job.status) == ("1", "1", JobStatus.IDLE)
        assert (datetime.now(UTC) - job.created_at).total_seconds() < 60
        session.add(Job(user_id="1", name="new", login_url="https://p.example", billing_url="https://p.example"))
        session.flush()
        assert session.scalar(text("SELECT user_id FROM logins")) == "1"


def test_unknown_columns_and_tables_stay_and_do_not_stop_new_rows(old: Engine) -> None:
    fill(old)
    execute(
        old,
        "ALTER TABLE users ADD COLUMN phone varchar(20) NOT NULL DEFAULT 'none'",
        "ALTER TABLE users ALTER COLUMN phone DROP DEFAULT",
        "CREATE INDEX by_phone ON users (phone, email)",
        "CREATE TABLE settings (key text PRIMARY KEY, value json)",
        "INSERT INTO settings VALUES ('theme', '\"dark\"')",
    )
    upgrade(old)
    assert [d[0] for d in differences_from_models(old, frozenset({"users.phone"}))] == ["remove_index"]
    with old.begin() as connection:
        assert connection.scalars(text("SELECT DISTINCT phone FROM users")).all() == ["none"]
        assert connection.execute(text("SELECT key, value::text FROM settings")).all() == [("theme", '"dark"')]
        assert connection.scalar(text("SELECT to_regclass('by_phone')::text")) == "by_phone"
        insert(connection, "users", username="new", name="New", password_hash="h")


def test_a_unique_column_that_another_table_refers_to_stays_unique(old: Engine) -> None:
    fill(old)
    execute(
        old,
        "CREATE TABLE newsletter (email varchar REFERENCES users (email))",
        "INSERT INTO newsletter VALUES ('bob@example.com')",
    )
    upgrade(old)
    with pytest.raises(IntegrityError), old.begin() as connection:
        insert(connection, "newsletter", email="nobody@example.com")


def test_only_users_are_adopted_where_there_is_nothing_else(old: Engine) -> None:
    execute(
        old,
        "CREATE TABLE users (id uuid PRIMARY KEY, email text, password_hash text, created_at timestamptz)",
        "INSERT INTO users VALUES (gen_random_uuid(), 'a@b.example', 'h', NULL)",
    )
    upgrade(old)
    assert is_current(old)
    assert differences_from_models(old) == []
